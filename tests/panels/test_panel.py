"""Panels without a browser: buttons as messages, what the view is sent, what a notebook keeps."""

import json
from time import monotonic

import numpy as np
import pytest
import torch

from quivers_nb import UserError
from quivers_nb.panels import panel
from quivers_nb.panels.feed import PATIENCE
from quivers_nb.panels.panel import WIDGET
from quivers_nb.session.live import live_runs
from quivers_nb.session.run import State
from tests.session.test_fits import DATA, X
from tests.session.test_run import LONG, ended
from tests.support.models import HandModel

NUTS = {"method": "nuts", "chains": 2, "warmup": 60, "draws": 60, "seed": 5}


class Screen:
    """Stands for the browser: keeps what it is sent, acknowledges if it is told to."""

    def __init__(self, made, *, acknowledges=True):
        self.made, self.acknowledges = made, acknowledges
        self.messages, self.times = [], []
        made._view.send = self.receive

    def receive(self, header, buffers):
        self.messages.append((header, buffers))
        self.times.append(monotonic())
        if self.acknowledges and header["kind"] == "curves":
            self.say(seen=header["sequence"] + 1)

    def say(self, **content):
        self.made._hear(self.made._view, content, [])

    def press(self, verb):
        self.say(verb=verb)

    @property
    def curves(self):
        return [header for header, _ in self.messages if header["kind"] == "curves"]

    def looks(self, tab):
        return [m for m in self.messages if m[0]["kind"] == "look" and m[0]["tab"] == tab]

    @property
    def sizes(self):
        return [len(json.dumps(h)) + sum(map(len, b)) for h, b in self.messages]


@pytest.fixture
def hand():
    made = panel(HandModel(True), X, DATA, **NUTS)
    yield made
    if made.run is not None:
        made.run.abort().wait(LONG)


def long_svi(**settings):
    made = panel(HandModel(), X, DATA, steps=1_000_000, **settings)
    return made, Screen(made)


def until(condition, seconds=LONG):
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end
        torch.rand(1)


# --- buttons


def test_every_button_does_what_it_says():
    made, screen = long_svi()
    screen.press("start")
    until(lambda: made.run.state is State.RUNNING)
    screen.press("pause")
    assert made.run.state is State.PAUSED
    screen.press("resume")
    assert made.run.state is State.RUNNING
    screen.press("stop")
    assert made.run.wait(LONG)
    assert made.result.interrupted
    screen.press("start")
    until(lambda: made.run.state is State.RUNNING)
    screen.press("abort")
    assert made.run.wait(LONG)
    with pytest.raises(UserError, match="aborted"):
        made.result  # noqa: B018


def test_late_and_repeated_presses_do_no_harm():
    made, screen = long_svi()
    for verb in ("pause", "resume", "stop", "abort"):
        screen.press(verb)
    assert made.run is None
    screen.press("start")
    first = made.run
    screen.press("start")
    assert made.run is first
    assert "stop it first" in made._view.info["message"]
    screen.press("stop")
    screen.press("stop")
    assert first.wait(LONG)


def test_a_second_panel_on_the_model_is_told_to_wait():
    made, screen = long_svi()
    screen.press("start")
    other = Screen(panel(made.model, X, DATA))
    other.press("start")
    assert "at work in another run" in other.made._view.info["message"]
    assert made.run.state in (State.WARMING, State.RUNNING)
    made.run.abort().wait(LONG)


def test_a_run_outlives_its_panel():
    made, screen = long_svi()
    screen.press("start")
    model = made.model
    del made, screen
    (run,) = [each for each in live_runs() if each.model is model]
    run.abort().wait(LONG)


def test_svi_hands_over_to_nuts():
    made = panel(HandModel(), X, DATA, steps=1_000_000, seed=3)
    made._form.fill("nuts", {k: str(v) for k, v in NUTS.items() if k != "method"})
    screen = Screen(made)
    screen.press("start")
    until(lambda: made.run.progress.iteration > 50)
    first = made.run
    screen.press("nuts")
    assert first.wait(LONG)
    assert first.reason == "handed over to NUTS"
    ended(made.run)
    assert made.result.num_samples == 60
    assert "draws = run.then_nuts(" in made.code


