"""Figures: one call each, of the data they claim to show, without a trace in pyplot's state."""

import sys

import numpy as np
import pytest

from quivers_nb import UserError, fit_nuts, fit_svi
from quivers_nb.session import figures
from tests.session.test_fits import DATA, SMALL, X
from tests.session.test_run import ended
from tests.support.models import HandModel


@pytest.fixture(scope="module")
def result():
    return ended(fit_nuts(HandModel(True), X, DATA, **SMALL)).result


def drawn(figure):
    """The bytes of the picture that a cell shows."""
    picture = figure._repr_png_()
    assert picture.startswith(b"\x89PNG")
    return len(picture)


@pytest.mark.parametrize("name", [name for name in figures.FIGURES if name != "ppc"])
def test_every_figure_is_drawn_and_opens_no_window(result, name):
    figure = figures.FIGURES[name](result)
    assert drawn(figure) > 2000
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_traces_are_those_of_the_chains(result):
    figure = figures.trace(result, ["s"])
    (_, right) = figure.axes
    lines = [line.get_ydata() for line in right.lines[:2]]
    assert np.array_equal(np.stack(lines), result.samples["s"].numpy())


def test_the_forest_has_the_medians(result):
    (ax,) = figures.forest(result, ["s", "m"]).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["s", "m[0]", "m[1]"]
    medians = [float(result.samples["s"].median()), *np.median(result.samples["m"].numpy(), (0, 1))]
    assert np.allclose(ax.lines[0].get_xdata(), medians, atol=0.05)


def test_predictive_checks_take_draws_a_guide_or_the_prior(result):
    model = HandModel(True)
    run = fit_svi(model, X, DATA, steps=50, seed=1)
    ended(run)
    for posterior in (result, run.guide, None):
        figure = figures.ppc(model, X, DATA, posterior, draws=20)
        assert drawn(figure) > 2000
    with pytest.raises(UserError, match="no observed site"):
        figures.ppc(model, X, DATA, None, site="m")


def test_wrong_sites_and_too_few_are_refused(result):
    with pytest.raises(UserError, match="the sites of this result are"):
        figures.trace(result, ["nothing"])
    with pytest.raises(UserError, match="needs two scalars"):
        figures.pair(result, ["s"])


def test_another_interface_of_arviz_is_said(result, monkeypatch):
    class One:
        __version__ = "1.3.0"

    monkeypatch.setattr(figures, "require", lambda *_, **__: One)
    words = r"ArviZ 0\.2x, and 1\.3\.0 is installed.*arviz\.plot_trace\(result\.to_arviz\(\)\)"
    with pytest.raises(UserError, match=words):
        figures.trace(result)
