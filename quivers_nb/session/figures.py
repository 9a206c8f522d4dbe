"""Finished figures of a fit, one call each: matplotlib's object interface, never pyplot.

What ArviZ draws is drawn by ArviZ, on figures that are made here: they belong to nobody's global
state, so they may be drawn while a run is under way, and the cell shows what the call returns.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from warnings import catch_warnings, filterwarnings

import numpy as np
from matplotlib import MatplotlibDeprecationWarning
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError, require
from quivers_nb.inference.inference_data import inference_data, is_one
from quivers_nb.inference.mcmc.result import MCMCResult
from quivers_nb.inference.model import Model, Values
from quivers_nb.inference.predictive import Predictive
from quivers_nb.session.growing import scalars

WIDTH, ROW = 8.0, 1.9  # inches
PAIRED, LISTED = 5, 30  # scalars of a figure of pairs, and of one with a line for each


class Picture(Figure):
    """A figure that shows itself, also where no backend of matplotlib has been switched on."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        FigureCanvasAgg(self)
        self.savefig(file, format="png", dpi=80)
        return file.getvalue()


def trace(result: MCMCResult, sites: Sequence[str] | None = None) -> Figure:
    """Densities of the chains and their traces, one row per scalar; ticks mark divergences."""
    names, values, _ = _scalars(result, sites, 12)
    figure, axes = _rows(len(names), 2)
    diverged = result.stats["diverged"].numpy()
    for row, name in enumerate(names):
        for chain in range(len(values)):
            color, draws = f"C{chain}", values[chain, :, row]
            with _arviz() as arviz:
                arviz.plot_kde(draws, ax=axes[row, 0], plot_kwargs={"color": color})
            axes[row, 1].plot(draws, color=color, linewidth=0.6, alpha=0.8)
        marks = np.flatnonzero(diverged.any(0))
        low = axes[row, 1].get_ylim()[0]
        axes[row, 1].plot(marks, np.full(len(marks), low), "|", color="black", markersize=6)
        axes[row, 0].set_title(name, loc="left", fontsize=9)
        axes[row, 0].set_yticks([])
    return _tidy(figure)


def rank(result: MCMCResult, sites: Sequence[str] | None = None) -> Figure:
    """How the draws of each chain rank among all: flat where chains agree (Vehtari et al. 2021)."""
    names, values, _ = _scalars(result, sites, 12)
    figure, axes = _rows(-(-len(names) // 2), 2)
    for place, ax in enumerate(axes.flat):
        if place >= len(names):
            ax.set_axis_off()
            continue
        with _arviz() as arviz:
            arviz.plot_rank({"": values[..., place]}, ax=[ax])
        ax.set_title(names[place], loc="left", fontsize=9)
    return _tidy(figure)


def energy(result: MCMCResult) -> Figure:
    """The distribution of energies and of their changes: alike where momenta reach all of it."""
    if "energy" not in result.stats:
        raise UserError(
            "particles have no sequence of energies: result.stage_acceptance says how they moved"
        )
    figure, axes = _rows(1, 1, height=3.2)
    with _arviz() as arviz:
        arviz.plot_energy(result.to_arviz(log_likelihood=False), ax=axes[0, 0])
    return _tidy(figure)


def pair(result: MCMCResult, sites: Sequence[str] | None = None) -> Figure:
    """Every scalar against every other one; divergent transitions stand out."""
    names, values, _ = _scalars(result, sites, PAIRED)
    if len(names) < 2:
        raise UserError(f"a figure of pairs needs two scalars, and there is {', '.join(names)}")
    size = len(names) - 1
    figure = Picture(figsize=(WIDTH, WIDTH), layout="constrained")
    axes = figure.subplots(size, size, squeeze=False, sharex="col", sharey="row")
    diverged = result.stats["diverged"].numpy().ravel()
    flat = values.reshape(-1, len(names))
    for row, column in np.ndindex(size, size):
        ax: Any = axes[row, column]
        if column > row:
            ax.set_axis_off()
            continue
        x, y = flat[:, column], flat[:, row + 1]
        ax.plot(x[~diverged], y[~diverged], ".", markersize=2, alpha=0.3)
        ax.plot(x[diverged], y[diverged], ".", markersize=4, color="C3")
        if row == size - 1:
            ax.set_xlabel(names[column])
        if column == 0:
            ax.set_ylabel(names[row + 1])
    return _tidy(figure)


def forest(result: MCMCResult, sites: Sequence[str] | None = None) -> Figure:
    """Medians with the central 50 % and 90 % of the draws, one line per scalar."""
    names, values, _ = _scalars(result, sites, LISTED)
    figure, axes = _rows(1, 1, height=1.0 + 0.28 * len(names))
    ax: Axes = axes[0, 0]
    low, left, middle, right, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95], (0, 1))
    places = np.arange(len(names))[::-1]
    ax.hlines(places, low, high, linewidth=1.2)
    ax.hlines(places, left, right, linewidth=3.5)
    ax.plot(middle, places, "o", color="white", markeredgecolor="C0", markersize=5)
    ax.axvline(0.0, color="grey", linewidth=0.6)
    ax.set_yticks(places, names)
    return _tidy(figure)


