"""Where values of sites lie if that is made of other values, for guides (R12).

A guide works in unconstrained space. The bounds of a site may be other sites, computed of them by a
`let`, or made of its input by a kernel: only a run of the model can say them. It goes through the
steps that the bounds are made of, and through no others.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from torch import Generator, Tensor

from quivers_nb.check import term as ir
from quivers_nb.check.variables import names_read
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import Placed
from quivers_nb.lower.activation import Activation
from quivers_nb.lower.answers import Answer, Answerer, FreshNoise, Given, Kind, SiteKey
from quivers_nb.lower.dists import Dist
from quivers_nb.lower.frame import CompiledProgram
from quivers_nb.lower.run import Run
from quivers_nb.lower.steps import execute


@dataclass(frozen=True)
class Supports:
    """A model at one input and its data, see `quivers_nb.inference.model.Supports`."""

    act: Activation
    storage: Mapping[str, Tensor]

    def constrain(
        self,
        free: Mapping[str, Tensor],
        names: Collection[str],
        *,
        stack: tuple[int, ...] = (),
        parameters: Mapping[str, Tensor] | None = None,
        generator: Generator | None = None,
        fresh: bool = False,
    ) -> dict[str, Placed]:
        """Values of the sites in ``names``, from the unconstrained ones of all sites."""
        placing = _Placing(free, frozenset(names), None)
        middles = [FreshNoise(generator)] if fresh else []
        return self._run(placing, middles, stack, parameters, generator)

    def unconstrain(
        self,
        values: Mapping[str, Tensor],
        names: Collection[str],
        *,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Placed]:
        """Unconstrained values of the sites in ``names``, from the values of all sites."""
        given = Given(values, 0, self.act.entry.one_row)
        return self._run(_Placing(values, frozenset(names), given), [], (), parameters, None)

    def _run(
        self,
        placing: "_Placing",
        middles: list[FreshNoise],
        stack: tuple[int, ...],
        parameters: Mapping[str, Tensor] | None,
        generator: Generator | None,
    ) -> dict[str, Placed]:
        act = self.act
        weights = self.storage if parameters is None else parameters
        given = Given(act.prepared.sites, 0, act.entry.one_row, act.entry.advice)
        sources: tuple[Answerer, ...] = (given, placing, *middles, _Unknown(placing.names))
        run = Run(
            sources,
            {key: weight.to(act.dtype) for key, weight in weights.items()},
            act.entry.batch_shape,
            act.dtype,
            act.device,
            stack,
            checked=False,
            generator=generator,
            summing=True,
        )
        needed = _needed(act.compiled, placing.names)
        execute(replace(act.frame(run), compiled=needed), act.inputs)
        missing = sorted(placing.names - set(placing.found))
        if missing:
            raise UserError(
                f"`{missing[0]}` stands in a marginalize block, where a guide alone cannot follow "
                "its bounds: fits work, but for values use MCMC"
            )
        return placing.found


@dataclass
class _Placing:
    """Answers the sites of a guide, noting those in ``names`` with their log-Jacobians."""

    known: Mapping[str, Tensor]  # unconstrained, or with ``given`` the values themselves
    names: frozenset[str]
    given: Given | None
    found: dict[str, Placed] = field(default_factory=dict)

    def answer(self, site: SiteKey, dist: Dist, _stack: tuple[int, ...]) -> Answer | None:
        if site.path not in self.known or dist.discrete:
            return None
        known = self.known[site.path]
        if self.given is None:
            value, log_det = dist.constrain(known)
            found = value
        else:
            value = self.given.fit(site, dist.lead, dist.event, known)
            found = dist.unconstrain(value)
            log_det = dist.constrain(found)[1]
        if site.path in self.names:
            self.found[site.path] = Placed(found, log_det)
        return Answer(value, None)


@dataclass(frozen=True)
class _Unknown:
    """Refuses what the bounds are made of and nobody knows."""

    names: frozenset[str]

    def answer(self, site: SiteKey, dist: Dist, _stack: tuple[int, ...]) -> Answer | None:
        if dist.discrete and not site.observe:
            return None  # finite ones are summed: coordinates lie between the widest bounds
        bounded = ", ".join(f"`{name}`" for name in sorted(self.names))
        fact = f"the bounds of {bounded} depend on `{site.path}`"
        if site.observe:
            raise UserError(
                f"{fact}, which is observed: bind the guide to the data first, guide.at(x, obs)"
            )
        if site.kind is Kind.MIDDLE:
            raise UserError(
                f"{fact}, a middle that is drawn anew each time, so that given values have no "
                "density of their own: draw the middle in a step of its own"
            )
        raise UserError(f"{fact}, which has no value here: guide both by one guide, or observe it")


def _needed(compiled: CompiledProgram, names: frozenset[str]) -> CompiledProgram:
    """The steps that the sites in ``names`` are made of, themselves included."""
    kept: list[int] = []
    read: set[str] = set()
    calls = False  # a kernel may read a table, which the step that draws it binds by owner
    for index in reversed(range(len(compiled.steps))):
        step = compiled.steps[index]
        table = isinstance(step, ir.SampleStep) and step.table is not None
        if read.isdisjoint(_bound(step)) and not _draws(step, names) and not (calls and table):
            continue
        kept.insert(0, index)
        read.update(variable.name for variable in names_read(step))
        source = step.source if isinstance(step, ir.SampleStep | ir.ObserveStep) else None
        calls = calls or isinstance(source, ir.MorphismCall)
    renumbered = {old: new for new, old in enumerate(kept)}
    return CompiledProgram(
        compiled.program,
        tuple(compiled.steps[index] for index in kept),
        {renumbered[k]: node for k, node in compiled.nodes.items() if k in renumbered},
        {renumbered[k]: sub for k, sub in compiled.subs.items() if k in renumbered},
        {renumbered[k]: block for k, block in compiled.blocks.items() if k in renumbered},
    )


def _bound(step: ir.Step) -> tuple[str, ...]:
    """The names that a step binds for later ones."""
    if isinstance(step, ir.SampleStep):
        return step.names
    return () if isinstance(step, ir.MarginalizeStep) else (step.name,)


def _draws(step: ir.Step, names: frozenset[str]) -> bool:
    """Whether a step draws one of these sites, or a program in it does."""
    if not isinstance(step, ir.SampleStep):
        return False
    inside = f"{step.names[0]}/"
    return "_".join(step.names) in names or any(name.startswith(inside) for name in names)
