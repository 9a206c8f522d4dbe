"""The model: a program as a torch module that can be run, traced, scored and opened for inference.

Shapes. ``*b`` is the batch of rows that the input decides (R1), ``()`` for ``x=None``. Values given
for sites and host data may be tensors, numpy arrays, pandas columns, lists or numbers (R10).

    trace        one run, site by site; what is not given is drawn
    log_joint    per row: the row's own terms plus the shared ones (R4)
    log_density  one number: row terms summed over rows, shared terms once (R4)
    rsample      the output of runs
    target       the density over a flat unconstrained vector, for guides and MCMC
"""

from collections.abc import Collection, Iterable, Mapping
from copy import copy
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import Parameter

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.model import DeclaredLatent, ParameterSite, Terms
from quivers_nb.inference.origin import Origin
from quivers_nb.inference.trace import Trace
from quivers_nb.lower.activation import Activation, inner_mean, per_row, terms_of
from quivers_nb.lower.answers import Answerer, FixedNoise, FreshNoise, Given, NoiseTable, Prior
from quivers_nb.lower.compile import compile_program
from quivers_nb.lower.data import (
    prepare,
    refuse_unknown,
    require_responses,
    responses_fix_sizes,
    vocabulary,
    with_more_sizes,
)
from quivers_nb.lower.elsewhere import ELSEWHERE
from quivers_nb.lower.frame import every_step, is_anonymous
from quivers_nb.lower.inputs import fit_input
from quivers_nb.lower.latents import declared_latents
from quivers_nb.lower.lets import draws_masks
from quivers_nb.lower.numbers import float_bits
from quivers_nb.lower.run import Run
from quivers_nb.lower.steps import execute
from quivers_nb.lower.storage import Storage
from quivers_nb.lower.supports import Supports
from quivers_nb.lower.target import Opened, open_target
from quivers_nb.spaces.effect import Effect
from quivers_nb.spaces.space import Object

Values = Mapping[str, Any]


