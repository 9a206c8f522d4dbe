"""The live diagram without a browser: what the page asks, what it is told, and how often."""

import re
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest
import torch
from scipy import stats

from quivers_nb import fit_svi, live_diagram, load
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagrams import diagram
from quivers_nb.diagrams.theme import DARK, LIGHT
from quivers_nb.dsl import loads
from quivers_nb.inference import AutoNormalGuide
from quivers_nb.lower.model import Model
from quivers_nb.panels.diagram import HERE, LiveDiagram
from quivers_nb.panels.readings import DRAWS, LIVE, WIDEST, Subject, levels

SEED = Path(__file__).parents[1] / "data" / "seed" / "seq2seq.qvr"
SMALL = """\
object Obs : FinSet 5
program small : Obs -> Obs
    sample a <- Normal(0.0, 2.0)
    sample b : Obs <- Normal(a, 1.0)
    observe y : Obs <- Normal(b, 1.0)
    return b
export small
"""
DATA = {"y": torch.linspace(-1.0, 1.0, 5)}


@pytest.fixture(scope="module")
def seq2seq() -> Model:
    return load(SEED).morphism


@pytest.fixture
def small() -> Model:
    return loads(SMALL).morphism


def rows(count: int = 16) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    noise = torch.Generator().manual_seed(0)
    x = torch.randint(32, (count, 2), generator=noise)
    return x, {"next_token": torch.randint(32, (count,), generator=noise)}


def ask(live: LiveDiagram, what: str, ident: str | None = None) -> None:
    """A message of the page."""
    live._handle_custom_msg({"do": what, **({} if ident is None else {"id": ident})}, [])


def test_it_shows_the_static_picture_and_keeps_it_in_the_bundle(seq2seq: Model) -> None:
    live = live_diagram(seq2seq)
    assert live.svg == diagram(seq2seq).svg
    data, _ = live._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/svg+xml", "text/html"}  # no widget that may be gone
    assert data["text/html"].startswith(f'<div class="quivers-diagram" data-live="{live.place}">')
    assert data["image/svg+xml"] == live.svg
    assert live.svg in data["text/html"]
    assert data["text/plain"].startswith("Diagram of seq2seq")


def test_folding_twice_is_nothing_and_turning_too(seq2seq: Model) -> None:
    live = live_diagram(seq2seq)
    first = live.svg
    ask(live, "toggle", "h/backbone")
    assert live.svg == diagram(seq2seq).unfold("h/backbone").svg
    ask(live, "toggle", "h/backbone")
    assert live.svg == first
    ask(live, "turn")
    assert (live.orient, live.svg) == ("lr", diagram(seq2seq, orient="lr").svg)
    ask(live, "turn")
    assert live.svg == first


def test_everything_folds_opens_and_goes_back(seq2seq: Model) -> None:
    live = live_diagram(seq2seq)
    for what, drawing in (
        ("unfold", diagram(seq2seq).unfold()),
        ("fold", diagram(seq2seq).fold()),
        ("elide", diagram(seq2seq)),
    ):
        ask(live, what)
        assert live.svg == drawing.svg


def test_what_the_page_cannot_have_is_a_note_and_changes_nothing(small: Model) -> None:
    live = live_diagram(small)
    first = live.svg
    for what, ident in (("channel", "KL"), ("channel", "colour"), ("toggle", "nobody"), ("x", "")):
        ask(live, what, ident)
        assert (live.svg, live.channel) == (first, "kernel")
    ask(live, "channel", "KL")
    assert "fit_svi" in live.note
    with pytest.raises(UserError, match="no badge channel 'colour'"):
        live.show("colour")
    with pytest.raises(UserError, match="give a model"):
        live_diagram(small.program, badges="params")


@pytest.mark.parametrize(
    ("channel", "ident", "text"),
    [
        ("shape", "next_token/lm_head", "ℝ32 → Fin 32"),
        ("shape", "h", "(rows, 32)"),
        ("device", "next_token/lm_head", "float32 · cpu"),
        ("observed", "next_token", "observed"),
        ("observed", "h", "inferred"),
        ("params", "next_token/lm_head", "Categorical · 8,352 params"),
    ],
)
def test_fixed_channels_say_what_the_model_is(
    seq2seq: Model, channel: str, ident: str, text: str
) -> None:
    live = live_diagram(seq2seq, badges=channel)
    assert next(n.badge for n in live.drawing.geometry.nodes if n.id == ident) == text


def test_gradients_are_those_of_the_weights_and_a_group_has_the_largest(seq2seq: Model) -> None:
    x, data = rows()
    run = fit_svi(seq2seq, x, data, steps=3, seed=1).finish()
    live = live_diagram(seq2seq, run=run, badges="gradient")
    found = LIVE["gradient"].values(live.subject)
    wanted = sum(
        float(p.grad.square().sum())
        for k, p in seq2seq.storage().items()
        if k.startswith("lm_head")
    )
    assert found["next_token/lm_head"] == pytest.approx(wanted**0.5, rel=1e-6)
    inside = [v for k, v in found.items() if k.startswith("h/backbone/") and "head[" in k]
    assert found["h/backbone"] >= max(inside) > 0.0
    assert live.values["next_token/lm_head"][0] == f"grad {wanted**0.5:.3g}"


