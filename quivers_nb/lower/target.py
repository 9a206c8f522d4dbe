"""A model opened up: its density over a flat unconstrained vector (R3, R14).

Opening runs the program once with zeros to learn which sites need coordinates, of which shape and
in which order; checks of data and index ranges happen there and are not repeated in the hot path.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Generator, Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.centering import Centerings, Located
from quivers_nb.inference.labels import Labels
from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.inference.model import Terms
from quivers_nb.inference.origin import Origin
from quivers_nb.lower.activation import Activation, terms_of
from quivers_nb.lower.answers import (
    Answer,
    Answerer,
    Coordinates,
    FixedNoise,
    FreshNoise,
    Given,
    SiteKey,
    noise_density,
)
from quivers_nb.lower.centering import Locating, Recentred
from quivers_nb.lower.classes import classes
from quivers_nb.lower.discover import Discover
from quivers_nb.lower.dists import Dist
from quivers_nb.lower.labels import labels
from quivers_nb.lower.parts import Parts
from quivers_nb.lower.pointwise import pointwise
from quivers_nb.lower.prior import drawn_positions
from quivers_nb.lower.run import Run
from quivers_nb.lower.steps import execute
from quivers_nb.lower.watching import Pinned, Watch

if TYPE_CHECKING:
    from quivers_nb.lower.model import Model


@dataclass(frozen=True)
class Opened:
    """The target of a model at a fixed input and observations.

    ``parts`` says which coordinates hold several sites at once, ``centerings`` which are not those
    of R3 but lie between centred and non-centred.
    """

    model: "Model"
    act: Activation
    latents: Literal["all", "declared"]
    layout: Layout
    parts: Mapping[str, Parts]
    centerings: Centerings = field(default_factory=dict)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.act.entry.batch_shape

    @property
    def dtype(self) -> torch.dtype:
        return self.act.dtype

    def identity(self) -> tuple[object, object]:
        """What the density is a function of: the compiled program, which says what data mean, and
        its input, data, sizes and weights (see `inference.identity`).
        """
        act = self.act
        facts = (act.entry, act.prepared, act.dtype, act.device, self._weights())
        return act.compiled, (self.latents, facts, self.centerings)

    @property
    def origin(self) -> Origin:
        return self.model.origin

    def terms(
        self,
        q: Tensor,  # (*s, dim)
        *,
        parameters: Mapping[str, Tensor] | None = None,
        generator: Generator | None = None,
    ) -> Terms:
        """Log density at ``q`` with log-Jacobians; ``parameters`` replace weights by key."""
        return self._summed(q, self._run(q, [], parameters, generator))

    def prior_terms(
        self,
        q: Tensor,  # (*s, dim)
        *,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> Terms:
        """`terms` without those of given values and of scores: the density of `draw_prior`."""
        return self._summed(q, replace(self._run(q, [], parameters, None), prior=True))

    def draw_prior(
        self,
        count: int,
        generator: Generator,
        *,
        parameters: Mapping[str, Tensor] | None = None,  # storage key -> (count, *storage shape)
    ) -> Tensor:  # -> (count, dim)
        """Positions of what the program draws around the given values, all at once.

        Raises `UserError` (Q0803) naming the site where nothing can be drawn.
        """
        return drawn_positions(
            self.act, self.layout, self._weights_or(parameters), count, generator
        )

    def _summed(self, q: Tensor, run: Run) -> Terms:
        execute(self.act.frame(run), self.act.inputs)
        row, shared = terms_of(run)
        noise = noise_density(q, self.layout)
        if noise is not None:
            shared = shared + noise
        stack = run.stack[run.summed :]
        if tuple(shared.shape) != stack:
            shared = shared.expand(stack)
        return Terms(row, shared, run.batch_rank)

    def constrain(
        self,
        q: Tensor,  # (*s, dim)
        *,
        internal: bool = False,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Site values, each ``(*s, *value_shape)``; ``parameters`` as in `terms`.

        What comes after the last draw of a program, as its likelihood may, is not evaluated.
        """
        wanted = [c for c in self.layout if internal or not c.internal]
        values = self._values(q, parameters, self._drawing)
        if any(coordinate.name not in values for coordinate in wanted):
            values = self._values(q, parameters, self.act.compiled.steps)
        out: dict[str, Tensor] = {}
        stack = tuple(q.shape[:-1])
        for coordinate in wanted:
            value = values[coordinate.name]
            full = value.expand((*stack, *value.shape[len(stack) :])) if stack else value
            shaped = full.reshape((*stack, *coordinate.value_shape))
            out.update(self._split(coordinate, shaped))
        return out

    @cached_property
    def _drawing(self) -> tuple[ir.Step, ...]:
        """The steps up to the last one that draws."""
        steps = self.act.compiled.steps
        draws = [k for k, step in enumerate(steps) if isinstance(step, ir.SampleStep)]
        return steps[: draws[-1] + 1] if draws else steps

    def _values(
        self, q: Tensor, parameters: Mapping[str, Tensor] | None, steps: tuple[ir.Step, ...]
    ) -> Mapping[str, Tensor]:
        """Every site that ``steps`` come to, by path."""
        seen = Watch()
        self._draw(q, seen, parameters, steps)
        return seen.values.whole()

    def _draw(
        self,
        q: Tensor,
        first: Watch | Locating,
        parameters: Mapping[str, Tensor] | None,
        steps: tuple[ir.Step, ...],
    ) -> None:
        with torch.no_grad():
            run = self._run(q, [first], parameters, None, fixed=True, terms=False)
            frame = self.act.frame(run)
            execute(replace(frame, compiled=replace(frame.compiled, steps=steps)), self.act.inputs)

    def located(
        self,
        q: Tensor,  # (*s, dim)
        *,
        parameters: Mapping[str, Tensor] | None = None,  # as in `terms`
    ) -> dict[str, Located]:
        """Where the sites that `recentred` takes are, and their locations and scales there."""
        seen = Locating(self.layout)
        self._draw(q, seen, parameters, self._drawing)
        return seen.found

    def recentred(self, centerings: Centerings) -> "Opened":
        """The same density over other coordinates of these sites; all others are as in R3."""
        return replace(self, centerings=dict(centerings))

    def _split(self, coordinate: Coordinate, value: Tensor) -> list[tuple[str, Tensor]]:
        parts = self.parts.get(coordinate.name)
        return [(coordinate.name, value)] if parts is None else parts.split(value)

    def unconstrain(self, values: Mapping[str, Tensor]) -> Tensor:
        """The ``q`` of given values; coordinates of noise and of sites not given are 0."""
        stack = _stack_of(values, self.layout)
        given = Given(values, len(stack), self.act.entry.one_row)
        pinned = Pinned(given, self.layout, self.centerings)
        q = torch.zeros(*stack, self.layout.dim, dtype=self.dtype, device=self.act.device)
        with torch.no_grad():
            run = self._run(q.clone(), [pinned], None, None, fixed=True)
            execute(self.act.frame(run), self.act.inputs)
        self.layout.write(q, pinned.found.whole())
        return q

    def names_of(self, q: Tensor) -> str:
        """For messages: sites whose terms are not finite at ``q`` ``(dim,)``, with their values."""
        watch = Watch()
        with torch.no_grad():
            run = self._run(q, [watch], None, None, fixed=True)
            execute(self.act.frame(run), self.act.inputs)
        values = watch.values.whole()
        bad = [
            f"`{name}` = {_shown(values[name])} (log density {_shown(term)})"
            for name, term in watch.terms.items()
            if not bool(torch.isfinite(term).all())
        ]
        return ", ".join(bad) or "no single site: a score or the sum of terms is not finite"

    def pointwise(
        self,
        values: Mapping[str, Tensor],  # latent site -> (*s, *value_shape)
        stack: tuple[int, ...],
        *,
        parameters: Mapping[str, Tensor] | None = None,
        fresh: bool = False,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:  # observe site -> (*s, *b, *own)
        """Log densities of the observations one by one, at draws of the latents.

        Observations that are summed in one marginalize block have one term for each row, element
        or group of it. ``fresh`` draws internal sites that have no value from the model.
        """
        noise = FreshNoise(generator) if fresh else None
        weights = self._weights_or(parameters)
        return pointwise(self.act, weights, values, stack, noise)

    def classes(
        self,
        values: Mapping[str, Tensor],  # latent site -> (*s, *value_shape)
        stack: tuple[int, ...],
        *,
        parameters: Mapping[str, Tensor] | None = None,
        fresh: bool = False,
        generator: Generator | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, str]]:  # summed site -> (*s, *places, K)
        """Probabilities of summed sites at draws of the others, and why some have none.

        ``fresh`` draws internal sites that have no value from the model.
        """
        noise = FreshNoise(generator) if fresh else None
        weights = self._weights_or(parameters)
        return classes(self.act, weights, values, stack, noise)

    def labels(self, given: Mapping[str, Any]) -> Labels:
        """What the axes of sites are called, and the elements of plates; ``given`` as it came."""
        entry, late = self.act.entry, self.act.prepared.sizes
        rank = len(entry.batch_shape) + entry.one_row
        return labels(self.model.program, self.act.declared, given, late, rank)

    def _weights(self) -> Mapping[str, Tensor]:
        """The model's weights in the target's dtype; the same objects as long as they stay so."""
        same, weights = self._own_weights
        return weights if same else self.model.weights(self.act.dtype)

    def _weights_or(self, parameters: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        return self._weights() if parameters is None else parameters

    @cached_property
    def _noise(self) -> frozenset[str]:
        return frozenset(c.name for c in self.layout if c.standard_normal)

    @cached_property
    def _own_weights(self) -> tuple[bool, Mapping[str, Tensor]]:
        weights = self.model.weights(self.act.dtype)
        own = self.model.storage()
        return all(weights[key] is own[key] for key in own), weights

    def _run(
        self,
        q: Tensor,
        first: list[Watch | Pinned | Locating],
        parameters: Mapping[str, Tensor] | None,
        generator: Generator | None,
        *,
        fixed: bool = False,
        terms: bool = True,
    ) -> Run:
        stack = tuple(q.shape[:-1])
        pieces = self.layout.split(q) if self.layout.dim else {}
        sources: list[Answerer] = [
            Given(self.act.prepared.sites, 0, self.act.entry.one_row, self.act.entry.advice),
            Coordinates(pieces, self._noise, terms),
        ]
        if self.centerings:
            sources.insert(1, Recentred(pieces, self.centerings))
        if fixed:
            sources.append(FixedNoise(self.act.dtype, self.act.device))
        else:
            sources.append(FreshNoise(generator, require_gradient=self.latents == "declared"))
        if first:
            watcher = first[0]
            watcher.sources = tuple(sources)
            sources = [watcher]
        weights = self._weights_or(parameters)
        return Run(
            tuple(sources),
            weights,
            self.act.entry.batch_shape,
            self.act.dtype,
            self.act.device,
            stack,
            checked=False,
            generator=generator,
            summing=True,
        )


def _stack_of(values: Mapping[str, Tensor], layout: Layout) -> tuple[int, ...]:
    for coordinate in layout:
        value = values.get(coordinate.name)
        if value is not None:
            return tuple(value.shape[: value.ndim - len(coordinate.value_shape)])
    return ()


def _shown(tensor: Tensor) -> str:
    flat = tensor.reshape(-1)
    if flat.numel() == 1:
        return f"{float(flat[0]):.6g}"
    head = ", ".join(f"{float(v):.4g}" for v in flat[:4])
    return f"[{head}{', …' if flat.numel() > 4 else ''}]"


def proposals(model: "Model") -> dict[str, str]:
    """Every `sample` step of one name as the `marginalize` step it could be, by site."""
    text = model.checked.source.text
    found: dict[str, str] = {}
    for step in model.program.steps:
        if isinstance(step, ir.SampleStep):
            written = " ".join(text[step.span.start : step.span.stop].split())
            if written.startswith(f"sample {step.names[0]} "):
                found[step.names[0]] = written.replace("sample", "marginalize", 1)
    return found


def open_target(model: "Model", act: Activation, latents: Literal["all", "declared"]) -> Opened:
    """Learn the layout by one run, checking data on the way."""
    found = _Discovery(latents, act.dtype, act.device, proposals(model))
    sources: tuple[Answerer, ...] = (
        Given(act.prepared.sites, 0, act.entry.one_row, act.entry.advice),
        found,
        FixedNoise(act.dtype, act.device),
    )
    weights = model.weights(act.dtype)
    run = Run(sources, weights, act.entry.batch_shape, act.dtype, act.device, summing=True)
    with torch.no_grad():
        execute(act.frame(run), act.inputs)
    row, shared = terms_of(run)
    layout = Layout(tuple(_reported(coordinate, act) for coordinate in found.layout))
    opened = Opened(model, act, latents, layout, found.parts)
    if any(bool(torch.isnan(term).any()) for term in (row, shared) if term is not None):
        origin = torch.zeros(layout.dim, dtype=act.dtype, device=act.device)
        raise UserError(
            "the log density is NaN where all latents are at the origin of unconstrained space: "
            f"{opened.names_of(origin)}. Check the data for values outside their range, and what "
            "is computed from latents for logarithms and roots of negative numbers"
        )
    return opened


def _reported(coordinate: Coordinate, act: Activation) -> Coordinate:
    """One dummy row given to a program that never reads it: values have a leading 1 (R1)."""
    if not act.entry.one_row or coordinate.name in act.plates:
        return coordinate
    return replace(coordinate, value_shape=(1, *coordinate.value_shape))


@dataclass
class _Discovery(Discover):
    """`Discover` that also remembers parts."""

    parts: dict[str, Parts] = field(default_factory=dict)

    def answer(self, site: SiteKey, dist: Dist, stack: tuple[int, ...]) -> Answer | None:
        answer = super().answer(site, dist, stack)
        if answer is not None and site.parts is not None:
            self.parts[site.path] = site.parts
        return answer
