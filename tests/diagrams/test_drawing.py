"""What people call: `diagram`, the drawing in a notebook, files, badges, the error picture."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import quivers_nb.diagrams.drawing as drawing_module
from quivers_nb.check import check_source
from quivers_nb.check.term import CheckedModule
from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.errors import LanguageError, UserError
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagrams import Drawing, broken, broken_places, diagram
from quivers_nb.diagrams.assemble import assemble
from quivers_nb.diagrams.fold import GUARD, visible
from quivers_nb.diagrams.graph import GroupKind, WireType
from quivers_nb.diagrams.pieces import Block, beside, box, chain
from quivers_nb.diagrams.raster import NoPainter
from quivers_nb.diagrams.sheet import page, terms

ROOT = Path(__file__).parents[2]
SEED = ROOT / "tests" / "data" / "seed" / "seq2seq.qvr"
GOLDEN = Path(__file__).parent / "golden" / "sheet.html"
A = WireType("A", "ℝ2", 2)


@pytest.fixture(scope="module")
def seed() -> CheckedModule:
    return check_source(SEED.read_text(encoding="utf-8"))


def test_the_first_export_is_drawn_unless_a_name_is_given(seed: CheckedModule) -> None:
    assert diagram(seed).diagram.title == "seq2seq"
    assert diagram(seed, "encoder").diagram.title == "encoder"
    with pytest.raises(UserError, match="no morphism 'nonsense'"):
        diagram(seed, "nonsense")


def test_anything_with_a_program_or_a_term_is_drawn(seed: CheckedModule) -> None:
    class Model:
        program = dict(seed.morphisms)["seq2seq"]

    class Kernel:
        name = "encoder"
        term = dict(seed.morphisms)["encoder"]

    assert diagram(Model()).svg == diagram(seed).svg
    assert diagram(Kernel()).svg == diagram(seed, "encoder").svg
    with pytest.raises(UserError, match="no diagram of a dict"):
        diagram({})


def test_depth_folds_and_fold_names_groups(seed: CheckedModule) -> None:
    closed = diagram(seed, "backbone", depth=1)
    assert {n.label for n in closed.geometry.nodes if n.folded} == {"encoder", "decoder"}
    assert diagram(seed, "backbone", depth=0).geometry.frames == ()
    one = diagram(seed, "backbone", fold=["encoder"])
    assert "encoder" in {n.label for n in one.geometry.nodes if n.folded}
    with pytest.raises(UserError, match=r"no group 'nobody'.*encoder"):
        diagram(seed, "backbone", fold="nobody")


def test_folding_and_unfolding_is_nothing(seed: CheckedModule) -> None:
    drawing = diagram(seed, "backbone")
    again = drawing.fold("encoder").unfold("encoder")
    assert again.geometry == drawing.geometry
    assert (
        drawing.fold("encoder").fold("decoder").geometry
        == drawing.fold("decoder", "encoder").geometry
    )


def test_a_wrong_orientation_is_refused(seed: CheckedModule) -> None:
    with pytest.raises(UserError, match=r"'tb'.*'lr'.*not 'up'"):
        diagram(seed, orient="up")


def test_badges_replace_the_second_line(seed: CheckedModule) -> None:
    path = "backbone/@[0]/encoder/src_embed"
    given = diagram(seed, "backbone", badges={path: "512 params"})
    assert next(n for n in given.geometry.nodes if n.id == path).badge == "512 params"
    types = diagram(seed, "backbone", badges="types").geometry.nodes
    assert next(n for n in types if n.id == path).badge == "Source → Latent"
    assert {n.badge for n in diagram(seed, "cross", badges="none").geometry.nodes} == {""}
    with pytest.raises(UserError, match="no badge channel 'colour'"):
        diagram(seed, badges="colour")
    with pytest.raises(UserError, match="give a model"):
        diagram(seed, badges="params")


def test_parameters_are_counted_once_in_a_group() -> None:
    """The counts of the acceptance program: 272,096 in all, shared ones once."""
    import quivers_nb

    model = quivers_nb.load(SEED).morphism
    badges = diagram(model, badges="params").badges
    count = {k: int(v.split(" · ")[-1].split()[0].replace(",", "")) for k, v in badges.items()}
    assert count["h/backbone"] + count["next_token/lm_head"] == 272_096
    assert count["h/backbone"] == (
        count["h/backbone/@[0]/encoder"]
        + count["h/backbone/@[1]/decoder"]
        + count["h/backbone/cross"]
    )


def test_the_notebook_gets_text_svg_and_html(seed: CheckedModule) -> None:
    bundle = diagram(seed)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml", "text/html"}
    assert bundle["text/plain"].startswith("Diagram of seq2seq")
    assert bundle["image/svg+xml"].startswith("<svg")
    assert "http" not in bundle["text/html"].replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in bundle["text/html"]
    assert set(diagram(seed)._repr_mimebundle_(include=["text/plain"])) == {"text/plain"}


def test_a_painter_that_fails_leaves_the_outline(
    seed: CheckedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> str:
        raise ValueError("no ink")

    monkeypatch.setattr(drawing_module, "svg", fails)
    bundle = diagram(seed)._repr_mimebundle_()
    assert set(bundle) == {"text/plain"}
    assert "could not be drawn (ValueError: no ink)" in bundle["text/plain"]
    assert "observe next_token" in bundle["text/plain"]


def test_files_are_what_their_names_say(seed: CheckedModule, tmp_path: Path) -> None:
    drawing = diagram(seed, "encoder")
    for suffix, start in (
        ("svg", b"<svg"),
        ("dot", b"digraph"),
        ("html", b"<!doctype html>"),
        ("txt", b"encoder : "),
        ("json", b'{"v":1'),
    ):
        assert drawing.save(tmp_path / f"e.{suffix}").read_bytes().startswith(start)
    assert json.loads(drawing.geometry.to_json())["frames"]
    with pytest.raises(UserError, match="cannot be saved as 'gif'"):
        drawing.save(tmp_path / "e.gif")


def test_png_and_pdf_go_through_graphviz(seed: CheckedModule, tmp_path: Path) -> None:
    drawing = diagram(seed, "encoder")
    assert drawing.png.startswith(b"\x89PNG")
    try:
        assert drawing.save(tmp_path / "e.pdf").read_bytes().startswith(b"%PDF")
    except NoPainter as error:
        pytest.skip(f"this Graphviz writes no PDF: {error}")


def test_without_graphviz_the_error_says_what_to_install(
    seed: CheckedModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    import quivers_nb.diagrams.raster as raster

    monkeypatch.setattr(raster, "ENGINES", ("no-such-program",))
    with pytest.raises(NoPainter, match="pip install graphviz-pure"):
        _ = diagram(seed, "cross").png


def test_very_large_pictures_are_folded_and_say_so() -> None:
    row = beside(*(box(f"f{i}", [A], [A]) for i in range(20)))
    layers = [Block(f"l{i}", GroupKind.LET, f"layer {i}", chain(row, row, row)) for i in range(10)]
    drawing = Drawing(assemble(chain(*layers), "wide"), folded=frozenset())
    assert visible(drawing.diagram, frozenset()) > GUARD
    assert len(drawing.geometry.nodes) <= GUARD
    assert "folded" in drawing.geometry.note
    assert drawing.geometry.note in drawing.svg


@pytest.mark.parametrize("orient", ["tb", "lr"])
def test_a_type_error_is_drawn_with_both_types(seed: CheckedModule, orient: str) -> None:
    known = dict(seed.morphisms)
    finding = Diagnostic("Q0301", "event dimensions 16 and 32 differ", Span(3, 9))
    drawing = broken(known["encoder"], known["cross"], finding, orient=orient)  # type: ignore[arg-type]
    (node,) = [n for n in drawing.geometry.nodes if n.shape == "junction"]
    assert (node.label, node.badge) == ("Latent", "Combined")
    assert "16 and 32 differ" in node.about
    assert ">Latent<" in drawing.svg
    assert ">Combined<" in drawing.svg
    assert "≠" in drawing.dot
    assert "Latent does not meet Combined" in drawing.outline


def refused(text: str) -> LanguageError:
    with pytest.raises(LanguageError) as caught:
        check_source(text)
    return caught.value


@pytest.mark.parametrize(
    ("good", "bad", "types"),
    [
        ("stack(enc_block, 2)", "stack(enc_block, 2) >> cross", ("Latent", "Combined")),
        ("tgt_embed >> stack(dec_block, 2)", "dec_ff_up << tgt_embed << cross", None),
        (
            "(encoder @ decoder) >> cross",
            "(encoder @ lm_head) >> cross",
            ("Latent * Target", "Combined"),
        ),
    ],
)
def test_a_refused_module_shows_where_it_breaks(
    good: str, bad: str, types: tuple[str, str] | None
) -> None:
    source = SEED.read_text(encoding="utf-8")
    error = refused(source.replace(good, bad))
    places = broken_places(error)
    assert [finding for finding, _ in places] == [d for d in error.diagnostics if d.code == "Q0402"]
    for _, drawing in places:
        nodes = [n for n in drawing.geometry.nodes if n.shape == "junction"]
        assert types is None or [(n.label, n.badge) for n in nodes] == [types]
        assert "cannot compose" in nodes[0].about


def test_an_error_that_is_no_junction_has_no_picture() -> None:
    assert broken_places(refused("object A : FinSet 2\nlet f = nothing >> nothing\n")) == ()
    assert broken_places(refused("object A :\n")) == ()


def test_pictures_need_no_torch_and_no_notebook() -> None:
    """In a process where neither can be imported."""
    code = (
        "import sys\n"
        "for name in ('torch','IPython','ipywidgets','anywidget'): sys.modules[name]=None\n"
        "from quivers_nb.check import check_source\n"
        "from quivers_nb.diagrams import diagram\n"
        f"text=open({str(SEED)!r},encoding='utf-8').read()\n"
        "print(len(diagram(check_source(text)).unfold().html))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10_000


def test_the_review_sheet_is_the_one_that_was_looked_at() -> None:
    """After a change of the layout: write the sheet, look at it, keep it as the golden file."""
    assert page() == GOLDEN.read_text(encoding="utf-8")
    assert len(terms()) == 16
