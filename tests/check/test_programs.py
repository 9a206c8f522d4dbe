"""What the term of a program says: inputs, sources, own axes, rows, data."""

import json
from pathlib import Path

import pytest

from quivers_nb.check import check_source
from quivers_nb.check.term import (
    Axis,
    FamilyCall,
    Indexed,
    InputSlot,
    Literal,
    MorphismCall,
    ObserveStep,
    Program,
    SampleStep,
    Variable,
    VariableInfo,
)
from quivers_nb.check.verify import verify
from quivers_nb.check.walk import all_steps
from quivers_nb.diagnostics.errors import CompileError
from quivers_nb.spaces.effect import Effect
from quivers_nb.spaces.space import UNIT, FinSet, SizeVar, Space
from quivers_nb.spaces.table import Table

PRELUDE = """\
object G : FinSet 3
object K : FinSet 4
object R : Real 2
morphism g : G -> R [role=kernel] ~ Normal
"""
POSTERIORS = sorted((Path(__file__).parents[1] / "data" / "posteriordb").glob("*.json"))


def program(text: str, prelude: str = PRELUDE) -> Program:
    module = check_source(prelude + text)
    verify(module)
    value = dict(module.morphisms)["p"]
    assert isinstance(value, Program)
    return value


def steps(*lines: str, head: str = "program p : K -> K") -> Program:
    return program(head + "\n" + "".join(f"    {line}\n" for line in (*lines, "return u")))


def source(found: Program, index: int = -1) -> FamilyCall:
    random = [s for s in found.steps if isinstance(s, SampleStep | ObserveStep)]
    call = random[index].source
    assert isinstance(call, FamilyCall)
    return call


def known(found: Program, name: str) -> VariableInfo:
    return next(variable for variable in found.variables if variable.name == name)


@pytest.mark.parametrize("file", POSTERIORS, ids=lambda file: file.stem)
def test_every_reference_program_is_checked(file: Path) -> None:
    posterior = json.loads(file.read_text())
    module = check_source(posterior["program"])
    verify(module)
    found = module.exports[0].value
    assert isinstance(found, Program)
    observed = {s.name for s in all_steps(found.steps) if isinstance(s, ObserveStep)}
    clamped = set(posterior["observed"])
    assert observed <= clamped
    assert set(found.host_names) == set(posterior["data"]) - clamped
    assert not found.reads_input
    assert not module.warnings


def test_inputs_are_columns_of_the_domain() -> None:
    found = program("program p(a, b, c) : G * R * K -> R\n    let u = a\n    return u\n")
    assert found.inputs == (
        InputSlot("a", FinSet(3), 0, 1),
        InputSlot("b", Space("Real", (2,)), 1, 2),
        InputSlot("c", FinSet(4), 3, 1),
    )
    whole = program("program p(x) : G * R -> R\n    return x\n")
    assert [(slot.start, slot.width, slot.whole) for slot in whole.inputs] == [(0, 3, True)]


def test_a_program_reads_its_input_by_name_or_by_a_bare_step() -> None:
    assert program("program p(a) : G -> R\n    let u = a + 1\n    return u\n").reads_input
    assert program("program p : G -> R\n    sample u <- g\n    return u\n").reads_input
    assert not program(
        "program p(a) : G -> R\n    sample u <- Normal(0.0, 1.0)\n    return u\n"
    ).reads_input
    silent = "program s : G -> R\n    sample n <- Normal(0.0, 1.0)\n    return n\n"
    assert not program(silent + "program p : G -> R\n    sample u <- s\n    return u\n").reads_input


def test_effects_are_inferred_through_calls() -> None:
    sub = "program s(a) : R -> R\n    observe y <- Normal(0.0, 1.0)\n    return a\n"
    found = program(sub + "program p(a) : R -> R\n    sample u <- s(a)\n    return u\n")
    assert found.effects == {Effect.SAMPLE, Effect.SCORE}
    assert program("program p(a) : R -> R\n    return a\n").effects == frozenset()


