"""Completion in `%%qvr` cells through the shell's own completer, as a front end asks for it."""

import ast
import inspect
from functools import partial

import pytest
from IPython.core.completer import provisionalcompleter

import quivers_nb.session.complete as complete
import quivers_nb.session.known as known
import quivers_nb.session.workspace as workspace
from quivers_nb.spaces.families import FAMILIES
from tests.support.counting import calls
from tests.support.shells import Cells

WORKSPACE = """object A : FinSet 3
object B : Real 2
object C : Real 4
data age : A -> Real 1
morphism to_c : B -> C [role=kernel] ~ Normal
morphism a_b : A -> B [role=kernel] ~ Normal
morphism b_b : B -> B [role=kernel, replicate=2] ~ Normal
let both = a_b >> to_c
morphism c_a : C -> A [role=kernel] ~ Categorical
"""


@pytest.fixture
def full(cells: Cells) -> Cells:
    cells.run("%%qvr\n" + WORKSPACE)
    return cells


def _offers(cells: Cells, text: str) -> list[tuple[str, str]]:
    """What is offered at the end of a text, with the kinds, in order."""
    with provisionalcompleter():
        found = list(cells.shell.Completer.completions(text, len(text)))
    return [(each.text, each.type) for each in found]


def _texts(cells: Cells, body: str) -> list[str]:
    return [text for text, _ in _offers(cells, "%%qvr\n" + body)]


def test_keywords_stand_where_a_line_begins(full: Cells) -> None:
    assert {"object", "morphism", "program", "export"} <= set(_texts(full, ""))
    assert "sample" not in _texts(full, "")
    steps = _texts(full, "program p : A -> B\n    ")
    assert set(steps) == {"sample", "observe", "marginalize", "let", "score", "return"}
    assert _texts(full, "program p : A -> B\n    sa") == ["sample"]
    assert _texts(full, "morp") == ["morphism"]


def test_types_are_offered_where_a_type_stands(full: Cells) -> None:
    for line in ("object D : ", "morphism f : ", "morphism f : A -> ", "program p : A * "):
        texts = _texts(full, line)
        assert texts[:3] == ["A", "B", "C"]
        assert {"FinSet", "Real", "Simplex"} <= set(texts)
        assert "a_b" not in texts
    assert _texts(full, "program p : A -> B\n    sample x : ")[0] == "A"


def test_families_are_offered_with_their_parameters(full: Cells) -> None:
    offers = dict(_offers(full, "%%qvr\nmorphism f : A -> B [role=kernel] ~ "))
    assert set(offers) == set(FAMILIES)
    assert offers["Normal"] == "family (loc, scale)"
    step = _texts(full, "program p : A -> B\n    sample x <- ")
    assert {"Normal", "a_b", "b_b_0"} <= set(step)
    assert _texts(full, "program p : A -> B\n    sample x <- HalfNor") == ["HalfNormal"]


def test_options_are_those_of_the_role_and_not_written_yet(full: Cells) -> None:
    texts = _texts(full, "morphism f : A -> B [")
    assert {"role=", "replicate=", "scale=", "bins="} <= set(texts)
    embed = _texts(full, "morphism f : A -> B [role=embed, ")
    assert set(embed) == {"replicate=", "scale="}
    assert set(_texts(full, "morphism f : A -> B [role=")) == {
        "latent", "observed", "kernel", "embed", "discretize", "let",
    }  # fmt: skip
    assert "mlp" in _texts(full, "morphism f : A -> B [role=kernel, param_source=")


@pytest.mark.parametrize(
    ("left", "first"),
    [
        ("let h = a_b >> ", ["to_c", "b_b_0", "b_b_1"]),
        ("export a_b >> ", ["to_c", "b_b_0", "b_b_1"]),
        ("export (a_b >> b_b_0) >> ", ["to_c", "b_b_0", "b_b_1"]),
        ("let h = both >> ", ["c_a"]),
        ("let h = fan(a_b, a_b) >> ", ["c_a"]),
        ("let h = fan(c_a, both >> ", ["c_a"]),
        ("let h = a_b >> to_c >> ", ["c_a"]),
    ],
)
def test_after_a_composition_what_composes_comes_first(
    full: Cells, left: str, first: list[str]
) -> None:
    texts = _texts(full, left)
    assert texts[: len(first)] == first
    assert set(texts) == {"c_a", "to_c", "a_b", "b_b_0", "b_b_1", "both"}


def test_names_of_the_cell_itself_and_of_the_program_are_in_reach(full: Cells) -> None:
    cell = "object New : FinSet 2\nmorphism n : New -> B [role=kernel] ~ Normal\n"
    assert "New" in _texts(full, cell + "morphism m : ")
    assert _texts(full, cell + "let h = n >> ")[:1] == ["to_c"]
    program = cell + "program p : A -> B\n    sample slope <- Normal(0.0, 1.0)\n"
    texts = _texts(full, program + "    observe y <- Normal(")
    assert texts[:2] == ["slope", "age"]
    assert _texts(full, program + "    return sl") == ["slope"]