def test_a_form_with_a_fault_cannot_be_started():
    made, screen = long_svi(lr=-1)
    assert not made._view.info["valid"]
    screen.press("start")
    assert made.run is None
    assert "Learning rate" in made._view.info["message"]
    made.set(lr=0.1)
    assert made._view.info["valid"]


def test_an_error_of_the_model_is_shown_and_raised():
    model = HandModel()
    made = panel(model, X, {"y": torch.full((8,), torch.inf)}, steps=20)
    screen = Screen(made)
    screen.press("start")
    assert made.run.wait(LONG)
    until(lambda: made._view.info["state"] == "failed")
    assert "the loss is" in made._view.info["message"]
    assert "the loss is" in made._bundle()["text/html"]
    with pytest.raises(UserError):
        made.result  # noqa: B018


# --- what is sent


def test_messages_are_few_and_small_and_every_tab_has_its_look(hand):
    screen = Screen(hand)
    ended(hand.start())
    hand.run.flush(LONG)
    for tab in ("trace", "rank", "density", "predictive"):
        hand._view.tab = tab
        assert screen.looks(tab)
    assert max(screen.sizes) <= 4096
    seconds = hand.run.progress.elapsed
    before_the_end = [h for h in screen.curves if not h["last"]]
    assert len(before_the_end) <= 12 * seconds + 2


def test_looks_are_what_the_draws_are(hand):
    screen = Screen(hand)
    ended(hand.start())
    hand.run.flush(LONG)
    draws = hand.result.samples["s"].numpy()
    hand._view.parameter = "s"
    hand._view.tab = "trace"
    header, (data,) = screen.looks("trace")[-1]
    assert header["draws"] == 60
    trace = np.frombuffer(data, np.float32).reshape(2, -1)
    assert np.allclose(trace, draws)
    hand._view.tab = "rank"
    header, (data,) = screen.looks("rank")[-1]
    counts = np.frombuffer(data, np.float32).reshape(2, header["bins"])
    assert counts.sum() == draws.size
    assert np.allclose(counts.sum(0), 2 * header["expected"], atol=1)
    hand._view.tab = "density"
    header, (data,) = screen.looks("density")[-1]
    low, high = header["grid"]
    mass = np.frombuffer(data, np.float32).reshape(2, -1).mean() * (high - low)
    assert 0.8 < mass < 1.1
    stats = {row[0]: row for row in header["rows"]}
    assert stats["s"][3] == pytest.approx(float(hand.result.r_hat["s"]), rel=1e-3)


def test_the_predictive_look_sees_a_model_that_does_not_fit():
    good = panel(HandModel(True), X, DATA, **NUTS)
    bad = panel(HandModel(True), X, {"y": DATA["y"] + 100.0}, **NUTS)
    overlaps = []
    for made in (good, bad):
        screen = Screen(made)
        ended(made.start())
        made.run.flush(LONG)
        made._view.tab = "predictive"
        header, (data,) = screen.looks("predictive")[-1]
        real, *drawn = np.frombuffer(data, np.float32).reshape(-1, header["bins"])
        assert real.sum() == pytest.approx(1.0)
        overlaps.append(float(np.minimum(real, np.mean(drawn, 0)).sum()))
    assert overlaps[0] > 0.5
    assert overlaps[1] < overlaps[0] - 0.2


def test_a_new_view_gets_the_whole_curve():
    made, screen = long_svi()
    screen.press("start")
    until(lambda: made.run.progress.iteration > 300 and screen.curves)  # the first view has its own
    count = len(screen.messages)
    screen.say(need=True)
    until(lambda: len(screen.curves) > count + 1)
    fresh = [header for header, _ in screen.messages[count:] if header["kind"] == "curves"]
    first = next(header for header in fresh if header["sequence"] == 0)
    assert first["columns"]["loss"][0] == 0
    assert first["columns"]["loss"][1] >= 300
    made.run.abort().wait(LONG)


def test_a_view_that_does_not_answer_is_sent_little():
    made = panel(HandModel(), X, DATA, steps=1_000_000)
    screen = Screen(made, acknowledges=False)
    screen.press("start")
    until(lambda: len(screen.curves) >= 5)
    waits = np.diff([t for (h, _), t in zip(screen.messages, screen.times, strict=True)
                     if h["kind"] == "curves"])[2:]  # fmt: skip
    assert min(waits) >= 0.9 * PATIENCE
    made.run.abort().wait(LONG)


