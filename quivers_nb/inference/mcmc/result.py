"""What a run returns: draws by site, what is known of each transition, and what to worry about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.inference import diagnose
from quivers_nb.inference.labels import Labels
from quivers_nb.inference.mcmc.finding import Finding
from quivers_nb.inference.mcmc.findings import findings
from quivers_nb.inference.options import known_options
from quivers_nb.inference.origin import Origin
from quivers_nb.inference.problem import Problem
from quivers_nb.inference.ranges import Count


class UnknownSite(UserError, KeyError):
    """Draws were asked for of a site that has none."""

    __str__ = Exception.__str__  # a KeyError shows its message as a key


class Samples(dict[str, Tensor]):
    """Draws by site, ``(chains, draws, *value_shape)``: a plain dict that knows its two axes."""

    def __missing__(self, site: object) -> Tensor:
        meant = nearest(site, self) if isinstance(site, str) else None
        hint = f"did you mean `{meant}`?" if meant else f"there are {', '.join(self) or 'none'}"
        raise UnknownSite(f"there are no draws of `{site}`; {hint}")


@dataclass(frozen=True)
class MCMCResult:
    """The draws after warm-up.

    ``samples`` maps sites to ``(chains, draws, *value_shape)``; ``stats`` has one ``(chains,
    draws)`` tensor per entry of `Stats` (acceptance, leapfrogs, depth, diverged, log_density,
    energy, step_size). ``num_samples`` counts kept draws per chain; an interrupted run has fewer
    than were asked for. ``centering`` says how far the coordinates of each element of a site were
    centred, from 0 to 1, where the run has chosen that (``recenter=True``). ``tier`` says what ran
    the gradient and ``tier_reason`` why nothing faster did. Diagnostics are computed when first
    asked for.
    """

    samples: Mapping[str, Tensor]
    stats: Mapping[str, Tensor]
    start_log_densities: Tensor  # (chains,)
    stationary: Tensor  # (chains,) bool: the last draw is the start, unchanged
    num_warmup: int
    max_tree_depth: int | None
    dim: int
    tier: str
    tier_reason: str = ""
    interrupted: bool = False
    seed: int = 0
    gradients: int = 0  # made by all chains, in warm-up too
    origin: Origin | None = None  # of the model; None for a density written by hand
    labels: Labels = field(default_factory=Labels)  # of the axes of sites
    centering: Mapping[str, Tensor] = field(default_factory=dict)  # of recentred sites, (*shape)
    problem: Problem | None = None  # the model and its data; None if written by hand, or loaded

    @property
    def num_chains(self) -> int:
        return int(self.log_densities.shape[0])

    @property
    def num_samples(self) -> int:
        return int(self.log_densities.shape[1])

    @property
    def log_densities(self) -> Tensor:  # (chains, draws)
        return self.stats["log_density"]

    @property
    def acceptance_rates(self) -> Tensor:  # (chains,)
        """Mean acceptance statistic of each chain."""
        return self.stats["acceptance"].mean(-1)

    @property
    def divergence_counts(self) -> Tensor:  # (chains,)
        """Divergent transitions after warm-up."""
        return self.stats["diverged"].sum(-1)

    @property
    def step_sizes(self) -> Tensor:  # (chains,)
        """The step size that each chain ended warm-up with."""
        return self.stats["step_size"][:, -1] if self.num_samples else torch.empty(0)

    @property
    def tree_depths(self) -> Tensor:  # (chains, draws)
        return self.stats["depth"]

    @cached_property
    def r_hat(self) -> dict[str, Tensor]:
        """Rank-normalised split R-hat of every scalar, by site."""
        return self._by_site(diagnose.r_hat)

    @cached_property
    def ess(self) -> dict[str, Tensor]:
        """Bulk effective sample size of every scalar, by site."""
        return self._by_site(diagnose.ess)

    @cached_property
    def ess_tail(self) -> dict[str, Tensor]:
        """Effective sample size of the 5 % and 95 % quantiles of every scalar, by site."""
        return self._by_site(diagnose.ess_tail)

    @cached_property
    def bfmi(self) -> Tensor:  # (chains,)
        """Fraction of missing information of each chain; below 0.3 tails are out of reach."""
        return torch.from_numpy(diagnose.bfmi(self.stats["energy"].numpy()))

    @cached_property
    def mcse(self) -> dict[str, Tensor]:
        """Monte Carlo standard error of every mean, by site."""
        return self._by_site(diagnose.mcse)

    @cached_property
    def warnings(self) -> tuple[Finding, ...]:
        """What speaks against trusting these draws, and what to do about each."""
        return findings(self)

    def _by_site(self, statistic: Any) -> dict[str, Tensor]:
        return {
            name: torch.from_numpy(np.asarray(statistic(draws.numpy())))
            for name, draws in self.samples.items()
        }

    def to_arviz(
        self, predictive: Mapping[str, Any] | None = None, *, log_likelihood: bool | None = None
    ) -> Any:
        """All that is known for ArviZ: draws, statistics, data, log-likelihood, predictions.

            arviz.loo(result.to_arviz())
            arviz.compare({"one": result.to_arviz(), "other": other.to_arviz()})

        Plates are dimensions by name. ``predictive`` are draws of `Predictive`, ``(draws, *shape)``
        per site. ``log_likelihood`` None computes that of every observation where the result knows
        its model and data, all sites were kept and it has at most 2**24 numbers; True in any case.

        Raises `MissingExtra` if ArviZ is not installed, and `UserError` if a log-likelihood that is
        asked for cannot be had or ``predictive`` lacks every observed site.
        """
        from quivers_nb.inference.pointwise import of_result  # noqa: PLC0415  (it knows results)

        return of_result(self, log_likelihood).to_arviz(predictive)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write draws, statistics and labels to a file that `quivers_nb.inference.load` reads.

        Raises `UserError` if the file cannot be written.
        """
        from quivers_nb.inference.persist import save  # noqa: PLC0415  (it knows results)

        return save(path, self)

    @classmethod
    def load(cls, path: str | PathLike[str], model: Any = None) -> "MCMCResult":
        """Read what `save` wrote; ``model`` checks that the draws are its own.

        Raises `UserError` if the file is missing or damaged, holds no draws, or is of another
        model.
        """
        from quivers_nb.inference.persist import load_draws  # noqa: PLC0415  (it knows results)

        return load_draws(path, model)

    def arviz_stats(self) -> dict[str, Tensor]:
        """The statistics under the names that ArviZ has for them."""
        names = {"acceptance": "acceptance_rate", "depth": "tree_depth", "log_density": "lp"}
        names |= {"diverged": "diverging", "leapfrogs": "n_steps"}
        return {names.get(name, name): value for name, value in self.stats.items()}

    @known_options
    def summary(self, max_rows: Count = 40) -> str:
        """A table, one line per scalar: mean, sd, 5 % and 95 % quantiles, MCSE, ESS, R-hat."""
        rows: list[tuple[str, ...]] = [("", "mean", "sd", "5%", "95%", "mcse", "ess", "r_hat")]
        total = 0
        for name, draws in self.samples.items():
            size = draws[0, 0].numel() if self.num_samples else 0
            shown = max(0, min(size, max_rows - total))
            total += size
            rows += [self._row(name, place) for place in range(shown)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if k == 0 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        if total > max_rows:
            lines.append(f"... and {total - max_rows} more")
        lines += [_recentred(name, share) for name, share in self.centering.items()]
        return "\n".join([*lines, *(f"! {finding}" for finding in self.warnings)])

    def _row(self, name: str, place: int) -> tuple[str, ...]:
        draws = self.samples[name]
        x = draws.reshape(*draws.shape[:2], -1)[..., place].double()
        index = np.unravel_index(place, draws.shape[2:]) if draws.ndim > 2 else ()
        label = name + (f"[{', '.join(map(str, index))}]" if index else "")
        low, high = torch.quantile(x.flatten(), torch.tensor([0.05, 0.95], dtype=x.dtype))
        numbers = (x.mean(), x.std(), low, high, self.mcse[name].flatten()[place])
        size, rhat = self.ess[name].flatten()[place], self.r_hat[name].flatten()[place]
        return (label, *(f"{float(n):.3g}" for n in numbers), f"{size:.0f}", f"{rhat:.3f}")

    def __repr__(self) -> str:
        shown = f"{self.num_chains} chains x {self.num_samples} draws"
        parts = [shown, f"{len(self.samples)} sites", f"{self.dim} coordinates", self.tier]
        if self.num_samples:
            parts.append(f"acceptance {float(self.acceptance_rates.mean()):.2f}")
            parts.append(f"{int(self.divergence_counts.sum())} divergences")
        if self.interrupted:
            parts.append("interrupted")
        return f"MCMCResult({', '.join(parts)})"


def _recentred(name: str, share: Tensor) -> str:
    low, high = float(share.min()), float(share.max())
    shown = f"{low:.1f}" if low == high else f"{low:.1f} to {high:.1f}"
    return f"{name} was recentred: {shown} (1 is centred, 0 non-centred)"
