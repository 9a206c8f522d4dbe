"""Templates are inlined: names, parameters and shapes of the steps that result (7.9)."""

from quivers_nb.check import check_source
from quivers_nb.check.term import (
    Axis,
    FamilyCall,
    Literal,
    Program,
    ProgramTerm,
    SampleStep,
    Variable,
)
from quivers_nb.check.verify import verify
from quivers_nb.check.walk import entered
from quivers_nb.spaces.space import FinSet

MILK = """\
object Herd : FinSet 9
object Cow : FinSet 300
program offsets(Level : FinSet, width : Real) : Level -> Level
    sample sd <- HalfNormal(width)
    sample eff : Level <- Normal(0.0, sd)
    return eff
program milk : Cow -> Cow
    let w = 0.5
    sample by_herd <- offsets(Herd, 2.0)
    sample by_cow <- offsets(Cow, w)
    let mu = by_herd[herd_of] + by_cow
    observe liters : Cow <- Normal(mu, 1.0)
    return by_herd
export milk
let alone = offsets(Herd, 2.0)
let other = offsets(Cow, 1.0)
"""


def milk() -> Program:
    module = check_source(MILK)
    verify(module)
    value = module.exports[0].value
    assert isinstance(value, Program)
    return value


def test_distinct_calls_have_distinct_latents() -> None:
    names = [s.names[0] for s in milk().steps if isinstance(s, SampleStep)]
    assert names == ["by_herd$sd", "by_herd", "by_cow$sd", "by_cow"]


def test_formal_parameters_are_replaced_by_the_arguments() -> None:
    steps = [s for s in milk().steps if isinstance(s, SampleStep)]
    sources = [s.source for s in steps]
    assert all(isinstance(source, FamilyCall) for source in sources)
    arguments = [source.args for source in sources if isinstance(source, FamilyCall)]
    assert arguments == [
        (Literal(2.0),),
        (Literal(0.0), Variable("by_herd$sd")),
        (Variable("w"),),
        (Literal(0.0), Variable("by_cow$sd")),
    ]
    plates = [s.plate for s in steps]
    herd, cow = Axis("Herd", FinSet(9)), Axis("Cow", FinSet(300))
    assert plates == [None, (herd,), None, (cow,)]


def test_a_template_in_an_expression_is_a_program_under_its_own_names() -> None:
    values = dict(check_source(MILK).morphisms)
    programs = []
    for name in ("alone", "other"):
        value = values[name]
        assert not isinstance(value, Program)
        whole = entered(value)
        assert isinstance(whole, ProgramTerm)
        programs.append(whole.program)
    assert [p.name for p in programs] == ["offsets(Herd, 2.0)", "offsets(Cow, 1.0)"]
    assert [p.dom for p in programs] == [FinSet(9), FinSet(300)]
    assert [v.name for v in programs[0].variables] == ["sd", "eff"]


def test_a_symmetric_dirichlet_takes_its_size_from_the_codomain_of_the_template() -> None:
    module = check_source(
        "object K : FinSet 3\n"
        "object G : FinSet 5\n"
        "program weights(A : FinSet) : A -> A\n"
        "    sample w <- Dirichlet(0.5)\n"
        "    return w\n"
        "program p : G -> G\n"
        "    sample u <- weights(K)\n"
        "    sample z <- Categorical(u)\n"
        "    return z\n"
        "export p\n"
    )
    program = module.exports[0].value
    assert isinstance(program, Program)
    sources = [s.source for s in program.steps if isinstance(s, SampleStep)]
    first, second = sources
    assert isinstance(first, FamilyCall)
    assert isinstance(second, FamilyCall)
    assert first.event_size == FinSet(3)
    assert second.family == "CategoricalProbs"
