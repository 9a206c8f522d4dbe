"""Who answers for a site: given values, coordinates of a flat vector, noise, or a draw.

A run of a program asks one question per site: *what is your value, and which term does it add?* The
answer is what distinguishes sampling, scoring, MCMC and variational fits; the run itself is one.
Answerers are asked in order; the first that knows the site wins.

    Given        the value from observations or a posterior draw; its density counts
    Coordinates  the value from a slice of ``q``; density and log-Jacobian, or N(0, 1) of the noise
    FixedNoise   a middle from noise that is a function of its place (R6); no term of its own
    FreshNoise   a middle from a generator, reparameterized (variational fits); no term of its own
    Prior        a draw from the distribution itself; its density counts (traces, prediction)
    Discover     a draw, and a note of what coordinates the site would need (opening a target)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import log, pi
from typing import Protocol

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import InternalError, UserError
from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.lower.dists import Branched, Dist
from quivers_nb.lower.noise import fixed_noise, path_seed
from quivers_nb.lower.parts import Parts
from quivers_nb.spaces.support import Counts

HALF_LOG_TWO_PI = 0.5 * log(2.0 * pi)


class Kind(Enum):
    """What a site is to its program."""

    DECLARED = "declared"  # a sample or observe step of the program itself
    SUB = "sub"  # a site of a program that is a step's whole morphism
    MIDDLE = "middle"  # a kernel inside a composite


@dataclass(frozen=True, slots=True)
class SiteKey:
    """A site as it is asked for. ``parts`` are the sites that a joint value stands for."""

    path: str
    kind: Kind
    observe: bool = False
    kernel: bool = False  # bound to a declared morphism rather than an inline family
    batch_rank: int = 0  # how many leading axes of the value are rows
    parts: Parts | None = None

    @property
    def internal(self) -> bool:
        return self.kind is not Kind.DECLARED


@dataclass(frozen=True, slots=True)
class Answer:
    """A value ``(*s, *lead, *event)`` and its term ``(*s, *lead)``; None adds nothing."""

    value: Tensor
    term: Tensor | None
    given: bool = False


class Answerer(Protocol):
    """One source of answers. ``stack`` is the shape of the runtime stack for fresh draws."""

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...], /) -> Answer | None: ...


@dataclass(frozen=True)
class Given:
    """Values by path. Shapes are fitted by R2: a trailing unit axis of a scalar is squeezed."""

    values: Mapping[str, Tensor]
    stack_rank: int = 0
    rows_reported: bool = False  # one row reported with a leading 1 (R1): accept and drop it
    advice: str = ""  # what else may be wrong where a shape is

    def answer(self, site: SiteKey, dist: Dist, _stack: tuple[int, ...]) -> Answer | None:
        value = self._find(site, dist)
        if value is None:
            return None
        return Answer(value, dist.log_prob(value), given=True)

    def _find(self, site: SiteKey, dist: Dist) -> Tensor | None:
        if site.path in self.values:
            return self.fit(site, dist, self.values[site.path])
        if site.parts is None:
            return None
        return site.parts.find(self.values, self.stack_rank + len(dist.lead))

    def fit(self, site: SiteKey, dist: Dist, value: Tensor) -> Tensor:
        """Bring ``value`` to ``(*s, *lead, *event)`` or say what was wanted."""
        want = dist.lead + dist.event
        have = tuple(value.shape[self.stack_rank :])
        front = value.shape[: self.stack_rank]
        if _fits(have, want):
            return value
        if have[-1:] == (1,) and _fits(have[:-1], want):
            return value.squeeze(-1)
        if want[-1:] == (1,) and _fits(have, want[:-1]):
            return value.unsqueeze(-1)
        if have[:1] == (1,) and self.rows_reported and _fits(have[1:], want):
            return value.reshape((*front, *have[1:]))
        raise UserError(
            f"the value of `{site.path}` has shape {have}, but {_shape_text(want, site)} is wanted"
            f"{self.advice}"
        )


def _fits(have: tuple[int, ...], want: tuple[int, ...]) -> bool:
    return have == want


def _shape_text(want: tuple[int, ...], site: SiteKey) -> str:
    rows = f" (rows first: {want[: site.batch_rank]})" if site.batch_rank else ""
    return f"shape {want}{rows}"


@dataclass(frozen=True)
class Coordinates:
    """Values from the pieces of a flat unconstrained vector, by site.

    ``noise`` names the sites whose coordinates are standard normal; their N(0, 1) terms are counted
    by `noise_density`, all at once.
    """

    pieces: Mapping[str, Tensor]  # (*s, *shape)
    noise: frozenset[str]

    def answer(self, site: SiteKey, dist: Dist, _stack: tuple[int, ...]) -> Answer | None:
        u = self.pieces.get(site.path)
        if u is None:
            return None
        if site.path in self.noise:
            return Answer(dist.from_noise(u), None)
        value, log_det = dist.constrain(u)
        return Answer(value, dist.log_prob(value) + log_det)


def noise_density(q: Tensor, layout: Layout) -> Tensor | None:  # (*s, dim) -> (*s,)
    """log N(0, 1) of all noise coordinates of ``q``; None if there are none."""
    noise = [c for c in layout if c.standard_normal]
    count = sum(c.size for c in noise)
    if not count:
        return None
    start, stop = noise[0].start, noise[-1].stop
    part = q[..., start:stop]
    squares = part * part
    if stop - start > count:  # other sites stand in between
        mask = q.new_zeros(stop - start)
        for c in noise:
            mask[c.start - start : c.stop - start] = 1.0
        squares = squares * mask
    return -0.5 * squares.sum(-1) - count * HALF_LOG_TWO_PI


@dataclass(frozen=True)
class FixedNoise:
    """Middles from noise that is a function of their place; several ``draws`` are stacked."""

    dtype: torch.dtype
    device: torch.device
    draws: int = 1

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        if site.kind is not Kind.MIDDLE or dist.discrete or isinstance(dist, Branched):
            return None
        if dist.noise_event is None:
            generator = Generator(device=self.device).manual_seed(path_seed(site.path) % 2**63)
            return Answer(dist.sample(stack, generator), None)
        return Answer(dist.from_noise(self._noise(site, dist, dist.noise_event)), None)

    def _noise(self, site: SiteKey, dist: Dist, event: tuple[int, ...]) -> Tensor:
        """``([draws,] *lead, *event)``; a joint middle takes each part's own stream."""
        if self.draws == 1:
            return self._one(site, dist, event, 0)
        return torch.stack([self._one(site, dist, event, k) for k in range(self.draws)])

    def _one(self, site: SiteKey, dist: Dist, event: tuple[int, ...], draw: int) -> Tensor:
        place = {"dtype": self.dtype, "device": self.device, "draw": draw}
        if site.parts is None:
            return fixed_noise(site.path, dist.lead + event, **place)  # type: ignore[arg-type]
        pieces = [
            fixed_noise(path, (*dist.lead, width), **place)  # type: ignore[arg-type]
            for path, width in zip(site.parts.paths, site.parts.widths, strict=True)
        ]
        return site.parts.join(pieces)