def test_log_densities_and_costs_are_those_of_the_guides_draws(small: Model) -> None:
    guide = AutoNormalGuide(small, {"y"})
    with torch.no_grad():
        guide.loc_a.fill_(0.5)
        guide.loc_b.copy_(DATA["y"].reshape(guide.loc_b.shape))
    subject = Subject(diagram(small).diagram, small.program, small, None, DATA, guide)
    draws = [guide.rsample(None, generator=torch.Generator().manual_seed(k)) for k in range(DRAWS)]
    a = [float(d["a"].detach()) for d in draws]
    b = [d["b"].detach().numpy().ravel() for d in draws]
    log_p = LIVE["log p"].values(subject)
    pairs = list(zip(a, b, strict=True))
    prior_b = sum(stats.norm(m, 1.0).logpdf(v).sum() for m, v in pairs) / DRAWS
    assert log_p["b"] == pytest.approx(prior_b, rel=1e-4)
    likelihood = sum(stats.norm(v, 1.0).logpdf(DATA["y"].numpy()).sum() for v in b) / DRAWS
    assert log_p["y"] == pytest.approx(likelihood, rel=1e-4)
    cost = LIVE["KL"].values(subject)
    of_a = sum(stats.norm(0.5, 0.1).logpdf(v) - stats.norm(0, 2.0).logpdf(v) for v in a) / DRAWS
    assert cost["a"] == pytest.approx(of_a, rel=1e-4)
    assert "y" not in cost


def test_a_guide_that_is_the_prior_costs_nothing() -> None:
    model = loads(SMALL.replace("Normal(a, 1.0)", "Normal(0.0, 1.0)")).morphism
    guide = AutoNormalGuide(model, {"y"})
    with torch.no_grad():
        guide.log_scale_a.fill_(2.0).log_()
        guide.log_scale_b.fill_(0.0)
    subject = Subject(diagram(model).diagram, model.program, model, None, DATA, guide)
    assert LIVE["KL"].values(subject)["a"] == pytest.approx(0.0, abs=1e-5)
    assert LIVE["KL"].values(subject)["b"] == pytest.approx(0.0, abs=1e-5)


def test_every_box_has_a_time_and_a_group_the_sum(seq2seq: Model) -> None:
    live = live_diagram(seq2seq, badges="time")
    found = LIVE["time"].values(live.subject)
    boxes = {n.id for n in live.drawing.unfold().geometry.nodes if n.kind == "box"}
    assert boxes <= set(found)
    assert all(found[ident] > 0.0 for ident in boxes)
    inside = [found[i] for i in boxes if i.startswith("h/backbone/")]
    assert found["h/backbone"] == pytest.approx(sum(inside))


def test_updates_are_few_and_move_nothing(seq2seq: Model) -> None:
    """A fit of a second or more: badges change, at most four times a second, the SVG never."""
    x, data = rows()
    live = live_diagram(seq2seq)
    told: list[tuple[float, str]] = []
    run = fit_svi(seq2seq, x, data, steps=100_000, seed=1)
    live.follow(run)
    live.show("gradient")
    live.observe(lambda change: told.append((monotonic(), change["name"])), ["svg", "values"])
    assert not run.wait(2.5)
    run.stop().wait()
    run.flush()
    assert {name for _, name in told} == {"values"}
    times = [when for when, _ in told]
    assert len(times) >= 3
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps[:-1]) > 0.2  # the last one comes when the run ends
    assert "grad" in live.values["next_token/lm_head"][0]


def test_the_layout_keeps_room_for_the_widest_text(seq2seq: Model) -> None:
    """A box is as wide before there is a value as with the longest one."""
    live = live_diagram(seq2seq, badges="gradient")
    path = "next_token/lm_head"
    width = next(n.width for n in live._plain.geometry.nodes if n.id == path)
    widest = diagram(seq2seq, badges={path: f"grad {WIDEST}"}).geometry
    assert width == next(n.width for n in widest.nodes if n.id == path)
    assert len(LIVE["gradient"].text(-1.2345678e-30)) <= len(f"grad {WIDEST}")
    assert WIDEST not in live._repr_mimebundle_()[0]["text/html"]


def test_levels_go_from_the_least_to_the_largest() -> None:
    assert levels({"a": 1.0, "b": 3.0, "c": 2.0}) == {"a": 0.0, "b": 1.0, "c": 0.5}
    assert levels({"a": float("nan"), "b": 2.0, "c": float("inf")}) == {"b": 0.0}
    assert levels({}) == {}


def test_a_channel_that_fails_during_a_fit_is_a_note(
    small: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fit_svi(small, None, DATA, steps=50_000, seed=1)
    live = live_diagram(small, run=run, badges="log p")

    def fails(_: object) -> dict[str, float]:
        raise ValueError("no ink")

    monkeypatch.setattr(Subject, "model", property(fails))
    run.wait(1.0)
    result = run.stop().wait() and run.result
    assert live.note == "ValueError: no ink"
    assert len(result.losses) > 0


def test_the_module_of_the_page_asks_nobody() -> None:
    code = (HERE / "diagram.js").read_text(encoding="utf-8")
    for word in (
        "import ",
        "import(",
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "eval(",
        "Function(",
    ):
        assert not re.search(rf"(?<![\w.]){re.escape(word)}", code), word
    urls = re.findall(r"https?://[^\"']+", code)
    assert urls == ["http://www.w3.org/2000/svg"]  # the name of a namespace
    assert "url(" not in (HERE / "diagram.css").read_text(encoding="utf-8")


def test_badges_can_be_read_on_the_warmest_ground() -> None:
    """Contrast of 4.5 to 1 (WCAG 2.2, 1.4.3) of both words of a box."""
    css = (HERE / "diagram.css").read_text(encoding="utf-8")
    light, dark = re.findall(r"--qd-hot: (#[0-9a-f]{6})", css)
    for ground, colors in ((light, LIGHT), (dark, DARK)):
        for word in ("ink", "quiet"):
            assert contrast(colors[word], ground) >= 4.5


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
