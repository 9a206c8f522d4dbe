"""Opening a target: which coordinates the sites of a run need, in program order."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import InternalError, UserError
from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.lower.answers import Answer, Kind, SiteKey
from quivers_nb.lower.dists import Dist
from quivers_nb.lower.latents import endless_message
from quivers_nb.lower.ranges import finite_size
from quivers_nb.lower.run import MAX_BRANCHES
from quivers_nb.spaces.support import Counts


@dataclass
class Discover:
    """Draws every latent and notes the coordinates it needs, in program order.

    ``latents``: ``"all"`` also opens middles (MCMC, R3), ``"declared"`` leaves them to fresh noise.
    """

    latents: str
    dtype: torch.dtype
    device: torch.device
    proposals: Mapping[str, str] = field(default_factory=dict)  # site -> its `marginalize` step
    found: list[Coordinate] = field(default_factory=list)
    values: dict[str, Tensor] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return Layout(tuple(self.found))

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        if site.kind is Kind.MIDDLE and site.observe:
            raise UserError(
                f"the observe site `{site.path}` has no value: a fit needs one under this key"
            )
        if site.kind is Kind.MIDDLE and self.latents != "all":
            return None
        if dist.discrete:
            if site.kind is Kind.MIDDLE or _is_summed(site, dist):
                return None  # a middle is summed if it is finite, else refused there
            raise UserError(_finite_message(site, dist, self.proposals.get(site.path)))
        noise = self._noise_event(site, dist)
        event = dist.unconstrained_event() if noise is None else noise
        known = site.path in self.values
        if known and not site.steps:
            raise InternalError(f"two sites have the path {site.path}")
        start, lead = self.found[-1].stop if self.found else 0, site.whole(dist.lead)
        if not known:
            self.found.append(
                Coordinate(
                    site.path,
                    start,
                    lead + event,
                    lead + dist.event,
                    site.batch_rank,
                    internal=site.internal,
                    standard_normal=noise is not None,
                    support=dist.support,
                )
            )
        value = self._draw(dist, stack)
        self.values[site.path] = value
        return Answer(value, dist.log_prob(value))

    def _noise_event(self, site: SiteKey, dist: Dist) -> tuple[int, ...] | None:
        centered = self.latents != "all" or not (site.kernel or site.kind is Kind.MIDDLE)
        return None if centered or site.summed else dist.noise_event

    def _draw(self, dist: Dist, stack: tuple[int, ...]) -> Tensor:
        """Any point of the support: values only carry shapes here, so unconstrained zeros do."""
        shape = (*stack, *dist.lead, *dist.unconstrained_event())
        zeros = torch.zeros(shape, dtype=self.dtype, device=self.device)
        return dist.constrain(zeros)[0]


def _is_summed(site: SiteKey, dist: Dist) -> bool:
    """Whether a site that nobody gives is summed over its values: one per row, and few (R3)."""
    size = finite_size(dist)
    return size is not None and size <= MAX_BRANCHES and len(dist.lead) == site.batch_rank


def _finite_message(site: SiteKey, dist: Dist, proposal: str | None) -> str:
    if dist.label == "PointMass":
        return (
            f"`{site.path}` is a latent that is always one point, so there is nothing to infer: "
            f"bind it with `let {site.path} = …`, or observe it"
        )
    counts = dist.support
    if isinstance(counts, Counts) and counts.high is None and not counts.labels:
        return endless_message(site.path, dist.label)
    if site.kernel:
        return (
            f"`{site.path}` is a discrete latent drawn by a kernel, which has no gradient: compose "
            "the kernel with what reads it, `f >> g`, and it is summed as a middle; or observe it"
        )
    step = proposal or f"marginalize {site.path} <- …"
    return (
        f"`{site.path}` is a discrete latent ({dist.label}), which has no gradient: sum it out "
        f"with `{step}` and the steps that use `{site.path}` indented below it, or observe it"
    )
