"""Sessions: what a cell gives, what is reused and rebuilt, what an error leaves behind."""

import re
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, field
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quivers_nb.check.describe import outline, signature
from quivers_nb.diagnostics.errors import CompileError, LanguageError, ParseError
from quivers_nb.diagnostics.source import SourceText
from quivers_nb.dsl import loads
from quivers_nb.lower.model import Model
from quivers_nb.lower.module import Kernel, Module
from quivers_nb.session.session import KEPT, Session, compiled
from tests.support.counting import calls

OBJECTS = "object A : FinSet 3\nobject B : Real 2\n"
F = OBJECTS + "morphism f : A -> B [role=kernel] ~ Normal\nexport f\n"
G = "morphism g : B -> B [role=kernel] ~ Normal\nexport f >> g\n"
P = """program p : A -> B
    sample w <- Normal(0.0, 1.0)
    sample b <- f
    return b
export p
"""
SEQ2SEQ = """object Source : FinSet 8
object Latent : Real 6
object Head : Real 3
object Target : FinSet 5
morphism embed : Source -> Latent [role=embed]
morphism head : Latent -> Head [role=kernel, replicate=2, scale=0.1] ~ Normal
morphism mix : Latent -> Latent [role=kernel, scale=0.1] ~ Normal
let block = fan(head) >> mix
export head_1
let encoder = embed >> stack(block, 2)
morphism out : Latent -> Target [role=kernel] ~ Categorical
export encoder >> mix
program words : Source -> Target
    sample h <- encoder
    observe word : Target <- out(h)
    return word
export words
"""


@dataclass
class Counting:
    """Compiles, and remembers what."""

    texts: list[str] = field(default_factory=list)

    def __call__(self, source: SourceText, data: Mapping[str, np.ndarray]) -> Module:
        self.texts.append(source.text)
        return compiled(source, data)


def _state(session: Session) -> tuple[object, ...]:
    """Everything that an error must leave alone: identities of modules, and weights."""
    modules = [result.module for result in session.results]
    tensors = [p.detach().clone() for m in modules for p in m.parameters()]
    return session.workspace, list(map(id, modules)), dict(session.bound), tensors


def _same(left: tuple[object, ...], right: tuple[object, ...]) -> bool:
    tensors = zip(left[-1], right[-1], strict=True)
    return left[:-1] == right[:-1] and all(torch.equal(a, b) for a, b in tensors)


def test_a_cell_gives_its_exports_and_the_module_under_the_name_asked_for() -> None:
    result = Session().run_cell(F, "mine", "cell [3]")
    assert dict(result.names) == {**result.module.exports, "mine": result.module}
    assert (result.label, result.unchanged, result.warnings) == ("cell [3]", False, ())
    assert result.seconds >= 0
    assert set(Session().run_cell(F).names) == {"f"}


def test_results_are_frozen() -> None:
    result = Session().run_cell(F)
    with pytest.raises(FrozenInstanceError):
        result.seconds = 0.0
    with pytest.raises(TypeError):
        result.names["b"] = 1


def test_a_later_cell_uses_the_names_of_an_earlier_one_and_its_weights() -> None:
    session = Session()
    f = session.run_cell(F).module.exports["f"]
    result = session.run_cell(G)
    both = result.module.exports["f >> g"]
    assert dict(both.named_parameters())["f/table"] is dict(f.named_parameters())["f/table"]
    assert result.kept == ("f.table",)
    assert result.reset == result.rebuilt == ()
    x, y = torch.tensor([0, 2]), torch.zeros(2, 2)
    before = both.log_prob(x, y)
    with torch.no_grad():
        next(f.parameters()).add_(1.0)
    assert not torch.allclose(both.log_prob(x, y), before)


def test_a_module_stands_alone_as_text() -> None:
    session = Session()
    session.run_cell("object Unused : FinSet 2\n" + F)
    module = session.run_cell(G).module
    assert "Unused" not in module.source
    assert "export f\n" not in module.source
    assert loads(module.source).checked.exports == module.checked.exports


