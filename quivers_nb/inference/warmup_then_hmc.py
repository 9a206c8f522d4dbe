"""A guide first, then chains: they start at draws of the guide, in a metric of its spread.

Where a guide is near the posterior this saves most of the warm-up; where it is not, warm-up still
corrects start, step size and metric, and the draws are as valid as without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.calibration import FitGuide
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.interrupted import Interrupted
from quivers_nb.inference.mcmc.result import MCMCResult
from quivers_nb.inference.mcmc.run import MCMC
from quivers_nb.inference.model import Model, Values, refuse_nothing
from quivers_nb.inference.options import known_options

DRAWS = 400  # of the guide, for its spread: standard deviations to 4 %


@known_options
@dataclass(frozen=True)
class WarmupThenHMC:
    """Runs ``mcmc`` from a guide that ``fit(model, x, obs, seed)`` returns, fitted.

    The default fit is a mean-field normal guide, 1000 steps of Adam. Sites that the guide does not
    cover (internal ones, R3) start as without it, at scale 1.
    """

    mcmc: MCMC
    fit: Callable[[Model, Tensor | None, Values, int], Any] = field(default_factory=FitGuide)

    def __post_init__(self) -> None:
        if not isinstance(self.mcmc, MCMC):
            raise UserError(
                f"mcmc={self.mcmc!r:.60} ({type(self.mcmc).__name__}): a sampler is wanted, such "
                "as MCMC(NUTSKernel(), 200, 1000)"
            )
        if isinstance(self.fit, type) or not callable(self.fit):
            raise UserError(
                f"fit={self.fit!r:.60}: a function (model, x, obs, seed) that returns a fitted "
                "guide is wanted, such as FitGuide(AutoNormalGuide)"
            )

    def run(
        self, model: Model, x: Tensor | None, obs: Values | None = None, **options: Any
    ) -> MCMCResult:
        """As `MCMC.run`, with its options. The seed of the run is that of the fit too.

        Raises `UserError` where the guide cannot be fitted, `Interrupted` (which keeps the guide)
        for an interrupt before there are draws, and what `MCMC.run` raises.
        """
        refuse_nothing(model)
        seed = int(torch.randint(2**62, ())) if self.mcmc.seed is None else self.mcmc.seed
        guide = self._fitted(model, x, by_name(obs), seed)
        try:
            return self._from(guide, model, x, obs, seed, options)
        except Interrupted as error:  # the run says where it was
            if error.kept is not None:
                raise
            raise _kept(str(error), guide) from error
        except KeyboardInterrupt as error:
            raise _kept(
                "interrupted after the guide was fitted, and there are no draws", guide
            ) from error

    def _from(
        self,
        guide: Any,
        model: Model,
        x: Tensor | None,
        obs: Values | None,
        seed: int,
        options: Mapping[str, Any],
    ) -> MCMCResult:
        """Chains that start at draws of ``guide``, in a metric of its spread."""
        layout = model.target(x, obs, latents="declared").layout
        with torch.no_grad():
            q, _ = guide.draw(layout, (DRAWS,), torch.Generator().manual_seed(seed))
        spread = q.double().std(0)
        pieces = {c.name: c.slice(spread) for c in layout}
        scales = {
            name: s for name, s in pieces.items() if bool((s > 0.0).all())
        }  # a point has none
        known = {**scales, **(self.mcmc.init_scales or {})}
        mcmc = replace(self.mcmc, seed=seed, init_scales=known)
        return mcmc.run(model, x, obs, guide, **options)

    def _fitted(self, model: Model, x: Tensor | None, obs: Values, seed: int) -> Any:
        try:
            guide = self.fit(model, x, obs, seed)
        except UserError as error:
            raise UserError(
                f"the guide that chains should start at cannot be fitted: {error}. "
                "MCMC(…).run(model, x, obs) needs no guide"
            ) from error
        except Interrupted as error:
            if error.kept is None:
                raise
            raise _kept(str(error), error.kept) from error
        if not hasattr(guide, "draw"):
            raise UserError(
                f"fit returned {guide!r:.60} ({type(guide).__name__}), not a guide: let it end "
                "with `return guide`"
            )
        return guide


def _kept(fact: str, guide: Any) -> Interrupted:
    """With the guide as far as it was fitted, and how chains start at it."""
    return Interrupted(
        f"{fact}. The guide as it was then is `.kept` of this error (in a notebook, "
        "guide = sys.last_value.kept): WarmupThenHMC(mcmc, lambda *_: guide).run(model, x, obs) "
        "runs chains from it",
        guide,
    )