@pytest.mark.parametrize(
    ("lines", "family", "untyped"),
    [
        (("sample t <- Dirichlet(1.0, 1.0)", "sample u <- Categorical(t)"), "Probs", False),
        (("let t = softmax(logits)", "sample u <- Categorical(t)"), "Probs", False),
        (("let t = log_softmax(logits)", "sample u <- Categorical(t)"), "Logit", True),
        (
            (
                "sample t : G <- Dirichlet(0.5) [over=K]",
                "let r = t[z]",
                "sample u <- Categorical(r)",
            ),
            "Probs",
            False,
        ),
        (
            ("sample t : G <- Dirichlet(0.5) [over=K]", "sample u <- Categorical(t[z])"),
            "Probs",
            False,
        ),
        (
            (
                "sample t <- Dirichlet(1.0, 1.0)",
                "let r = factor i : G in where(gt(w, 0.0), t, softmax(t))",
                "sample u : G <- Categorical(r)",
            ),
            "Probs",
            False,
        ),
        (
            ("sample t <- Dirichlet(1.0, 1.0)", "let r = t * 1.0", "sample u <- Categorical(r)"),
            "Logit",
            True,
        ),
        (("sample t : Simplex 3 <- Dirichlet(1.0)", "sample u <- Categorical(t)"), "Probs", False),
        (("sample u <- CategoricalLogit([0.1, 0.9])",), "Logit", False),
    ],
)
def test_categorical_is_typed_by_its_argument(
    lines: tuple[str, ...], family: str, untyped: bool
) -> None:
    call = source(steps(*lines))
    assert (call.family, call.untyped) == (f"Categorical{family}", untyped)


def test_declared_simplex_data_are_probabilities() -> None:
    data = "data t : K -> Simplex 3\n"
    found = program(data + "program p : K -> K\n    sample u : K <- Categorical(t)\n    return u\n")
    assert source(found).family == "CategoricalProbs"


def test_arguments_stand_in_the_order_of_the_parameters() -> None:
    call = source(steps("let m = 1.0", "sample u <- StudentT(scale=2.0, df=3.0, loc=m)"))
    assert call.args == (Literal(3.0), Variable("m"), Literal(2.0))
    lists = source(steps("sample u <- Dirichlet(1.0, 2.0)"))
    assert lists.args == ((Literal(1.0), Literal(2.0)),)
    assert lists.event_size == 2


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("sample u <- Dirichlet(0.5) [over=G]", FinSet(3)),
        ("sample u : Simplex 5 <- Dirichlet(0.5)", 5),
        ("sample u <- Dirichlet(0.5)", FinSet(4)),
    ],
)
def test_a_symmetric_dirichlet_takes_its_size_from_over_or_space_or_codomain(
    line: str, size: object
) -> None:
    assert source(steps(line)).event_size == size


def test_host_names_are_free_names_and_declared_data_in_order_of_use() -> None:
    data = "data se : K -> Real 1\n"
    found = program(
        data + "program p : K -> K\n"
        "    sample u : G <- Normal(0.0, 1.0)\n"
        "    let m = u[of] * x\n"
        "    observe y : K <- Normal(m, se)\n"
        "    observe z : K <- Normal(u[other], se)\n"
        "    return u\n"
    )
    assert found.host_names == ("of", "x", "se", "other")
    last = found.steps[-1]
    assert isinstance(last, ObserveStep)
    assert isinstance(last.source, FamilyCall)
    indexed = last.source.args[0]
    assert isinstance(indexed, Indexed)
    assert [v.host for v in (indexed.base, *indexed.indices)] == [False, True]


def test_own_axes_remember_the_object_that_made_them() -> None:
    found = steps(
        "sample u : G * K <- Normal(0.0, 1.0)",
        "sample v : K <- Normal(0.0, 1.0)",
        "let both = u + v",
        "let first = u[0]",
        "let total = sum(u)",
        "let table = factor i : K, j : G in u[j, i]",
        "let shared = 1.0",
        "let data = x * 2.0",
    )
    g, k = Axis("G", FinSet(3)), Axis("K", FinSet(4))
    axes = {name: known(found, name).axes for name in ("u", "both", "first", "total", "table")}
    assert axes == {"u": (g, k), "both": (g, k), "first": (k,), "total": (g,), "table": (k, g)}
    assert known(found, "shared").axes == ()
    assert known(found, "data").axes is None


def test_a_declared_product_keeps_the_names_of_its_factors() -> None:
    found = program(
        "object Pair : G * K\n"
        "program p : K -> K\n"
        "    sample u : Pair <- Normal(0.0, 1.0)\n"
        "    return u\n"
    )
    assert known(found, "u").axes == (Axis("G", FinSet(3)), Axis("K", FinSet(4)))


def test_rows_are_inferred_and_a_plate_over_the_unit_has_none() -> None:
    found = program(
        "program p(a) : R -> R\n"
        "    sample s : 1 <- HalfNormal(1.0)\n"
        "    sample v : G <- Normal(0.0, s)\n"
        "    let m = a * s\n"
        "    let shared = sum(v) + s\n"
        "    sample u <- Normal(shared, s) [per=row]\n"
        "    observe y : G <- Normal(0.0, s)\n"
        "    observe z : G <- Normal(u, s)\n"
        "    return u\n"
    )
    rows = {v.name: v.row_wise for v in found.variables}
    assert rows == {
        "a": True, "s": False, "v": False, "m": True, "shared": False, "u": True, "y": False,
        "z": True,
    }  # fmt: skip
    assert known(found, "s").axes == (Axis(None, UNIT),)
    assert known(found, "shared").axes == ()
    first = found.steps[0]
    assert isinstance(first, SampleStep)
    assert first.plate == (Axis(None, UNIT),)
    assert known(found, "y").axes == (Axis("G", FinSet(3)),)
    assert known(found, "z").axes == ()