def test_an_unchanged_cell_gives_the_same_objects_and_is_not_compiled_again() -> None:
    compiler = Counting()
    session = Session(compiler)
    session.run_cell(F)
    first = session.run_cell(P, None, "cell [1]")
    before = _state(session)
    again = session.run_cell(P, None, "cell [2]")
    assert again.unchanged
    assert again.label == "cell [1]"
    assert not first.unchanged
    assert again.module is first.module
    assert _same(_state(session), before)
    assert session.run_cell(P, "m").name == "m"
    assert len(compiler.texts) == 2


def test_an_unchanged_cell_costs_a_tenth_of_a_new_one_in_a_workspace_of_many() -> None:
    """Counted in calls; `benchmarks/notebook.py` prints the time."""
    session = Session()
    lines = [f"morphism k{i} : B -> B [role=kernel] ~ Normal" for i in range(50)]
    session.run_cell(OBJECTS + "\n".join(lines))
    for i in range(20):
        session.run_cell(f"export k{i} >> k{i + 1}\n")
    new, _ = calls(lambda: session.run_cell("export k30 >> k31\n"))
    again, result = calls(lambda: session.run_cell("export k3 >> k4\n"))
    assert result.unchanged
    assert again < new / 10, (again, new)


def test_a_changed_declaration_rebuilds_what_uses_it_and_nothing_else() -> None:
    compiler = Counting()
    session = Session(compiler)
    session.run_cell(F, None, "cell [1]")
    old = session.run_cell(G, "both", "cell [2]")
    other = session.run_cell("object C : FinSet 2\nmorphism h : C -> C [role=kernel]\nexport h\n")
    compiler.texts.clear()
    result = session.run_cell(F.replace("FinSet 3", "FinSet 4"), None, "cell [4]")
    assert len(compiler.texts) == 2
    (rebuilt,) = result.rebuilt
    assert (rebuilt.label, rebuilt.name, set(rebuilt.names)) == (
        "cell [2]",
        "both",
        {"both", "f >> g"},
    )
    assert rebuilt.module is not old.module
    assert [type(r.module) for r in session.results] == [Module, Module, Module]
    assert session.results[2].module is other.module
    assert result.reset == ("f.table",)
    assert result.kept == tuple(f"g.{n}{i}" for i in range(3) for n in ("weight", "bias"))
    g_old, g_new = (dict(r.module.named_parameters()) for r in (old, rebuilt))
    for name, parameter in g_old.items():
        assert (g_new[name] is parameter) == ("/g/" in name.replace(".", "/"))


def test_weights_are_kept_where_an_edit_leaves_their_shape() -> None:
    session = Session()
    first = session.run_cell(F).module.exports["f"]
    with torch.no_grad():
        next(first.parameters()).fill_(0.25)
    result = session.run_cell(F + P)
    assert result.kept == ("f.table",)
    assert torch.equal(
        next(result.module.exports["f"].parameters()),
        torch.full_like(next(first.parameters()), 0.25),
    )


def test_going_back_to_an_earlier_text_gives_the_earlier_objects() -> None:
    session = Session()
    f, g = session.run_cell(F), session.run_cell(G)
    session.run_cell(F.replace("Real 2", "Real 3"))
    assert session.results[1].module is not g.module
    back = session.run_cell(F)
    assert back.unchanged
    assert back.module is f.module
    assert session.results[1].module is g.module


def test_fresh_compiles_a_cell_on_its_own() -> None:
    session = Session()
    first = session.run_cell(F)
    before = _state(session)
    fresh = session.run_cell(F, fresh=True)
    assert fresh.module is not first.module
    assert not {id(p) for p in fresh.module.parameters()} & {
        id(p) for p in first.module.parameters()
    }
    assert _same(_state(session), before)
    with pytest.raises(CompileError, match="`B`"):
        session.run_cell(G, fresh=True)


@pytest.mark.parametrize(
    "bad",
    [
        "object A FinSet 3",
        "export nothing\n",
        F.replace("Normal", "Normall"),
        "object B : FinSet 2\n",  # f, in another cell, cannot be a Normal any more
        "let f = g >> g\n",  # f >> g would go round in a circle
    ],
)
def test_a_refused_cell_leaves_the_session_as_it_was(bad: str) -> None:
    session = Session()
    space = dict(session.bind(session.run_cell(F), {}).names)
    session.bind(session.run_cell(G), space)
    before = _state(session)
    for _ in range(2):
        with pytest.raises(LanguageError):
            session.run_cell(bad)
    assert _same(_state(session), before)
    assert session.run_cell(F).unchanged