def ppc(
    model: Model,
    x: Tensor | None,
    data: Values,
    posterior: Any = None,
    *,
    site: str | None = None,
    draws: int = 50,
    seed: int = 0,
) -> Figure:
    """Data against data that the model predicts: ``posterior`` None checks the prior.

    ``posterior`` is a result of `fit_nuts` or a guide; ``site`` an observed one, None the first.
    """
    observed = [name for name in data if name in model.observed_names]
    chosen = site or next(iter(observed), None)
    if chosen not in observed:
        raise UserError(f"{chosen} is no observed site with data: there are {observed or 'none'}")
    host = {name: value for name, value in data.items() if name not in model.observed_names}
    predict = Predictive(model, posterior, draws, Generator().manual_seed(seed))
    drawn = predict(x, host)[chosen].reshape(draws, -1).double().numpy()
    real = np.asarray(data[chosen]).ravel()
    found = inference_data(
        {"posterior_predictive": {chosen: drawn[None]}, "observed_data": {chosen: real}}
    )
    figure, axes = _rows(1, 1, height=3.4)
    with _arviz() as arviz:
        arviz.plot_ppc(found, ax=axes[0, 0], num_pp_samples=draws)
    return _tidy(figure)


FIGURES: dict[str, Callable[..., Figure]] = {
    "trace": trace, "rank": rank, "pair": pair, "forest": forest, "energy": energy, "ppc": ppc,
}  # fmt: skip


def _scalars(
    result: MCMCResult, sites: Sequence[str] | None, most: int
) -> tuple[tuple[str, ...], Any, int]:
    """The first scalars of the chosen sites: names and ``(chains, draws, scalars)``."""
    if not isinstance(result, MCMCResult):
        raise UserError(
            f"figures are made of draws, not of a {type(result).__name__}: give `run.result` of "
            "a run of NUTS"
        )
    if not result.num_samples:
        raise UserError("there are no draws to show: the run was stopped before the first one")
    unknown = [site for site in sites or () if site not in result.samples]
    if unknown:
        raise UserError(
            f"sites={unknown}: the sites of this result are {', '.join(result.samples)}"
        )
    chosen = {name: result.samples[name] for name in sites or result.samples}
    names, values, more = scalars(chosen, 2)
    return names[:most], values[..., :most], more + max(0, len(names) - most)


def _rows(count: int, columns: int, height: float | None = None) -> tuple[Figure, Any]:
    figure = Picture(figsize=(WIDTH, height or ROW * count), layout="constrained")
    return figure, figure.subplots(count, columns, squeeze=False)


def _tidy(figure: Figure) -> Figure:
    """One size of letters, whoever wrote them."""
    for ax in figure.axes:
        ax.tick_params(labelsize=8)
        ax.xaxis.label.set_fontsize(9)
        ax.yaxis.label.set_fontsize(9)
    return figure


@contextmanager
def _arviz() -> Iterator[Any]:
    """ArviZ, without its warnings about matplotlib's newer versions: they are not the user's.

    Raises `UserError` for ArviZ 1, whose plots make figures of their own.
    """
    arviz = require("arviz", extra="analysis", why="to draw this figure")
    if is_one(arviz):
        raise UserError(
            f"this figure is drawn by ArviZ 0.2x, and {arviz.__version__} is installed, whose "
            "plots have another interface: call them, as arviz.plot_trace(result.to_arviz()), or "
            "install arviz<1"
        )
    with catch_warnings():
        filterwarnings("ignore", category=MatplotlibDeprecationWarning)
        yield arviz