def test_a_paused_run_is_silent():
    made, screen = long_svi()
    screen.press("start")
    until(lambda: made.run.state is State.RUNNING)
    screen.press("pause")
    until(lambda: screen.curves and screen.curves[-1]["state"] == "paused")
    made.run.wait(0.3)
    count = len(screen.curves)
    made.run.wait(0.5)
    assert len(screen.curves) == count
    made.run.abort().wait(LONG)


# --- what a notebook keeps


def test_the_bundle_is_complete_small_and_asks_nobody(hand):
    before = hand._bundle()
    assert set(before) == {"text/plain", "text/html", WIDGET}
    assert before["text/plain"].endswith("not started.")
    ended(hand.start())
    bundle = hand._bundle()
    assert set(bundle) == {"text/plain", "text/html", "image/svg+xml", WIDGET}
    assert "2 chains of 60 draws" in bundle["text/plain"]
    assert repr(hand) == bundle["text/plain"]
    assert sum(len(str(value)) for value in bundle.values()) < 60_000
    for words in ("http:", "https:", "<script", "<link"):
        shown = bundle["text/html"] + bundle["image/svg+xml"]
        assert words not in shown.replace("http://www.w3.org/2000/svg", "")
    assert "R-hat" in bundle["text/html"]
    assert "fit_nuts(" in bundle["text/html"]


def test_the_final_picture_is_written_once(hand):
    class Handle:
        def __init__(self):
            self.bundles = []

        def update(self, bundle, *, raw):
            self.bundles.append((bundle, raw))

    hand._handle = handle = Handle()
    ended(hand.start())
    until(lambda: handle.bundles)
    hand.run.flush(LONG)
    ((bundle, raw),) = handle.bundles
    assert raw
    assert "image/svg+xml" in bundle


def test_eight_chains_of_many_parameters_stay_below_the_limit():
    x = torch.linspace(-1, 1, 60)[:, None]
    made = panel(
        HandModel(True), x, {"y": torch.sin(3 * x[:, 0])}, method="nuts", chains=8, warmup=50,
        draws=100, seed=1,
    )  # fmt: skip
    screen = Screen(made)
    ended(made.start())
    made.run.flush(LONG)
    for tab in ("trace", "rank", "density", "predictive"):
        made._view.tab = tab
    assert sum(len(str(value)) for value in made._bundle().values()) < 60_000
    assert max(screen.sizes) <= 4096


def test_the_code_repeats_the_run(hand):
    ended(hand.start())
    scope = {"model": HandModel(True), "x": X, "data": DATA}
    exec(hand.code, scope)
    again = ended(scope["run"]).result
    assert all(torch.equal(again.samples[k], v) for k, v in hand.result.samples.items())


def test_wrong_words_are_refused():
    with pytest.raises(UserError, match="did you mean steps"):
        panel(HandModel(), X, DATA, stepz=3)
    with pytest.raises(UserError, match="'mcmc' is not one of svi, nuts"):
        panel(HandModel(), X, DATA, method="mcmc")
    with pytest.raises(UserError, match="press Start"):
        panel(HandModel(), X, DATA).result  # noqa: B018


def test_a_fit_of_weights_alone_has_curves_and_nothing_else_to_show():
    made = panel(HandModel(), X, {**DATA, "m": torch.zeros(2), "z": torch.zeros(8)}, steps=20)
    screen = Screen(made)
    ended(made.start())
    made.run.flush(LONG)
    made._view.tab = "density"
    assert screen.curves[-1]["last"]
    assert not screen.looks("density")
    assert "20 steps" in repr(made)


def test_recentring_is_a_setting():
    made = panel(HandModel(), X, DATA, method="nuts", recenter=True)
    assert made.settings["recenter"] == "yes"
    assert "recenter=True," in made.code
    made.set(recenter=False)
    assert "recenter" not in made.code
    with pytest.raises(UserError, match="is not one of no, yes"):
        made.set(recenter="often")