def test_an_error_tells_the_cell_and_the_line_in_it() -> None:
    session = Session()
    session.run_cell("\n\n" + F, None, "cell [1]")
    with pytest.raises(CompileError) as caught:
        session.run_cell("morphism h : A -> A [role=kernel] ~ Normal\n", None, "cell [2]")
    lines = str(caught.value).splitlines()
    assert lines[1] == " --> cell [2], line 1, column 19"
    assert lines[2] == "  3 | object A : FinSet 3"
    assert lines[3].endswith("`A` is declared here (cell [1])")
    assert lines[4].startswith("  1 | morphism h")
    assert (caught.value.line, caught.value.column) == (1, 19)
    with pytest.raises(ParseError, match=r"cell \[3\], line 2"):
        session.run_cell("object C : FinSet 2\nobject", None, "cell [3]")


def test_reasons_name_the_cell_when_it_is_another_one() -> None:
    session = Session()
    session.run_cell("\n" + F, None, "cell [1]")
    with pytest.raises(CompileError) as caught:
        session.run_cell("morphism g : A -> A [role=kernel]\nlet h = f >> g\n", None, "cell [2]")
    because = [line for line in str(caught.value).splitlines() if "because" in line]
    assert any("(cell [1], line 4)" in line and "`f : A -> B`" in line for line in because)
    assert any("(line 1)" in line and "`g : A -> A`" in line for line in because)


def test_an_error_in_a_dependent_cell_says_who_caused_it_and_the_way_out() -> None:
    session = Session()
    session.run_cell(OBJECTS, None, "cell [1]")
    session.run_cell("morphism f : A -> B [role=kernel] ~ Normal\nexport f\n", None, "cell [2]")
    with pytest.raises(CompileError) as caught:
        session.run_cell(OBJECTS.replace("Real", "FinSet"), None, "cell [3]")
    text = str(caught.value)
    assert " --> cell [2], line 1, column 19" in text
    assert "because cell [3] declares `A`, `B` anew, and cell [2] uses them" in text
    assert "forget cell [2] first: %qvr_reset f" in text
    assert session.forget(["f"]) == ("cell [2]",)
    assert not session.run_cell(OBJECTS.replace("Real", "FinSet")).unchanged


def test_checking_says_the_same_errors_and_changes_nothing() -> None:
    compiler = Counting()
    session = Session(compiler)
    session.run_cell(F)
    session.run_cell(G)
    before = _state(session)
    assert [key for key, _ in ((e.key, e) for e in session.check(P).exports)] == ["p"]
    for bad in ("export nothing\n", "object B : FinSet 2\n"):
        with pytest.raises(CompileError) as checked:
            session.check(bad)
        with pytest.raises(CompileError) as run:
            session.run_cell(bad)
        assert str(checked.value) == str(run.value)
    assert _same(_state(session), before)


def test_forgetting_drops_the_cells_of_names_and_what_uses_them() -> None:
    session = Session()
    session.run_cell(F, None, "cell [1]")
    session.run_cell(G, None, "cell [2]")
    session.run_cell("object C : FinSet 2\n", None, "cell [3]")
    assert session.forget(["g"]) == ("cell [2]",)
    session.run_cell(G, None, "cell [4]")
    assert session.forget(["f"]) == ("cell [1]", "cell [4]")
    assert not session.run_cell(F).unchanged
    assert len(session.forget()) == 2
    assert session.results == ()


def test_warnings_are_told_in_their_own_cell_only() -> None:
    session = Session()
    session.run_cell(F)
    program = P.replace("w <-", "loc <-").replace("export p\n", "")
    assert session.run_cell(program).warnings
    assert not session.run_cell("export p\n").warnings