def test_data_over_the_domain_are_read_at_the_input_of_a_program_that_reads_it() -> None:
    data = "data w : G -> Real 1\ndata v : K -> Real 1\n"
    body = "    let u = w + 1.0\n    let o = v + 1.0\n"
    reading = program(data + f"program p(a) : G -> R\n{body}    let b = a + 1\n    return u\n")
    assert known(reading, "w").row_wise
    assert known(reading, "w").axes == ()
    assert known(reading, "u").row_wise
    assert not known(reading, "v").row_wise
    silent = program(data + f"program p : G -> R\n{body}    return u\n")
    assert known(silent, "w").axes == (Axis("G", FinSet(3)),)
    assert not known(silent, "w").row_wise


def test_a_real_of_dimension_one_reads_as_a_number() -> None:
    found = program(
        "object One : Real 1\n"
        "program p(x) : One -> R\n"
        "    let u = x + 1.0\n"
        "    sample z : One <- Normal(x, 1.0)\n"
        "    return u\n"
    )
    assert known(found, "x").event == (1,)
    assert known(found, "u").axes == ()
    assert known(found, "z").event == (1,)


def test_vectors_carry_their_event() -> None:
    found = program(
        "program p(a, i) : R * G -> R\n"
        "    sample u : R <- Normal(a, 1.0)\n"
        "    sample v <- g(i)\n"
        "    sample w : K <- Dirichlet(0.5) [over=G]\n"
        "    let m = u * v\n"
        "    return u\n"
    )
    events = {name: known(found, name).event for name in ("a", "u", "v", "w", "m", "i")}
    assert events == {"a": (2,), "u": (2,), "v": (2,), "w": (3,), "m": (), "i": ()}
    assert known(found, "m").axes == (Axis(None, FinSet(2)),)
    assert known(found, "i").integer
    assert known(found, "w").simplex


def test_results_of_programs_have_the_rows_of_their_arguments() -> None:
    sub = "program s(a) : R -> R\n    let m = a * 2.0\n    return m\n"
    found = program(
        sub + "program p(x) : R -> R\n"
        "    sample shared : G <- Normal(0.0, 1.0)\n"
        "    let pair = matmul(table, shared)\n"
        "    sample u <- s(x)\n"
        "    sample v <- s(pair)\n"
        "    return u\n"
    )
    assert known(found, "u").row_wise
    assert not known(found, "v").row_wise


def test_sizes_are_free_until_they_are_given() -> None:
    text = (
        "object Obs : FinSet n\n"
        "program p : Obs -> Obs\n"
        "    sample u : Obs <- Flat()\n"
        "    return u\n"
    )
    free = check_source(text)
    assert free.sizes == ("n",)
    assert dict(free.objects)["Obs"] == FinSet(SizeVar("n"))
    fixed = check_source(text, sizes={"n": 7})
    assert fixed.sizes == ("n",)
    assert dict(fixed.objects)["Obs"] == FinSet(7)


def test_data_keys_are_known_at_load() -> None:
    text = 'object X : FinSet 3\nmorphism m : X -> X [role=observed] ~ from_data("w")\n'
    with pytest.raises(CompileError, match="unknown data key"):
        check_source(text)
    assert check_source(text, tables={"w": Table((3, 3))}).data_keys == ("w",)


def test_a_step_without_arguments_reads_the_raw_input() -> None:
    found = program("program p : G -> R\n    sample u <- g\n    return u\n")
    step = found.steps[0]
    assert isinstance(step, SampleStep)
    assert isinstance(step.source, MorphismCall)
    assert step.source.args is None
    assert step.space == Space("Real", (2,))


def test_a_size_that_was_given_serves_as_a_dimension() -> None:
    text = "object V : Real n\nobject O : FinSet n\n"
    with pytest.raises(CompileError, match="undefined object or space `n`"):
        check_source(text)
    module = check_source(text, sizes={"n": 4})
    assert dict(module.objects) == {"V": Space("Real", (4,)), "O": FinSet(4)}
    assert module.sizes == ("n",)
    assert dict(check_source("object O : FinSet n\n", sizes={"n": 0}).objects)["O"] == FinSet(
        SizeVar("n")
    )
