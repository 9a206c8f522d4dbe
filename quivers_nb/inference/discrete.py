"""What was summed out, brought back: class probabilities of marginalized sites after a fit.

    found = infer_discrete(model, x, obs, result)
    found["z"]                (chains, draws, *places, K): given each draw of the other latents
    found.mean("z")           (*places, K): averaged over draws, the posterior probabilities

Probabilities are exact given a draw: nothing is sampled, so their average over draws has less noise
than counted draws of the classes would have (Rao-Blackwell).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.inference.blocks import draws_of, flattened, in_blocks, refuse_too_large
from quivers_nb.inference.model import Model, Values
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count
from quivers_nb.inference.vi.guide import placed

_BLOCK = 1 << 20  # probabilities that are computed at once


@dataclass(frozen=True)
class ClassProbabilities(Mapping[str, Tensor]):
    """Marginalized sites to probabilities ``(chains, draws, *places, K)``.

    ``places`` is the batch of an un-indexed site, the plate of an indexed one, the groups of a
    grouped one. Each site's are marginal: those of nested sites are summed over the outer classes.
    """

    by_site: Mapping[str, Tensor]

    def __getitem__(self, site: str) -> Tensor:
        return self.by_site[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_site)

    def __len__(self) -> int:
        return len(self.by_site)

    def mean(self, site: str) -> Tensor:  # -> (*places, K)
        """Posterior probabilities: the average over all draws."""
        return self.by_site[site].mean((0, 1))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {tuple(p.shape)}" for name, p in self.by_site.items())
        return f"<class probabilities (chains, draws, *places, K): {shown}>"


@known_options
def infer_discrete(
    model: Model,
    x: Tensor | None,
    obs: Values | None,
    posterior: Any = None,
    *,
    sites: Collection[str] | None = None,
    num_draws: Count | None = None,
    generator: Generator | None = None,
) -> ClassProbabilities:
    """The probability of every value of every marginalized site, at every draw of ``posterior``.

    ``posterior`` is an `MCMCResult` (or its samples), a guide (``num_draws`` are drawn from it) or
    a mapping of sites to draws ``(n, *value_shape)``; the last two count as one chain. None is for
    a model all of whose latents are summed: one draw of nothing, so exact posterior probabilities,
    with no fit. ``sites`` selects; None takes all that have probabilities. Internal sites (R3)
    without draws are an error, unless ``generator`` draws them from the model; for a guide they
    always are drawn.

    Raises `UserError` if draws are needed and not given, the model sums no site,
    ``sites`` names one that is not summed or whose classes are not alternatives (``reduction=sum``
    or ``mean``), or memory does not suffice.
    """
    target: Any = model.target(x, obs, latents="all", dtype=torch.float64, freeze_masks=True)
    if not hasattr(target, "classes"):
        raise UserError(
            f"a {type(model).__name__} does not know what it sums out: its target needs a method "
            "`classes(values, stack)`, as in quivers_nb.lower.target"
        )
    if posterior is None:
        draws, front = _no_draws(target)
    else:
        draws, front = draws_of(x, placed(posterior, x, obs), num_draws, generator)
    flat = flattened(draws, front)
    fresh = generator is not None or hasattr(posterior, "rsample")

    def block(start: int, stop: int) -> tuple[dict[str, Tensor], dict[str, str]]:
        some = {name: value[start:stop] for name, value in flat.items()}
        both: tuple[dict[str, Tensor], dict[str, str]] = target.classes(
            some, (stop - start,), fresh=fresh, generator=generator
        )
        return both

    first, refused = block(0, 1)
    chosen = {name: first[name] for name in _chosen(sites, first, refused)}
    way_out = "choose sites=…, or give fewer draws, as a mapping of sites to every k-th draw"
    refuse_too_large("the class probabilities", chosen, front, way_out)
    return ClassProbabilities(
        in_blocks(lambda start, stop: block(start, stop)[0], first, front, _BLOCK, chosen)
    )


def _no_draws(target: Any) -> tuple[dict[str, Tensor], tuple[int, int]]:
    """One draw of no site. Raises `UserError` where there are sites to be drawn."""
    open_sites = [coordinate.name for coordinate in target.layout]
    if open_sites:
        raise UserError(
            f"the probabilities depend on draws of {', '.join(f'`{n}`' for n in open_sites)}: give "
            "a posterior, such as `run.result` of fit_nuts"
        )
    return {}, (1, 1)


def _chosen(
    sites: Collection[str] | None, found: Mapping[str, Tensor], refused: Mapping[str, str]
) -> list[str]:
    """The sites asked for, or the reason why one of them cannot be had."""
    for name in sites or ():
        if name in refused:
            raise UserError(refused[name])
        if name not in found:
            near = nearest(name, [*found, *refused])
            hint = f"did you mean `{near}`?" if near else f"there are {', '.join(found) or 'none'}"
            raise UserError(f"`{name}` is not a site that the model sums out; {hint}")
    if not found:
        reason = next(iter(refused.values()), "the model has no `marginalize` step")
        raise UserError(f"there are no classes to infer: {reason}")
    return [name for name in found if sites is None or name in sites]