def test_only_the_latest_results_are_kept_and_those_of_the_workspace_always() -> None:
    session = Session()
    session.run_cell("object First : FinSet 2\n")
    for i in range(KEPT + 5):
        session.run_cell(f"object Other : FinSet {i + 1}\n")
    assert session.run_cell("object First : FinSet 2\n").unchanged
    assert session.run_cell(f"object Other : FinSet {KEPT}\n").unchanged
    assert not session.run_cell("object Other : FinSet 1\n").unchanged


def test_a_cell_may_replace_what_an_earlier_cell_bound_but_not_what_the_user_put_there() -> None:
    session = Session()
    space: dict[str, object] = {}
    space.update(session.bind(session.run_cell(F + P), space).names)
    space["p"] = "the user's"
    second = session.run_cell(F.replace("Real 2", "Real 3") + P)
    binding = session.bind(second, space)
    assert dict(binding.names) == {"f": second.module.exports["f"]}
    assert [refusal.name for refusal in binding.refused] == ["p"]
    assert set(session.bound) == {"f", "p"}


# --- laws -----------------------------------------------------------------------------------------


def _meaning(module: Module) -> Mapping[str, object]:
    """What a module's exports are: signature, outline, weights by path and shape."""
    found: dict[str, object] = {}
    for key, value in module.exports.items():
        assert isinstance(value, Model | Kernel)
        term = value.program if isinstance(value, Model) else value.term
        sites = value.parameter_sites() if isinstance(value, Model) else ()
        found[key] = (
            signature(term, key),
            outline(term),
            [(site.path, site.shape) for site in sites],
            {name: tuple(p.shape) for name, p in value.named_parameters()},
        )
    return found


def _sharing(modules: list[Module]) -> set[frozenset[tuple[str, str]]]:
    """Which weights of which exports are one tensor."""
    found: dict[int, set[tuple[str, str]]] = {}
    for module in modules:
        for key, export in module.exports.items():
            for name, parameter in export.named_parameters():
                found.setdefault(id(parameter), set()).add((key, name))
    return {frozenset(group) for group in found.values()}


STATEMENTS = tuple(re.split(r"\n(?! )", SEQ2SEQ.strip("\n")))


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(1, len(STATEMENTS) - 1)))
def test_running_cells_one_by_one_is_running_their_texts_joined(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(STATEMENTS)]
    cells = ["\n".join(STATEMENTS[a:b]) + "\n" for a, b in pairwise(edges)]
    session = Session()
    apart: dict[str, object] = {}
    modules = [session.run_cell(cell).module for cell in cells]
    for module in modules:
        apart |= _meaning(module)
    joined = loads(SEQ2SEQ)
    assert apart == _meaning(joined)
    assert _sharing(modules) == _sharing([joined])
    assert session.workspace.whole().split() == SEQ2SEQ.split()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([F, G, P, F.replace("FinSet 3", "FinSet 4"), OBJECTS]), max_size=6))
def test_after_any_history_the_results_are_those_of_the_texts_that_are_left(
    history: list[str],
) -> None:
    session = Session()
    for text in history:
        before = _state(session)
        try:
            session.run_cell(text)
        except LanguageError:
            assert session.workspace.holder("f") is None
            assert _same(_state(session), before)
    left = Session()
    for cell in session.workspace.cells:
        left.run_cell(cell.live_text)
    assert [_meaning(r.module) for r in session.results] == [
        _meaning(r.module) for r in left.results
    ]
    before = _state(session)
    for cell in session.workspace.cells:
        if not cell.lost:
            assert session.run_cell(cell.text, cell.name).unchanged
    assert _same(_state(session), before)


def test_a_program_edited_in_a_new_cell_leaves_its_objects_where_they_were() -> None:
    """The commonest edit: the cell above keeps the object, and hands its export over."""
    session = Session()
    session.run_cell(OBJECTS + P.replace("    sample b <- f\n    return b", "    return w"))
    edited = P.replace("    sample b <- f\n    return b", "    return w").replace("0.0", "5.0")
    result = session.run_cell(edited, None, "cell [2]")
    assert list(result.module.exports) == ["p"]
    assert "Normal(5.0, 1.0)" in outline(result.module.exports["p"].program)
    assert [sorted(each.module.exports) for each in session.results] == [[], ["p"]]
    assert session.run_cell("program q : A -> B\n    sample v <- p\n    return v\nexport q\n")