class Model(nn.Module):
    """A compiled program.

    Attributes: ``name``; ``program`` (its typed term); ``checked`` (the module it came from);
    ``domain``, ``codomain``; ``observed_names``; ``effect_set``.
    """

    def __init__(
        self,
        program: ir.Program,
        checked: ir.CheckedModule,
        storage: Storage,
        sizes: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.program = program
        self.checked = checked
        self.name = program.name
        self.sizes = dict(sizes)
        self._late: Mapping[str, int] = {}  # sizes that only data give
        self.compiled, work = compile_program(program, storage)
        self._keys, self._tables = tuple(work.keys), storage.digests
        self._owner_paths = dict(work.paths)
        self._slots = {owner: storage.slots[owner] for owner in work.paths}
        self._names: list[tuple[str, str]] = []
        for key, parameter in storage.items(work.keys):
            registered = key.replace(".", "/")
            self.register_parameter(registered, parameter)
            self._names.append((key, registered))
        # remembers `.double()` where there is no parameter to carry it
        self.register_buffer("_precision", torch.empty(0), persistent=False)
        self._precision: Tensor
        self.middles = frozenset(work.middle_paths)
        self.inner_observed = frozenset(work.observed_paths)
        self.vocabulary = vocabulary(self.compiled, self.middles, checked.data)

    # --- what it is

    @property
    def domain(self) -> Object:
        return self.program.dom

    @property
    def codomain(self) -> Object:
        return self.program.cod

    @property
    def origin(self) -> Origin:
        """Name, text, sizes and tables, by which saved files know it again."""
        sizes = tuple(sorted(self.sizes.items()))
        return Origin(self.name, self.checked.source.text, sizes, self._tables)

    @property
    def observed_names(self) -> frozenset[str]:
        """The names of its observe steps."""
        steps = (s for s in every_step(self.program.steps) if isinstance(s, ir.ObserveStep))
        return frozenset(step.name for step in steps if not is_anonymous(step.name))

    @cached_property
    def random_lets(self) -> tuple[str, ...]:
        """The lets that draw random masks (dropout)."""
        steps = every_step(self.program.steps)
        lets = (s for s in steps if isinstance(s, ir.LetStep | ir.ScoreStep))
        return tuple(s.name for s in lets if draws_masks(s.value))

    @property
    def effect_set(self) -> frozenset[Effect]:
        """The effects of running it (7.10)."""
        return self.program.effects

    def __getattr__(self, name: str) -> Any:
        if name in ELSEWHERE:
            raise AttributeError(f"a model has no `{name}`: {ELSEWHERE[name]}")
        return super().__getattr__(name)

    def __repr__(self) -> str:
        return f"<program {self.name} : {self.program.dom_text} -> {self.program.cod_text}>"

    # --- weights by path

    def storage(self) -> dict[str, Parameter]:
        """Weight tensors by storage key; members of a group may share a stacked one."""
        return {key: self._parameters[name] for key, name in self._names}  # type: ignore[misc]

    def weights(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """`storage` in another dtype; the parameters themselves where it is their own."""
        return {k: p if p.dtype is dtype else p.to(dtype) for k, p in self.storage().items()}

    def parameter_sites(self) -> tuple[ParameterSite, ...]:
        """Every weight tensor by its own path (R13), ordered by storage key, then by index."""
        sites = []
        for key, registered in self._names:
            block, tensor = key.rsplit(".", 1)
            parameter = self.get_parameter(registered)
            for owner, slot in self._slots.items():
                if slot.key != block:
                    continue
                shape = parameter.shape if slot.index is None else parameter.shape[1:]
                path = f"{self._owner_paths[owner]}.{tensor}"
                sites.append(ParameterSite(path, key, slot.index, tuple(shape)))
        return tuple(sites)

    def parameter(self, path: str) -> Tensor:
        """The weight tensor at a parameter path; a view, so it can be read and set in place."""
        for site in self.parameter_sites():
            if site.path == path:
                whole = self.storage()[site.key]
                return whole.data if site.index is None else whole.data[site.index]
        raise UserError(f"no parameter has the path `{path}`")

    # --- running

    def trace(
        self, x: Any, observations: Values | None = None, *, generator: Generator | None = None
    ) -> Trace:
        """One run: given sites are clamped, the others drawn (7.12)."""
        act = self._activate(x, by_name(observations))
        run = self._run(act, [*self._given(act), Prior(generator)], generator=generator)
        run.recording = True
        env = execute(act.frame(run), act.inputs)
        row, shared = terms_of(run)
        joint = per_row(Terms(row, shared, run.batch_rank), act)
        report = act.report_sites
        return Trace(report(run.sites), report(run.internal_sites), self._output(env, act), joint)

    def rsample(
        self,
        x: Any,
        sample_shape: Iterable[int] = (),
        observations: Values | None = None,
        *,
        generator: Generator | None = None,
    ) -> Any:
        """The output of one run per index of ``sample_shape``: ``(*sample_shape, *b, *own)``."""
        act = self._activate(x, by_name(observations))
        stack = tuple(sample_shape)
        answerers = [*self._given(act), Prior(generator)]
        run = self._run(act, answerers, stack=stack, generator=generator)
        return self._output(execute(act.frame(run), act.inputs), act, stack)

    forward = rsample

    def simulate(
        self,
        x: Any,
        count: int,
        draws: Mapping[str, Tensor] | None = None,  # site -> (count, *value_shape)
        observations: Values | None = None,
        *,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:
        """``count`` runs at once, sites given in ``draws`` at one value per run.

        Every declared site and what programs inside observe, ``(count, *value_shape)``; what
        neither ``draws`` nor ``observations`` give is drawn.
        """
        refuse_unknown(draws or {}, self.vocabulary)
        dtype = self._dtype({**by_name(observations), **(draws or {})})
        act = self._activate(x, by_name(observations), dtype=dtype)
        stacked = {k: v.to(dtype) if v.is_floating_point() else v for k, v in (draws or {}).items()}
        given = [Given(stacked, 1, act.entry.one_row), *self._given(act)]
        run = self._run(act, [*given, Prior(generator)], stack=(count,), generator=generator)
        run.recording = True
        execute(act.frame(run), act.inputs)
        inside = {k: s for k, s in run.internal_sites.items() if k in self.inner_observed}
        return {k: s.value for k, s in (run.sites | inside).items() if isinstance(s.value, Tensor)}

    # --- scoring

    def log_joint(
        self,
        x: Any,
        values: Values,
        *,
        noise: Mapping[str, Tensor] | None = None,
        generator: Generator | None = None,
        num_inner: int = 1,
    ) -> Tensor:  # -> (*b,)
        """Per row: its own terms plus every shared term (R4).

        Middles that are not given are summed if finite, else drawn from ``noise`` (by path), from
        ``generator``, or from noise that is a fixed function of their place (R6). ``num_inner``
        draws tighten the bound (R3).
        """
        terms, act = self._score(x, values, noise, generator, num_inner)
        return per_row(terms, act)

    def log_density(
        self,
        x: Any,
        values: Values,
        *,
        noise: Mapping[str, Tensor] | None = None,
        generator: Generator | None = None,
        num_inner: int = 1,
    ) -> Tensor:  # -> ()
        """One number: row terms summed over rows, shared terms once (R4)."""
        return self._score(x, values, noise, generator, num_inner)[0].total()

    def _score(
        self,
        x: Any,
        values: Values,
        noise: Mapping[str, Tensor] | None,
        generator: Generator | None,
        num_inner: int,
    ) -> tuple[Terms, Activation]:
        act = self._activate(x, values)
        answerers: list[Answerer] = list(self._given(act))
        if noise is not None:
            answerers.append(NoiseTable(noise))
        stack = (num_inner,) if num_inner > 1 else ()
        if generator is not None:
            answerers.append(FreshNoise(generator))
        else:
            answerers.append(FixedNoise(act.dtype, act.device, num_inner))
        run = self._run(act, answerers, stack=stack, generator=generator)
        execute(act.frame(run), act.inputs)
        row, shared = terms_of(run)
        if stack:
            row = None if row is None else inner_mean(row, run.batch_rank)
            shared = inner_mean(shared, 0)
        return Terms(row, shared, run.batch_rank), act

    # --- inference

    def target(
        self,
        x: Any,
        observations: Values | None = None,
        *,
        latents: Literal["all", "declared"] = "all",
        dtype: torch.dtype | None = None,
        missing: Collection[str] = (),
        freeze_masks: bool = False,
    ) -> Opened:
        """The density over a flat vector of everything not observed.

        ``latents="all"`` gives middles coordinates of their own (MCMC, R3), ``"declared"`` leaves
        them to fresh noise (variational fits). Observe sites named in ``missing`` may lack a value
        and are latent then. ``freeze_masks``: MCMC holds the masks of random let-builtins fixed.

        Raises `UserError` where a discrete site is not given, an observe site has no value, a mask
        would be drawn anew in MCMC, or data do not fit.
        """
        if latents == "all" and self.random_lets and not freeze_masks:
            names = ", ".join(f"`{name}`" for name in self.random_lets)
            raise UserError(
                f"{names} draws a random mask, so the density is not a function: MCMC needs "
                "freeze_masks=True, which holds the masks fixed"
            )
        dtype = self._dtype({}) if dtype is None else dtype
        act = self._activate(x, by_name(observations), dtype=dtype)
        require_responses(self.compiled, act.prepared, missing)
        return open_target(self, act, latents)

    def declared_latents(self, observed_names: Iterable[str] = ()) -> tuple[DeclaredLatent, ...]:
        """Static shapes of the latents a guide is over: names, own shapes, support, per row."""
        names = frozenset(observed_names)
        refuse_unknown(sorted(names), self.vocabulary)
        known = names | self.observed_names
        return declared_latents(self.compiled, known, {**self.sizes, **self._late})

    def supports(
        self, x: Any, observations: Values | None = None, *, dtype: torch.dtype | None = None
    ) -> Supports:
        """What says where sites lie whose bounds are made of other values (R12), for guides."""
        return Supports(self._activate(x, by_name(observations), dtype=dtype), self.storage())

    def sized(self, x: Any, observations: Values | None) -> "Model":
        """This model over the same weights, its late sizes those of the data."""
        other = copy(self)
        other._late = self._activate(x, by_name(observations)).prepared.sizes
        return other

    def with_sizes(self, **sizes: int) -> "Model":
        """This model over the same weights, late sizes fixed (R8): ``model.with_sizes(n=50)``.

        Raises `UserError` for a name that is no late size, a size below 1, or one fixed already.
        """
        other = copy(self)
        other.sizes = with_more_sizes(self.sizes, sizes, self.checked.sizes)
        return other

    def batch_shape(self, x: Any) -> tuple[int, ...]:
        """The rows of a run on ``x`` (R1); ``()`` where there are none."""
        return fit_input(self.program, x, self._dtype({}), self._device()).batch_shape

    # --- inner workings

    def _dtype(self, values: Values) -> torch.dtype:
        """The model's dtype, raised to float64 by float64 values of sites (R12).

        Where no site has a floating value, host data decide.
        """
        sites = {float_bits(v) for k, v in values.items() if k in self.vocabulary.sites}
        if not sites - {0}:
            sites = {float_bits(v) for v in values.values()}
        own = next((p.dtype for p in self.parameters()), self._precision.dtype)
        return torch.float64 if 64 in sites else own

    def _device(self) -> torch.device:
        return next((p.device for p in self.parameters()), torch.get_default_device())

    def _activate(self, x: Any, values: Values, *, dtype: torch.dtype | None = None) -> Activation:
        dtype = self._dtype(values) if dtype is None else dtype
        device = self._device()
        entry = fit_input(self.program, x, dtype, device)
        prepared = prepare(
            values,
            self.vocabulary,
            dtype=dtype,
            device=device,
            batch_rank=len(entry.batch_shape),
            sizes=self.sizes,
        )
        prepared = responses_fix_sizes(self.program, prepared)
        return Activation(self.compiled, entry, prepared, dtype, device, self.vocabulary.declared)

    def _given(self, act: Activation) -> list[Given]:
        return [Given(act.prepared.sites, 0, act.entry.one_row, act.entry.advice)]

    def _run(
        self,
        act: Activation,
        answerers: list[Any],
        *,
        stack: tuple[int, ...] = (),
        generator: Generator | None = None,
    ) -> Run:
        weights = self.weights(act.dtype)
        return Run(
            tuple(answerers),
            weights,
            act.entry.batch_shape,
            act.dtype,
            act.device,
            stack,
            generator=generator,
        )

    def _output(self, env: Mapping[str, Any], act: Activation, stack: tuple[int, ...] = ()) -> Any:
        program = self.program
        values = {label: act.plain(env[name], stack) for label, name in program.returns}
        return values if program.returns_tuple else next(iter(values.values()))
