"""What a view shows besides curves: traces, ranks, densities, predictions, and diagnostics.

Each look gives a header of plain values and arrays of float32, together below four kilobytes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from quivers_nb.inference import diagnose
from quivers_nb.inference.predictive import Predictive
from quivers_nb.session.growing import Look
from quivers_nb.session.jobs import NutsJob, SviJob
from quivers_nb.session.log import FEWEST, DrawLog
from quivers_nb.session.publisher import thinned
from quivers_nb.session.run import Run

TRACE_ROWS = 560  # over all chains
RANK_BINS, GRID, PREDICTED, PREDICTIVE_BINS = 20, 60, 12, 24
ROWS = 10  # of the table of parameters
MENU = 40  # parameters to choose from

Floats = NDArray[np.float64]
Shown = tuple[dict[str, Any], list[Any]]


def standing(run: Run[Any], look: Look) -> dict[str, Any]:
    """How the parameters stand: the worst ones first if there are chains to compare."""
    values = look.values
    draws = values.shape[1]
    mean, sd = values.mean((0, 1)), values.std((0, 1))
    if not isinstance(run.job, NutsJob) or draws < FEWEST:
        rows = [[name, _short(mean[k]), _short(sd[k])] for k, name in enumerate(look.names[:ROWS])]
        return {"names": list(look.names[:MENU]), "rows": rows}
    r_hat, ess = diagnose.r_hat(values), diagnose.ess(values)
    order = np.argsort(-np.nan_to_num(r_hat, nan=np.inf), kind="stable")[:ROWS]
    rows = [
        [look.names[k], *map(_short, (mean[k], sd[k], r_hat[k], ess[k]))] for k in order.tolist()
    ]
    found = {
        "names": list(look.names[:MENU]),
        "rows": rows,
        "r_hat": _short(np.nanmax(r_hat)) if np.isfinite(r_hat).any() else None,
        "ess": _short(np.nanmin(ess)) if np.isfinite(ess).any() else None,
        "e_bfmi": _short(e_bfmi(run.job.log).min()),
    }
    return {**found, "draws": draws}


def e_bfmi(log: DrawLog) -> Floats:  # -> (chains,)
    """Estimated Bayesian fraction of missing information (Betancourt 2016, section 6.1)."""
    energies = log.energies(log.counts)
    change: Floats = (np.diff(energies, axis=1) ** 2).sum(1)
    spread = ((energies - energies.mean(1, keepdims=True)) ** 2).sum(1)
    share: Floats = np.divide(change, spread, out=np.full(len(change), np.nan), where=spread > 0)
    return share


def trace(look: Look, parameter: str) -> Shown:
    """The draws of every chain, thinned to their extremes."""
    values = look.of(parameter)
    kept = [thinned(chain.tolist(), max(2, TRACE_ROWS // len(values)))[:, 1] for chain in values]
    return {"counts": [len(each) for each in kept]}, [np.concatenate(kept)]


def rank(look: Look, parameter: str) -> Shown:
    """How the draws of each chain rank among all of them: flat where chains agree."""
    values = look.of(parameter)
    chains, draws = values.shape
    order = values.ravel().argsort(kind="stable").argsort(kind="stable").reshape(chains, draws)
    bins = min(RANK_BINS, max(2, draws // 5))
    places = order * bins // (chains * draws)
    counts = np.stack([np.bincount(row, minlength=bins) for row in places])
    return {"chains": chains, "bins": bins, "expected": draws / bins}, [counts]


def density(look: Look, parameter: str) -> Shown:
    """A density estimate of every chain on one grid."""
    values = look.of(parameter)
    low, high = np.quantile(values, [0.001, 0.999])
    pad = 0.05 * (high - low) or 1.0
    grid = np.linspace(low - pad, high + pad, GRID)
    curves = np.stack([smooth(chain, grid) for chain in values])
    five, half, ninety = np.quantile(values, [0.05, 0.5, 0.95])
    header = {"chains": len(values), "grid": [_short(grid[0]), _short(grid[-1])]}
    header["interval"] = [_short(five), _short(half), _short(ninety)]
    return header, [curves]


def smooth(values: Floats, grid: Floats) -> Floats:
    """A Gaussian kernel estimate at ``grid``; bandwidth by Silverman (1986), equation 3.31."""
    some = values[:: max(1, len(values) // 500)]
    low, high = np.quantile(values, [0.25, 0.75])
    spread = min(float(values.std()), float(high - low) / 1.34) or float(values.std())
    if not spread > 0.0:
        return np.zeros(len(grid))
    width = 0.9 * spread * len(values) ** -0.2
    z = (grid[:, None] - some) / width
    result: Floats = np.exp(-0.5 * z * z).mean(1) / (width * np.sqrt(2 * np.pi))
    return result


LOOKS: Mapping[str, Callable[[Look, str], Shown]] = {
    "trace": trace, "rank": rank, "density": density,
}  # fmt: skip


def predictive(run: Run[Any], look: Look, generator: Generator) -> Shown:
    """Histograms of the data and of data that the model predicts, of the first observed site."""
    job = run.job
    assert isinstance(job, NutsJob | SviJob)
    data = dict(job.data or {})
    seen = [name for name in data if name in job.model.observed_names]
    if not seen:
        return {"note": "nothing is observed: there is no data to compare with"}, []
    posterior: Any = job.guide.at(job.x, data) if isinstance(job, SviJob) else _sites(job)
    predict = Predictive(job.model, posterior, PREDICTED, generator)
    host = {name: value for name, value in data.items() if name not in job.model.observed_names}
    drawn = predict(job.x, host)[seen[0]].double().reshape(PREDICTED, -1).numpy()
    real = torch.as_tensor(data[seen[0]]).double().ravel().numpy()
    bounds = np.quantile(np.concatenate([drawn.ravel(), real]), [0.005, 0.995])
    low, high = min(bounds[0], real.min()), max(bounds[1], real.max())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(2.0 * len(real) ** (1 / 3), 5, PREDICTIVE_BINS))  # Rice's rule
    edges = np.linspace(low, high, bins + 1)
    rows = [np.histogram(each, edges)[0] / max(len(each), 1) for each in (real, *drawn)]
    header = {"site": seen[0], "grid": [_short(low), _short(high)], "bins": bins}
    return {**header, "of": look.values.shape[1]}, [np.stack(rows)]


def _sites(job: NutsJob) -> dict[str, Any]:
    """The last draws of every chain, by site, after one another."""
    log = job.log
    number = log.num_draws(log.counts)
    rows = [
        np.stack(log.positions_of(chain, max(0, number - PREDICTED), number))
        for chain in range(len(log.counts))
    ]
    values = job.target.constrain(torch.from_numpy(np.stack(rows)))
    sites = {name: value.flatten(0, 1) for name, value in values.items()}
    count = len(next(iter(sites.values())))
    short = max(0, PREDICTED - count)  # fewer draws than predictions: the last ones again
    again = torch.cat([torch.arange(count), torch.full((short,), count - 1)])
    return {name: value[again] for name, value in sites.items()}


def _short(number: float) -> float | None:
    """Four digits; None for what JSON does not have."""
    return float(f"{number:.4g}") if np.isfinite(number) else None