def test_comments_are_left_alone(full: Cells) -> None:
    assert not {"a_b", "A", "age"} & set(_texts(full, "object D : FinSet 2 # a"))


def test_python_cells_are_left_alone(full: Cells) -> None:
    names = [text for text, _ in _offers(full, "import o")]
    assert "object" not in names
    full.names["variable_of_mine"] = 3
    assert "variable_of_mine" in [t for t, _ in _offers(full, "variable_of_m")]


def test_other_magics_before_ours_and_the_flag(full: Cells) -> None:
    with_time = [t for t, _ in _offers(full, "%%time\n%%qvr name\nmorp")]
    assert with_time == ["morphism"]
    assert [t for t, _ in _offers(full, "%%qvr --f")] == ["--fresh"]


def test_unloading_takes_completion_back(bare: Cells) -> None:
    before = list(bare.shell.Completer.custom_matchers)
    bare.run("%load_ext quivers_nb")
    assert len(bare.shell.Completer.custom_matchers) == len(before) + 1
    bare.run("%unload_ext quivers_nb")
    assert bare.shell.Completer.custom_matchers == before


@pytest.mark.parametrize("operand", ["k1", "(k1 >> k2) >> fan(k3, k4)"])
def test_a_completion_grows_with_the_cell_and_costs_next_to_nothing_within_a_line(
    full: Cells, operand: str
) -> None:
    """Counted in calls; `benchmarks/notebook.py` prints the time."""
    ours = full.shell.Completer.custom_matchers[-1]
    work = {}
    for lines in (50, 100):
        body = "".join(f"morphism k{i} : B -> B [role=kernel] ~ Normal\n" for i in range(lines))
        context = _context(f"%%qvr\n{body}let h = {operand} >> k")
        work[lines], result = calls(partial(ours, context))
        assert len(list(result["completions"])) == lines
        again, _ = calls(partial(ours, _context(f"%%qvr\n{body}let h = {operand} >> k1")))
        if operand == "k1":  # nothing has to be checked
            assert again < work[lines] / 5
    assert work[100] < 2.3 * work[50]


def _context(text: str) -> object:
    from IPython.core.completer import CompletionContext

    lines = text.split("\n")
    return CompletionContext("k", text, len(lines[-1]), len(lines) - 1, None)


def test_nothing_that_completion_is_made_of_imports_torch() -> None:
    for module in (complete, known, workspace):
        tree = ast.parse(inspect.getsource(module))
        imported = {
            node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        } | {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
        assert not any(name.startswith(("torch", "quivers_nb.lower")) for name in imported)


@pytest.mark.parametrize("step", ["let", "score"])
def test_functions_are_offered_where_a_program_computes(full: Cells, step: str) -> None:
    head = "%%qvr\nprogram p : A -> B\n    sample w <- Normal(0.0, 1.0)\n"
    offered = _offers(full, f"{head}    {step} v = 2.0 * sig")
    assert ("sigmoid", "function of 1 argument") in offered
    assert "sigmoid" not in [name for name, _ in _offers(full, f"{head}    sample v <- Normal(sig")]
    assert "sigmoid" not in [name for name, _ in _offers(full, "%%qvr\nlet v = sig")]


def test_what_can_be_explained_is_offered_after_the_magic(full: Cells) -> None:
    texts = [text for text, _ in _offers(full, "%qvr_doc ")]
    assert texts[:3] == ["A", "B", "C"]
    assert {"Normal", "sample", "Simplex", "exp", ">>"} <= {*texts}
    assert not any(text.startswith("Q0") for text in texts)
    assert [text for text, _ in _offers(full, "%qvr_doc Norm")] == ["Normal", "Normalize"]
    codes = [text for text, _ in _offers(full, "%qvr_doc Q04")]
    assert "Q0402" in codes
    assert all(text.startswith("Q04") for text in codes)


def test_a_table_that_is_given_begins_with_its_data(full: Cells) -> None:
    line = "morphism t : A -> A [role=observed] ~ "
    assert _texts(full, line)[0] == "from_data"
    assert "Normal" not in _texts(full, line)
    assert "both" in _texts(full, "morphism t : A -> C [role=let] ~ ")
    assert "Dirichlet" in _texts(full, "morphism t : A -> A [role=latent] ~ ")


def test_names_below_a_table_are_in_reach_where_its_variable_is_there(full: Cells) -> None:
    above = 'morphism t : A -> A [role=observed] ~ from_data("w")\n'
    assert "t" not in _texts(full, above + "let h = ")
    full.shell.push({"w": [[1, 0, 0], [0, 1, 0], [0, 1, 1]]})
    assert "t" in _texts(full, above + "\nlet h = ")