@dataclass(frozen=True)
class NoiseTable:
    """Middles from noise the caller gives by path (``noise=``)."""

    noise: Mapping[str, Tensor]

    def answer(self, site: SiteKey, dist: Dist, _stack: tuple[int, ...]) -> Answer | None:
        if site.kind is not Kind.MIDDLE or dist.noise_event is None:
            return None
        if site.path in self.noise:
            return Answer(dist.from_noise(self.noise[site.path]), None)
        noise = None if site.parts is None else site.parts.find(self.noise, len(dist.lead))
        return None if noise is None else Answer(dist.from_noise(noise), None)


@dataclass(frozen=True)
class FreshNoise:
    """Middles drawn from the model, reparameterized, by a generator (None: the global one)."""

    generator: Generator | None = None
    require_gradient: bool = False

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        if site.kind is not Kind.MIDDLE or dist.discrete or isinstance(dist, Branched):
            return None
        if dist.noise_event is None:
            if self.require_gradient and "VonMises" in dist.label:
                raise UserError(
                    f"the middle `{site.path}` is {dist.label}, which has no gradient through its "
                    "draws: give its values, or use MCMC"
                )
            return Answer(dist.sample(stack, self.generator), None)
        like = _reference(dist)
        shape = (*stack, *dist.lead, *dist.noise_event)
        noise = torch.randn(shape, generator=self.generator, dtype=like.dtype, device=like.device)
        return Answer(dist.from_noise(noise), None)


def _reference(dist: Dist) -> Tensor:
    inner = dist.inner if isinstance(dist, Branched) else dist
    parts = getattr(inner, "parts", None)
    if parts:
        return _reference(parts[0])
    params: tuple[Tensor, ...] = getattr(inner, "params", ())
    return params[0]


@dataclass(frozen=True)
class Prior:
    """Draws from the distribution itself; the density of the draw counts."""

    generator: Generator | None = None

    def answer(self, _site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        value = dist.sample(stack, self.generator)
        return Answer(value, dist.log_prob(value))


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
        if site.kind is Kind.MIDDLE and self.latents != "all":
            return None
        if dist.discrete:
            if site.kind is Kind.MIDDLE:
                return None  # summed, if it is finite
            raise UserError(_finite_message(site, dist, self.proposals.get(site.path)))
        noise = self._noise_event(site, dist)
        event = dist.unconstrained_event() if noise is None else noise
        if site.path in self.values:
            raise InternalError(f"two sites have the path {site.path}")
        start = self.found[-1].stop if self.found else 0
        self.found.append(
            Coordinate(
                site.path,
                start,
                dist.lead + event,
                dist.lead + dist.event,
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
        return None if centered else dist.noise_event

    def _draw(self, dist: Dist, stack: tuple[int, ...]) -> Tensor:
        """Any point of the support: values only carry shapes here, so unconstrained zeros do."""
        shape = (*stack, *dist.lead, *dist.unconstrained_event())
        zeros = torch.zeros(shape, dtype=self.dtype, device=self.device)
        return dist.constrain(zeros)[0]


def _finite_message(site: SiteKey, dist: Dist, proposal: str | None) -> str:
    if dist.label == "PointMass":
        return (
            f"`{site.path}` is a latent that is always one point, so there is nothing to infer: "
            f"bind it with `let {site.path} = …`, or observe it"
        )
    counts = dist.support
    if isinstance(counts, Counts) and counts.high is None and not counts.labels:
        return (
            f"`{site.path}` is a discrete latent ({dist.label}), which has no gradient and no end "
            "to be summed to: give its value, or observe with a family that has it summed out"
        )
    step = proposal or f"marginalize {site.path} <- …"
    return (
        f"`{site.path}` is a discrete latent ({dist.label}), which has no gradient: sum it out "
        f"with `{step}` and the steps that use `{site.path}` indented below it, or observe it"
    )
