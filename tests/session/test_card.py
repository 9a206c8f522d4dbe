"""Cards: complete in text, safe in HTML, and never the death of a cell."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from quivers_nb.diagnostics.errors import LanguageError
from quivers_nb.display.parts import Text
from quivers_nb.dsl import loads
from quivers_nb.session import Card, Session, card, cell_card, list_card
from quivers_nb.session.card import error_card
from quivers_nb.session.namespace import Refusal

SOURCE = """object Site : FinSet 6
object Obs : FinSet n
program rain(x) : Obs -> Obs
    sample spread : 1 <- HalfCauchy(2.0)
    sample level : Site <- Normal(0.0, spread)
    let mu = level[site_of]
    observe mm : Obs <- Normal(mu, 1.5)
    return level
export rain
"""
KERNELS = """object A : FinSet 3
object B : Real 2
morphism f : A -> B [role=kernel] ~ Normal
morphism g : B -> B [role=kernel] ~ Normal
export f
export f >> g
"""


def _text(shown: Card) -> str:
    return shown._repr_mimebundle_()["text/plain"]


def _html(shown: Card) -> str:
    return shown._repr_mimebundle_()["text/html"]


class _Tags(HTMLParser):
    """Collects what a page could load or run, and checks that tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value for name, value in attrs if name == "src"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_program_says_its_type_sites_shapes_sharing_data_and_parameters() -> None:
    text = _text(card(loads(SOURCE).morphism))
    assert text.splitlines()[0] == "rain : Obs -> Obs"
    rows = {
        line.split()[1]: line for line in text.splitlines() if line.startswith(("sample", "ob"))
    }
    assert rows["level"].split()[-1] == "shared"
    assert "(Site=6)" in rows["level"]
    assert "Normal(mu, 1.5)" in rows["mm"]
    assert "needs data: site_of" in text
    assert "0 parameters" in text


def test_a_program_that_reads_its_input_says_which_values_are_one_per_row() -> None:
    source = """object A : FinSet 3
object B : Real 2
morphism f : A -> B [role=kernel] ~ Normal
program p : A -> B
    sample w : 1 <- Normal(0.0, 1.0)
    sample b <- f
    return b
export p
"""
    lines = _text(card(loads(source).morphism)).splitlines()
    ends = {line.split()[1]: line for line in lines if line.startswith("sample")}
    assert ends["b"].endswith("one per row")
    assert ends["w"].endswith("shared")
    assert "(rows, 2)" in ends["b"]


def test_a_program_that_never_reads_its_input_says_how_to_run_it() -> None:
    source = SOURCE.replace("rain(x)", "rain").replace(" : 1 <-", " <-")
    assert "run it with x=None" in _text(card(loads(source).morphism))


def test_parameters_are_counted_with_their_thousands_apart() -> None:
    model = loads(KERNELS).exports["f >> g"]
    count = sum(p.numel() for p in model.parameters())
    assert count > 1000
    assert f"{count // 1000} {count % 1000:03d} parameters" in _text(card(model))


def test_several_exports_are_folded_and_none_is_said_to_be_missing() -> None:
    module = loads(KERNELS)
    assert _html(card(module)).count("<details>") == 4  # two exports, each with its outline
    assert "f >> g : A -> B" in _text(card(module))
    assert "add a line `export NAME`" in _text(card(loads("object A : FinSet 2")))


def test_html_is_balanced_and_neither_runs_nor_loads_anything() -> None:
    tags = _Tags()
    tags.feed(_html(card(loads(KERNELS))))
    assert tags.open == []
    words = {"div", "span", "table", "tr", "td", "th", "details", "summary"}
    drawn = {"svg", "style", "title", "desc", "g", "rect", "path", "text", "circle", "polygon"}
    assert tags.tags <= words | drawn | {"ellipse", "img", "input", "label"}
    assert not any(name.startswith("on") or "href" in name for name in tags.attributes)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in tags.sources)


def test_an_object_shows_its_diagram_as_svg_and_in_the_html() -> None:
    shown = card(loads(SOURCE).morphism)._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html", "image/svg+xml"}
    assert shown["image/svg+xml"].startswith("<svg")
    assert shown["image/svg+xml"] in shown["text/html"]
    assert 'data-id="spread"' in shown["image/svg+xml"]
    cell = cell_card(Session().run_cell(SOURCE))._repr_mimebundle_()
    assert cell["image/svg+xml"] == shown["image/svg+xml"]
    several = card(loads(KERNELS))._repr_mimebundle_()
    assert "image/svg+xml" not in several
    assert several["text/html"].count("<svg") >= 2


def test_a_diagram_that_fails_costs_the_card_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("no <ink>")

    whole = _text(card(loads(SOURCE).morphism)).splitlines()
    monkeypatch.setattr(sys.modules["quivers_nb.session.card"], "diagram", fails)
    bundle = card(loads(SOURCE).morphism)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    lines = bundle["text/plain"].splitlines()
    note = "note: the diagram could not be drawn (ValueError: no <ink>)."
    assert [line for line in lines if line != note] == whole
    assert note in lines


