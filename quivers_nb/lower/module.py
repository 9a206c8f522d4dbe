"""A compiled module: its exports as torch modules, and how to reach them (section 11)."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from quivers_nb.check import term as ir
from quivers_nb.check.walk import is_flat
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.activation import terms_of
from quivers_nb.lower.answers import FixedNoise, FreshNoise, Given, Prior
from quivers_nb.lower.compile import compile_term
from quivers_nb.lower.inputs import fit_input
from quivers_nb.lower.model import Model
from quivers_nb.lower.nodes import Flow, Recur, deterministic, flow, head, scans
from quivers_nb.lower.posteriors import PosteriorProgram
from quivers_nb.lower.run import Run
from quivers_nb.lower.storage import Storage
from quivers_nb.lower.templates import ExportedTemplate
from quivers_nb.spaces.space import Object, ProductSet, is_finite

NOTHING_EXPORTED = "the module exports nothing: add a line `export NAME`"


class Kernel(nn.Module):
    """An exported morphism ``dom -> cod`` that is not a program: `rsample` and `log_prob`."""

    def __init__(self, name: str, term: ir.Term, storage: Storage) -> None:
        super().__init__()
        self.name = name
        self.term = term
        self.node, work = compile_term(term, storage)
        self._names: list[tuple[str, str]] = []
        for key, parameter in storage.items(work.keys):
            registered = key.replace(".", "/")
            self.register_parameter(registered, parameter)
            self._names.append((key, registered))

    @property
    def domain(self) -> Object:
        return self.term.dom

    @property
    def codomain(self) -> Object:
        return self.term.cod

    def __repr__(self) -> str:
        return f"<morphism {self.name} : {self.domain} -> {self.codomain}>"

    def rsample(
        self, x: Any, sample_shape: Iterable[int] = (), *, generator: Generator | None = None
    ) -> Tensor:  # (*b, d) -> (*sample_shape, *b, *event)
        """Draws of the whole chain, reparameterized where the families allow it."""
        run, tensor, lead = self._run(x, tuple(sample_shape), (Prior(generator),))
        value = flow(self.node, run, Flow(tensor), lead).value
        if is_finite(self.codomain):
            value = value.long()
        rank = len(lead) + self._event_rank()
        return value.expand((*run.stack, *value.shape[max(0, value.ndim - rank) :]))

    def log_prob(
        self, x: Any, y: Any, *, generator: Generator | None = None, num_inner: int = 1
    ) -> Tensor:  # (*b, d), (*b, *event) -> (*b,)
        """Log density of ``y``: finite middles summed, continuous ones drawn (R3, R6)."""
        if deterministic(self.node):
            raise UserError(f"`{self.name}` is deterministic in part: it has no density")
        stack = (num_inner,) if num_inner > 1 else ()
        tensor = torch.as_tensor(y)
        noise = (
            FixedNoise(self._dtype(), tensor.device, num_inner)
            if generator is None
            else FreshNoise(generator)
        )
        run, x, lead = self._run(x, stack, (noise,))
        dist = head(self.node, run, Flow(x), lead)
        given = Given({self.name: tensor if is_finite(self.codomain) else tensor.to(run.dtype)})
        from quivers_nb.lower.answers import Kind, SiteKey  # noqa: PLC0415

        site = SiteKey(self.name, Kind.DECLARED, kernel=True, batch_rank=len(lead))
        answer = given.answer(site, dist, stack)
        assert answer is not None
        assert answer.term is not None
        if not stack or answer.term.ndim == len(lead):
            return answer.term
        return torch.logsumexp(answer.term, 0) - torch.log(
            torch.tensor(float(num_inner), dtype=answer.term.dtype)
        )

    def log_joint(self, x: Any, states: Any) -> Tensor:  # (*b, L, d), (*b, L, *event) -> (*b,)
        """Of a scan: the exact joint density of all its states, as a tensor or under ``"h"``.

        Raises `UserError` if this is no scan of a kernel, or the states do not fit.
        """
        outputs = self.node.outputs if isinstance(self.node, Recur) else None
        if outputs is None or len(outputs) != 1:
            raise UserError(
                f"`{self.name}` is no scan of one kernel, so its states are not one sequence: use "
                "log_joint of a program that scans, which takes every site by its path"
            )
        given = torch.as_tensor(states["h"] if isinstance(states, Mapping) else states)
        ((path, obj),) = outputs
        values = {path: given if is_finite(obj) else given.to(self._dtype())}
        run, tensor, lead = self._run(x, (), (Given(values),))
        flow(self.node, run, Flow(tensor), lead)
        row, shared = terms_of(run)
        return shared if row is None else row + shared

    def _event_rank(self) -> int:
        """Event axes of a value: none of an index, one of vectors and of several indices."""
        cod = self.codomain
        single = is_finite(cod) and (not isinstance(cod, ProductSet) or is_flat(self.term))
        return 0 if single else 1

    def _dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    def _run(
        self, x: Any, stack: tuple[int, ...], answerers: tuple[Any, ...]
    ) -> tuple[Run, Tensor, tuple[int, ...]]:
        reader = ir.Program(
            self.name,
            self.domain,
            self.codomain,
            (),
            (),
            (),
            False,
            True,
            scans(self.node),
            frozenset(),
            (),
            (),
        )
        dtype = self._dtype()
        device = next((p.device for p in self.parameters()), torch.get_default_device())
        entry = fit_input(reader, x, dtype, device)
        assert entry.raw is not None
        weights = {key: self.get_parameter(registered) for key, registered in self._names}
        run = Run(answerers, weights, entry.batch_shape, dtype, device, stack)
        return run, entry.raw.tensor, entry.batch_shape


class Module(nn.Module):
    """A loaded module (11.2). ``exports`` maps names to models and kernels, the first is
    ``morphism``; ``checked`` holds the typed term, ``source`` the text.
    """

    def __init__(
        self,
        checked: ir.CheckedModule,
        sizes: Mapping[str, int],
        data: Mapping[str, np.ndarray],
    ) -> None:
        super().__init__()
        self.checked = checked
        storage = Storage(data=data)
        self._storage = storage
        built: dict[str, nn.Module] = {}
        for export in checked.exports:
            built[export.key] = build(export.key, export.value, checked, storage, sizes)
        self._exports = nn.ModuleDict({key.replace(".", "/"): m for key, m in built.items()})
        self._by_key = built
        self._posteriors = {
            each.name: PosteriorProgram(each, checked, sizes) for each in checked.posteriors
        }
        self._templates = {
            each.name: ExportedTemplate(each, checked, sizes, data) for each in checked.templates
        }

    @property
    def source(self) -> str:
        return self.checked.source.text

    @property
    def exports(self) -> Mapping[str, nn.Module]:
        """Every export by its name, or by its text where it has none (R9)."""
        return MappingProxyType(self._by_key)

    @property
    def owners(self) -> Mapping[str, tuple[ir.Owner, ...]]:
        """Whose weights a block of parameters holds, by its registered name; several if stacked."""
        slots = sorted(self._storage.slots.items(), key=lambda item: item[1].index or 0)
        found: dict[str, tuple[ir.Owner, ...]] = {}
        for owner, slot in slots:
            block = slot.key.replace(".", "/")
            found[block] = (*found.get(block, ()), owner)
        return MappingProxyType(found)

    @property
    def morphism(self) -> Any:
        """The first export, or None."""
        return next(iter(self._by_key.values()), None)

    @property
    def domain(self) -> Object:
        return self._first().domain  # type: ignore[no-any-return]

    @property
    def codomain(self) -> Object:
        return self._first().codomain  # type: ignore[no-any-return]

    # The checker refuses these declarations by name for now; the attributes are part of 11.2.
    deductions: Mapping[str, Any] = MappingProxyType({})
    signatures: Mapping[str, Any] = MappingProxyType({})
    encoders: Mapping[str, Any] = MappingProxyType({})
    decoders: Mapping[str, Any] = MappingProxyType({})
    losses: Mapping[str, Any] = MappingProxyType({})

    @property
    def posteriors(self) -> Mapping[str, PosteriorProgram]:
        """Posterior programs by name: functions of draws (7.11)."""
        return MappingProxyType(self._posteriors)

    @property
    def templates(self) -> Mapping[str, ExportedTemplate]:
        """Exported templates by name, each an attribute as well: functions to modules (7.9)."""
        return MappingProxyType(self._templates)

    def rsample(self, x: Any, sample_shape: Iterable[int] = (), **options: Any) -> Any:
        """`rsample` of the first export."""
        return self._first().rsample(x, sample_shape, **options)

    def log_prob(self, x: Any, y: Any, **options: Any) -> Tensor:
        """`log_prob` of the first export; a program has none (its density is `log_joint`)."""
        first = self._first()
        if isinstance(first, Model):
            raise UserError(
                f"`{first.name}` is a program: its own log_prob is intractable; use log_joint"
            )
        return first.log_prob(x, y, **options)  # type: ignore[no-any-return]

    def _first(self) -> Any:
        if not self._by_key:
            raise AttributeError(self._nothing())
        return self.morphism

    def _nothing(self) -> str:
        """Why there is no morphism."""
        template = next(iter(self._templates.values()), None)
        if template is None:
            return NOTHING_EXPORTED
        names = ", ".join(name for name, _ in template.params)
        return f"the module exports a template: `module.{template.name}({names})` gives a module"

    def __getattr__(self, name: str) -> Any:
        # torch's own lookup would hide what a property says
        if name in {"domain", "codomain"} and not self.__dict__.get("_by_key"):
            raise AttributeError(self._nothing())
        template = self.__dict__.get("_templates", {}).get(name)
        return template if template is not None else super().__getattr__(name)

    def __repr__(self) -> str:
        names = ", ".join([*self._by_key, *self._templates]) or "nothing"
        return f"<module exporting {names}>"


def build(
    key: str,
    value: ir.Term | ir.Program,
    checked: ir.CheckedModule,
    storage: Storage,
    sizes: Mapping[str, int],
) -> Model | Kernel:
    """The torch module of one export."""
    if isinstance(value, ir.Program):
        return Model(value, checked, storage, sizes)
    inner = value
    while isinstance(inner, ir.Named):
        inner = inner.body
    if isinstance(inner, ir.ProgramTerm):
        return Model(inner.program, checked, storage, sizes)
    return Kernel(key, value, storage)


def lower(
    checked: ir.CheckedModule,
    sizes: Mapping[str, int] | None = None,
    data: Mapping[str, np.ndarray] | None = None,
) -> Module:
    """The torch modules of a checked module. ``sizes`` fixes late-bound sizes (R8), ``data`` holds
    the tables that `from_data` reads.
    """
    given = dict(sizes or {})
    for name in given:
        if name not in checked.sizes:
            known = ", ".join(checked.sizes) or "none"
            raise UserError(f"`{name}` is not a size of this module; sizes: {known}")
    return Module(checked, given, dict(data or {}))
