"""Who answers for a site: given values, coordinates of a flat vector, noise, or a draw.

A run of a program asks one question per site: *what is your value, and which term does it add?* The
answer is what distinguishes sampling, scoring, MCMC and variational fits; the run itself is one.
Answerers are asked in order; the first that knows the site wins.

    Given        the value from observations or a posterior draw; its density counts
    Coordinates  the value from a slice of ``q``; density and log-Jacobian, or N(0, 1) of the noise
    FixedNoise   a middle from noise that is a function of its place (R6); no term of its own
    FreshNoise   a middle from a generator, reparameterized (variational fits); no term of its own
    Prior        a draw from the distribution itself; its density counts (traces, prediction)

`quivers_nb.lower.discover` has the one that finds out which coordinates the sites of a run need.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import log, pi, prod
from typing import Protocol

import torch
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Layout
from quivers_nb.lower.dists import Branched, Dist
from quivers_nb.lower.noise import fixed_noise, path_seed
from quivers_nb.lower.parts import Parts
from quivers_nb.lower.timeline import Steps, numbered, piece, whole_lead

HALF_LOG_TWO_PI = 0.5 * log(2.0 * pi)


class Kind(Enum):
    """What a site is to its program."""

    DECLARED = "declared"  # a sample or observe step of the program itself
    SUB = "sub"  # a site of a program that is a step's whole morphism
    MIDDLE = "middle"  # a kernel inside a composite


@dataclass(frozen=True, slots=True)
class SiteKey:
    """A site as it is asked for. ``parts`` are the sites that a joint value stands for.

    ``steps``: inside scans, which piece of the whole sequence is asked for.
    """

    path: str
    kind: Kind
    observe: bool = False
    kernel: bool = False  # bound to a declared morphism rather than an inline family
    batch_rank: int = 0  # how many leading axes of the value are rows
    parts: Parts | None = None
    steps: Steps = ()
    summed: bool = False  # its distribution has an axis of a finite site that is being summed

    @property
    def place(self) -> str:
        """The path at this step, for messages and values given step by step."""
        return numbered(self.steps, self.path)

    def whole(self, lead: tuple[int, ...]) -> tuple[int, ...]:
        """The lead axes of the whole sequence."""
        return whole_lead(self.steps, self.path, lead)

    @property
    def internal(self) -> bool:
        return self.kind is not Kind.DECLARED


@dataclass(frozen=True, slots=True)
class Answer:
    """A value ``(*s, *lead, *event)`` and its term ``(*s, *lead)``; None adds nothing.

    ``free``: the value is a coordinate, which its term keeps proper even where it is padding.
    """

    value: Tensor
    term: Tensor | None
    given: bool = False
    free: bool = False


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
        if site.steps:
            return self._at_step(site, dist)
        if site.path in self.values:
            return self.fit(site, dist.lead, dist.event, self.values[site.path])
        if site.parts is None:
            return None
        return site.parts.find(self.values, self.stack_rank + len(dist.lead))

    def _at_step(self, site: SiteKey, dist: Dist) -> Tensor | None:
        """A piece of a whole sequence, or the value given for this one step."""
        if site.place != site.path and site.place in self.values:
            return self.fit(site, dist.lead, dist.event, self.values[site.place])
        if site.parts is not None:
            return self._parts_at_step(site, site.parts, dist)
        if site.path not in self.values:
            return None
        lead = site.whole(dist.lead)
        behind = len(dist.lead) + len(dist.event)
        return piece(
            site.steps,
            (id(self), site.path),
            lambda: self.fit(site, lead, dist.event, self.values[site.path]),
            behind,
            ordered=True,
        )

    def _parts_at_step(self, site: SiteKey, parts: Parts, dist: Dist) -> Tensor | None:
        """The joint value of members of a group, each with a path of its own."""
        places = [numbered(site.steps, path) for path in parts.paths]
        found = parts.at(tuple(places)).find(self.values, self.stack_rank + len(dist.lead))
        if found is not None and places != list(parts.paths):
            return found
        lead = self.stack_rank + len(site.whole(dist.lead))
        whole = parts.find(self.values, lead)
        if whole is None:
            return None
        behind = len(dist.lead) + len(dist.event)
        return piece(site.steps, (id(self), site.path), lambda: whole, behind, ordered=True)

    def fit(
        self, site: SiteKey, lead: tuple[int, ...], event: tuple[int, ...], value: Tensor
    ) -> Tensor:
        """Bring ``value`` to ``(*s, *lead, *event)`` or say what was wanted."""
        want = lead + event
        have = tuple(value.shape[self.stack_rank :])
        front = value.shape[: self.stack_rank]
        if _fits(have, want):
            return value
        if have[-1:] == (1,) and _fits(have[:-1], want):
            return value.squeeze(-1)
        if want[-1:] == (1,) and _fits(have, want[:-1]):
            return value.unsqueeze(-1)
        if len(event) == 2 and _fits(have, (*lead, prod(event))):
            return value.reshape((*value.shape[:-1], *event))  # a matrix given flat (3.2)
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


def first_answer(
    sources: Iterable[Answerer], site: SiteKey, dist: Dist, stack: tuple[int, ...]
) -> Answer | None:
    """That of the first of ``sources`` that knows the site."""
    answers = (source.answer(site, dist, stack) for source in sources)
    return next((answer for answer in answers if answer is not None), None)


@dataclass(frozen=True)
class Coordinates:
    """Values from the pieces of a flat unconstrained vector, by site.

    ``noise`` names the sites whose coordinates are standard normal; their N(0, 1) terms are counted
    by `noise_density`, all at once. ``terms`` False: only values are wanted (branches have weights,
    which terms are part of).
    """

    pieces: Mapping[str, Tensor]  # (*s, *shape)
    noise: frozenset[str]
    terms: bool = True

    def answer(self, site: SiteKey, dist: Dist, _stack: tuple[int, ...]) -> Answer | None:
        whole = self.pieces.get(site.path)
        if whole is None:
            return None
        noise = site.path in self.noise
        event = dist.noise_event if noise else dist.unconstrained_event()
        behind = len(dist.lead) + len(event or ())
        u = piece(site.steps, (id(self), site.path), lambda: whole, behind)
        if noise:
            return Answer(dist.from_noise(u), None)
        value, log_det = dist.constrain(u)
        wanted = self.terms or isinstance(dist, Branched)
        term = dist.log_prob(value) + log_det if wanted else None
        return Answer(value, term, free=True)


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
        if not _drawn_silently(site, dist):
            return None
        if dist.noise_event is None:
            generator = Generator(device=self.device).manual_seed(path_seed(site.place) % 2**63)
            return Answer(dist.sample(stack, generator), None)
        event, lead = dist.noise_event, site.whole(dist.lead)
        behind = len(dist.lead) + len(event)
        noise = piece(
            site.steps, (id(self), site.path), lambda: self._noise(site, lead, event), behind
        )
        return Answer(dist.from_noise(noise), None)

    def _noise(self, site: SiteKey, lead: tuple[int, ...], event: tuple[int, ...]) -> Tensor:
        """``([draws,] *lead, *event)``; a joint middle takes each part's own stream."""
        if self.draws == 1:
            return self._one(site, lead, event, 0)
        return torch.stack([self._one(site, lead, event, k) for k in range(self.draws)])

    def _one(
        self, site: SiteKey, lead: tuple[int, ...], event: tuple[int, ...], draw: int
    ) -> Tensor:
        place = {"dtype": self.dtype, "device": self.device, "draw": draw}
        if site.parts is None:
            return fixed_noise(site.path, lead + event, **place)  # type: ignore[arg-type]
        pieces = [
            fixed_noise(path, (*lead, width), **place)  # type: ignore[arg-type]
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
        if site.place in self.noise and site.place != site.path:
            return Answer(dist.from_noise(self.noise[site.place]), None)
        whole = self.noise.get(site.path)
        if whole is None and site.parts is not None:
            whole = site.parts.find(self.noise, len(site.whole(dist.lead)))
        if whole is None:
            return None
        behind, found = len(dist.lead) + len(dist.noise_event), whole
        return Answer(
            dist.from_noise(piece(site.steps, (id(self), site.path), lambda: found, behind)), None
        )


@dataclass(frozen=True)
class FreshNoise:
    """Middles drawn from the model, reparameterized, by a generator (None: the global one)."""

    generator: Generator | None = None
    require_gradient: bool = False

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        if not _drawn_silently(site, dist):
            return None
        if dist.noise_event is None:
            if self.require_gradient and "VonMises" in dist.label:
                raise UserError(
                    f"the middle `{site.path}` is {dist.label}, which has no gradient through its "
                    "draws: give its values, or use MCMC"
                )
            return Answer(dist.sample(stack, self.generator), None)
        shape = (*stack, *site.whole(dist.lead), *dist.noise_event)
        behind = len(dist.lead) + len(dist.noise_event)
        key = (id(self), site.path, len(stack))
        noise = piece(site.steps, key, lambda: self._normals(shape, dist), behind)
        return Answer(dist.from_noise(noise), None)

    def _normals(self, shape: tuple[int, ...], dist: Dist) -> Tensor:
        like = _reference(dist)
        return torch.randn(shape, generator=self.generator, dtype=like.dtype, device=like.device)


def _drawn_silently(site: SiteKey, dist: Dist) -> bool:
    """Whether a site is a continuous middle, whose draws have no term; observations are not."""
    middle = site.kind is Kind.MIDDLE and not site.observe
    return middle and not dist.discrete and not isinstance(dist, Branched)


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


def sources(answerers: Sequence[Answerer]) -> Iterator[Answerer]:
    """All who are asked, those behind a watcher included."""
    for answerer in answerers:
        yield answerer
        yield from sources(getattr(answerer, "sources", ()))


def draws_all(answerers: Sequence[Answerer]) -> bool:
    """Whether every site gets a value: nothing is summed then."""
    return any(isinstance(answerer, Prior) for answerer in sources(answerers))


def given_for(answerers: Sequence[Answerer], path: str) -> tuple[Given, Tensor] | None:
    """The value given under ``path``, and by whom; None if there is none."""
    for answerer in sources(answerers):
        if isinstance(answerer, Given) and path in answerer.values:
            return answerer, answerer.values[path]
    return None
