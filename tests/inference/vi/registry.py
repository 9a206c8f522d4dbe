"""Every guide, to be tested against the laws by being here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from quivers_nb.inference import (
    AmortizedNormalGuide,
    AutoDAIS,
    AutoDelta,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMixture,
    AutoMultivariateNormal,
    AutoNormalGuide,
    AutoNormalizingFlow,
    AutoStructured,
)
from quivers_nb.inference.vi.guide import GuideModule


@dataclass(frozen=True)
class Entry:
    """``make(model, observed names, rows)``; what the guide is good for."""

    make: Callable[..., GuideModule]
    density: bool = True  # a density, not a point
    path: bool = False  # draws say the density of how they were reached, nothing else is known
    entropy: bool = True  # of closed form
    trained: bool = True  # by steps
    rows: bool = False  # made for the number of rows of the data


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def flow(kind: str, model, names, rows=None, **options) -> AutoNormalizingFlow:
    options = {"hidden": (8,), "num_layers": 2, "generator": generator(), **options}
    return AutoNormalizingFlow(model, names, kind, rows=rows, **options)


def low_rank(model, names, rows=None) -> AutoLowRankMultivariateNormal:
    return AutoLowRankMultivariateNormal(model, names, rank=2, rows=rows, generator=generator())


def mixture(covariance: str, model, names, rows=None) -> AutoMixture:
    return AutoMixture(model, names, 3, covariance, 0.3, rows=rows, generator=generator())


def structured(model, names, rows=None) -> AutoStructured:
    """Every site follows all before it."""
    order = list(AutoStructured(model, names, rows=rows).parents)
    every = {name: order[:place] for place, name in enumerate(order)}
    return AutoStructured(model, names, dependencies=every, rows=rows)


def amortized(model, names, rows=None) -> AmortizedNormalGuide:
    return AmortizedNormalGuide(model, names, in_features=1, hidden=(4,), generator=generator())


def dais(model, names, rows=None) -> AutoDAIS:
    return AutoDAIS(model, names, K=2, rows=rows)


def parts(model, names, rows=None) -> AutoGuideList:
    sites = [latent.name for latent in model.declared_latents(frozenset(names))]
    kinds = [AutoMultivariateNormal, low_rank, AutoNormalGuide]
    return AutoGuideList(model, names, [([s], kinds[k % 3]) for k, s in enumerate(sites)])


def rowed(make: Callable[..., GuideModule], model, names, rows) -> GuideModule:
    return make(model, names, rows=rows)


def shared_over_rows(make: Callable[..., GuideModule], model, names, rows) -> GuideModule:
    return make(model, names)


def laplace(model, names, rows=None) -> AutoLaplaceApproximation:
    return AutoLaplaceApproximation(model, names)


def both(name: str, make: Callable[..., GuideModule], **facts) -> dict[str, Entry]:
    return {
        name: Entry(partial(shared_over_rows, make), **facts),
        f"{name}, rows": Entry(partial(rowed, make), rows=True, **facts),
    }


GUIDES: dict[str, Entry] = {
    **both("normal", AutoNormalGuide),
    **both("multivariate", AutoMultivariateNormal),
    **both("low rank", low_rank),
    **both("delta", AutoDelta, density=False, entropy=False),
    **both("flow coupling", partial(flow, "coupling"), entropy=False),
    **both("flow maf", partial(flow, "maf"), entropy=False),
    **both("flow iaf", partial(flow, "iaf"), entropy=False),
    **both("flow spline", partial(flow, "spline"), entropy=False),
    **both("mixture diagonal", partial(mixture, "diagonal"), entropy=False),
    **both("mixture full", partial(mixture, "full"), entropy=False),
    **both("structured", structured),
    **both("dais", dais, entropy=False, path=True),
    "parts": Entry(parts),
    "amortized": Entry(amortized),
    "laplace": Entry(laplace, trained=False),
}


def prepared(name: str, model, x, obs, spread: float = 0.3) -> GuideModule:
    """The guide with scattered parameters (or fitted, if steps do not train it), bound to x."""
    guide = GUIDES[name].make(model, set(obs), len(x))
    if isinstance(guide, AutoLaplaceApproximation):
        guide.fit(x, obs)
    with torch.no_grad():
        for parameter in guide.parameters():
            noise = torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator())
            parameter.add_(spread * noise)
    return guide.at(x, obs)