def test_types_that_do_not_meet_are_drawn_and_other_errors_are_not() -> None:
    with pytest.raises(LanguageError) as caught:
        Session().run_cell(KERNELS.replace("export f >> g", "export f >> f"))
    drawn = error_card(caught.value)
    assert drawn is not None
    assert repr(drawn).startswith("Where the types do not meet: ")
    bundle = drawn._repr_mimebundle_()
    assert "✗ B does not meet A" in bundle["text/plain"]
    assert 'class="b junction' in bundle["image/svg+xml"]
    assert bundle["image/svg+xml"] in bundle["text/html"]
    with pytest.raises(LanguageError) as caught:
        Session().run_cell(KERNELS.replace("export f >> g", "export nobody"))
    assert error_card(caught.value) is None


def test_html_and_text_say_the_same_words() -> None:
    shown = card(loads(SOURCE).morphism)
    html = re.sub(r"<[^>]*>", " ", _html(shown))
    words = set(re.findall(r"\w+", _text(shown)))
    assert words <= set(re.findall(r"\w+", html))


def test_everything_of_the_users_is_escaped() -> None:
    result = Session().run_cell(SOURCE)
    evil = "<script>alert(1)</script>"
    shown = _html(cell_card(result, [Refusal(evil, "is <b>bad</b>")]))
    assert "<script" not in shown
    assert "<b>" not in shown
    assert "&lt;script&gt;" in shown


@pytest.mark.parametrize("fault", [RuntimeError("no <ink>"), RecursionError(), KeyError("x")])
def test_a_drawing_that_fails_leaves_the_sentence_and_a_note(fault: Exception) -> None:
    def draw() -> Text:
        raise fault

    bundle = Card("The sentence.", draw)._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    first, note = bundle["text/plain"].splitlines()
    assert first == "The sentence."
    assert type(fault).__name__ in note


def test_an_interrupt_while_drawing_is_not_held_back() -> None:
    def draw() -> Text:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Card("The sentence.", draw)._repr_mimebundle_()


def test_the_outcome_tells_compiled_from_unchanged() -> None:
    session = Session()
    first = session.run_cell(SOURCE, None, "cell [4]")
    assert re.match(r"Compiled in \d+(\.\d+)? m?s: rain\.", repr(cell_card(first)))
    again = session.run_cell(SOURCE, None, "cell [9]")
    assert repr(cell_card(again)).startswith("Unchanged since cell [4]")
    slow = cell_card(replace(first, seconds=2.345))
    assert repr(slow) == "Compiled in 2.35 s: rain."


def test_a_cell_says_what_became_of_other_cells_and_of_weights() -> None:
    session = Session()
    kinds, rest = KERNELS.split("morphism f", 1)
    first = session.run_cell(kinds, None, "cell [1]")
    assert _text(cell_card(first)).endswith("Other cells may use what it declares.")
    session.run_cell("morphism f" + rest, "page", "cell [2]")
    shown = cell_card(session.run_cell(kinds.replace("FinSet 3", "FinSet 4"), None, "cell [3]"))
    assert "cell [2] depends on it and was compiled anew: page, f, f >> g" in _text(shown)
    kept = "weights kept: g.weight0, g.bias0, g.weight1, g.bias1 and 2 more"
    reset = "weights reset, their shape has changed: f.table"
    for fact in (kept, reset):
        assert fact in _text(shown)
        assert fact in _html(shown)


def test_a_cell_that_only_gave_an_export_away_does_not_depend_on_what_took_it() -> None:
    """The commonest edit: the program in a new cell, the objects in the old one."""
    session = Session()
    session.run_cell(SOURCE, None, "cell [1]")
    objects, program = SOURCE.split("program", 1)
    shown = _text(cell_card(session.run_cell("program" + program, None, "cell [2]")))
    assert "cell [1] no longer declares what is anew here" in shown
    assert "depends on it" not in shown
    user = session.run_cell(objects.replace("FinSet 6", "FinSet 7"), None, "cell [3]")
    assert [each.label for each in user.rebuilt] == ["cell [2]"]
    assert user.shortened == ()


def test_a_cell_that_changes_nothing_says_nothing_of_weights() -> None:
    assert "weights" not in _text(cell_card(Session().run_cell(KERNELS)))


def test_the_list_names_every_object_with_its_type() -> None:
    module = loads(KERNELS)
    text = _text(list_card({"page": module, "f": module.exports["f"]}))
    assert "2 objects made by QVR cells: page, f." in text
    assert "module exporting f, f >> g" in text
    assert "f : A -> B" in text


def test_the_acceptance_program_has_two_sites_and_all_its_parameters_on_its_card() -> None:
    page = Path(__file__).parents[1] / "data" / "seed" / "seq2seq.qvr"
    lines = _text(card(loads(page.read_text(encoding="utf-8")).morphism)).splitlines()
    assert lines[0] == "seq2seq : Source * Target -> Target"
    sites = [line for line in lines if re.match(r"(sample|observe) ", line)]
    assert [line.split()[:2] for line in sites] == [["sample", "h"], ["observe", "next_token"]]
    assert all(line.endswith("one per row") for line in sites)
    assert "272 096 parameters" in lines
    assert any("fan of 4 enc_head" in line for line in lines)


def test_what_a_cell_of_a_scan_observes_is_named_by_the_key_that_gives_it() -> None:
    text = """object R : Real 1
program step(day, z) : R * R -> R
    sample s <- Normal(z, 1.0)
    observe y <- Normal(s, 0.5)
    return s
let walk = scan(step)
program p : R -> R
    sample last <- walk
    return last
export p
"""
    shown = _text(card(loads(text).morphism))
    assert "observed inside, given by path: last/walk/[t]/step/y" in shown
