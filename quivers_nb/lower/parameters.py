"""Kernels in torch: the tensors a declared morphism owns, and its distribution at an input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from quivers_nb.check.term import Morphism, Owner, Role, SourceKind
from quivers_nb.kernels.finite import EPS, LOG_EPS, KnownTable
from quivers_nb.kernels.network import (
    TensorSpec,
    apply_network,
    network_spec,
    start_at_scale,
)
from quivers_nb.kernels.network import (
    initial_tensors as draw_tensors,
)
from quivers_nb.kernels.transforms import Cut, kernel_parameters, raw_cut, raw_width
from quivers_nb.lower.dists import Dist, Simple, Weighted
from quivers_nb.lower.special import (
    discretize_dist,
    flow_dist,
    flow_specs,
    global_dist,
    global_tensors,
    has_one_vector,
)
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import Object, ProductSet, Space, factors, is_finite, width

EMBED_SPREAD = 0.5  # of fresh centers (4.7)
RELATION_SPREAD = 0.5  # of the raw values of a latent relation (4.1)
TABLE = "given"  # key of the log probabilities of a table that is given or drawn
TABLE_SPREAD = 0.1  # of the logits of a plain Markov kernel (4.5)


def _size(obj: Object) -> int:
    """Elements of a finite set, dim of a space: what a family's ``d`` is."""
    return int(obj.size) if is_finite(obj) else width(obj)  # type: ignore[union-attr,arg-type]


def _matrix_size(obj: Object) -> int:
    return obj.matrix_size if isinstance(obj, Space) else _size(obj)


def _settings(morphism: Morphism) -> dict[str, Any]:
    known: dict[str, Any] = dict(morphism.settings)
    if isinstance(morphism.cod, Space) and morphism.cod.bounded:
        known |= {"low": morphism.cod.low, "high": morphism.cod.high}
    return known


# --- fresh tensors ------------------------------------------------------------------------------


def initial_tensors(morphism: Morphism) -> dict[str, Tensor]:
    """First values of a morphism's tensors, drawn from torch's global generator."""
    if morphism.role is Role.EMBED:
        return _embed_tensors(morphism)
    if morphism.role is Role.LATENT:
        return {"raw": _relation(morphism)}
    if has_one_vector(morphism):
        return global_tensors(morphism)
    tensors = draw_tensors(_specs(morphism))
    if morphism.scale is None or morphism.family is None:
        return tensors
    row, settings = FAMILIES[morphism.family], _settings(morphism)
    d, m = _size(morphism.cod), _matrix_size(morphism.cod)
    return start_at_scale(row, tensors, morphism.scale, d, settings, m)


def _relation(morphism: Morphism) -> Tensor:  # -> (size of dom, size of cod)
    """The raw values of a latent relation, whose entries are their sigmoids (4.2, 4.3)."""
    shape = (_size(morphism.dom), _size(morphism.cod))
    if morphism.init != "auto":
        spread = RELATION_SPREAD if morphism.scale is None else morphism.scale
        return torch.randn(shape) * spread
    level = log(2.0) / max(1, *shape)  # product_fuzzy, the algebra of a module that selects none
    ends = torch.tensor([0.5 * level, min(1.5 * level, 1.0)]).clamp(1e-6, 1.0 - 1e-6).logit()
    low, high = ends.tolist()
    return torch.empty(shape).uniform_(low, high)


def _specs(morphism: Morphism) -> tuple[TensorSpec, ...]:
    """The tensors of a table or of networks."""
    if morphism.role is Role.DISCRETIZE:
        return ()
    d, m = _size(morphism.cod), _matrix_size(morphism.cod)
    if morphism.family is None:
        return (TensorSpec("logits", (_size(morphism.dom), d), "normal", TABLE_SPREAD),)
    if morphism.family == "Flow":
        return flow_specs(morphism)
    row = FAMILIES[morphism.family]
    return _network(morphism, raw_width(row, d, _settings(morphism), m))


def _network(morphism: Morphism, raw: int) -> tuple[TensorSpec, ...]:
    source = morphism.source
    assert source is not None
    finite = is_finite(morphism.dom)
    return network_spec(
        source.kind.value,
        0 if finite else width(morphism.dom),
        raw,
        widths=source.widths,
        heads=source.heads,
        table_size=_size(morphism.dom) if finite else 0,
        explicit=source.explicit,
    )


def _embed_tensors(morphism: Morphism) -> dict[str, Tensor]:
    """Centers and log widths of an embedding (4.7)."""
    cod = morphism.cod
    assert isinstance(cod, Space)
    n, d = _size(morphism.dom), cod.dim
    if not cod.bounded:
        centers = torch.randn(n, d) * EMBED_SPREAD
    elif d == 1:
        centers = torch.linspace(float(cod.low or 0.0), float(cod.high or 0.0), n).unsqueeze(-1)
    else:
        low, high = float(cod.low or 0.0), float(cod.high or 0.0)
        centers = low + (high - low) * torch.rand(n, d)
    level = 0.0 if morphism.scale is None else float(torch.tensor(morphism.scale).log())
    return {"centers": centers, "log_sigma": torch.full((n, d), level)}


# --- evaluation ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelPlan:
    """A declared morphism with its place in the storage.

    ``keys`` maps tensor names to storage keys; ``index`` picks one member of a stacked block. A
    whole block of ``lanes * members`` equal kernels is read as one batched product: each lane has
    an input of its own (operands of ``@``), members share their lane's (a ``fan``). Values are then
    stacked on the axis before the last, ``(*lead, lanes * members, d)``.

    A table without weights of its own is ``known``, or ``drawn`` from its prior in each run; then
    the log probabilities of its rows are read under the key ``TABLE``.
    """

    morphism: Morphism
    keys: tuple[tuple[str, str], ...]
    index: int | None = None
    lanes: int = 1
    members: int = 1
    known: KnownTable | None = None
    drawn: Owner | None = None

    @property
    def count(self) -> int:
        """How many kernels are evaluated at once."""
        return self.lanes * self.members

    @property
    def scalar_index(self) -> bool:
        """Whether the input is one index per evaluation (no event axis)."""
        dom = self.morphism.dom
        return is_finite(dom) and not isinstance(dom, ProductSet)

    @property
    def sequence(self) -> bool:
        """Whether the input has one more axis, of positions or points, that is consumed (R1)."""
        source = self.morphism.source
        attends = source is not None and source.kind is SourceKind.ATTENTION
        return attends or self.morphism.family == "GP"

    @cached_property
    def cut(self) -> Cut:
        """How the raw vector becomes parameters."""
        assert self.morphism.family is not None
        row, settings = FAMILIES[self.morphism.family], _settings(self.morphism)
        return raw_cut(row, _size(self.morphism.cod), settings, _matrix_size(self.morphism.cod))

    @cached_property
    def family(self) -> Family:
        """The family that the kernel's density is of."""
        if self.morphism.role is Role.EMBED:
            return FAMILIES["Normal"]
        if self.morphism.role is Role.DISCRETIZE:
            return FAMILIES["CategoricalProbs"]
        if self.morphism.family is None:
            return FAMILIES["CategoricalLogit"]
        if self.morphism.family == "GP":
            return FAMILIES["MultivariateNormal"]
        row = FAMILIES[self.morphism.family]
        return row if row.kernel_family is None else FAMILIES[row.kernel_family]

    @cached_property
    def events(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Own event and family event of a value."""
        own, inner = _events(self.family, self.morphism)
        return (((self.count,) if self.count > 1 else ()) + own), inner

    def joined(self, value: Tensor) -> Tensor:
        """A value as the next kernel reads it: members side by side, lanes apart, matrices flat."""
        if self.members == 1:
            return value.flatten(-2) if len(self.events[1]) == 2 else value
        if self.lanes == 1:
            return value.flatten(-2)
        apart: Tensor = value.unflatten(-2, (self.lanes, self.members))
        return apart.flatten(-2)

    def dist(self, parameters: Mapping[str, Tensor], x: Tensor, lead: tuple[int, ...]) -> Dist:
        """The distribution at ``x``, ``(*s, *lead, [lanes,] d)`` or ``(*s, *lead, [lanes])``."""
        tensors, depth = self._tensors(parameters)
        finite = is_finite(self.morphism.dom)
        at = _index(self.morphism.dom, x) if finite else _vector(x, tensors)
        axes = _Axes(depth, len(lead), 0 if finite else 1, self.lanes > 1, self.members > 1)
        special = self._special(tensors, at, lead, axes)
        if special is not None:
            return special
        kind = Weighted if is_weighted(self.morphism) else Simple
        return kind(self.family, self._params(tensors, at, axes), lead, *self.events)

    def _special(
        self, tensors: dict[str, Tensor], x: Tensor, lead: tuple[int, ...], axes: "_Axes"
    ) -> Dist | None:
        """The distribution of a kernel without a parameter network."""
        if self.morphism.role is Role.DISCRETIZE:
            return discretize_dist(self.morphism, x, lead)
        if has_one_vector(self.morphism):
            return global_dist(self.morphism, tensors["raw"], self.cut, x, lead)
        if self.morphism.family != "Flow":
            return None
        vectors = replace(axes, event=1)

        def arrange(network: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
            return vectors.restore(network(vectors.behind(v)), v)

        return flow_dist(self.morphism, tensors, arrange, x, lead)

    def _params(self, tensors: dict[str, Tensor], at: Tensor, axes: "_Axes") -> tuple[Tensor, ...]:
        if self.morphism.role is Role.EMBED:
            loc, log_sigma = (axes.rows(tensors[name], at) for name in ("centers", "log_sigma"))
            return loc, log_sigma.exp().clamp_min(EPS)
        if TABLE in tensors:
            return (axes.rows(tensors[TABLE], at),)
        if self.morphism.role is Role.LATENT:  # weights of a row, read as a finite kernel (5.10)
            logs = torch.log_softmax(logsigmoid(tensors["raw"]), -1).clamp_min(LOG_EPS)
            return (axes.rows(logs, at),)
        if self.morphism.family is None:
            return (axes.rows(tensors["logits"], at),)
        source = self.morphism.source
        assert source is not None
        if source.kind is SourceKind.ATTENTION:
            axes = replace(axes, event=axes.event + 1)
        raw = apply_network(source.kind.value, tensors, axes.behind(at), heads=source.heads)
        params = self._per_component(self.cut(axes.restore(raw, at)))
        if self.lanes > 1 and self.members > 1:
            return tuple(p.flatten(-3, -2) if p.ndim else p for p in params)
        return params

    def _per_component(self, params: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Vector parameters of a number (MixtureNormal) stand behind the axis of a `Real 1`."""
        row = self.family
        if row.event_rank or not self.events[0]:
            return params
        ranks = [parameter.rank for parameter in row.parameters]
        return tuple(p.unsqueeze(-2) if r else p for p, r in zip(params, ranks, strict=True))

    def _tensors(self, parameters: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
        """Tensors by name, and how many stack axes stand in front of each."""
        picked = {name: parameters[key] for name, key in self.keys}
        if not picked:
            return {}, 0
        name = self.keys[0][0]
        stacked = self.index is not None or self.count > 1
        vector = name.startswith("bias") or has_one_vector(self.morphism)
        depth = picked[name].ndim - (1 if vector else 2) - (1 if stacked else 0)
        if self.index is not None and self.count == 1:
            picked = {name: tensor.select(depth, self.index) for name, tensor in picked.items()}
        if self.lanes > 1 and self.members > 1:
            grid = (self.lanes, self.members)
            picked = {name: tensor.unflatten(depth, grid) for name, tensor in picked.items()}
        return picked, depth


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where the axes of an input stand, and how to bring them to where the weights have theirs.

    An input is ``(*K, *s, *lead, [lanes,] *event)``, *K being branch axes; weights have ``depth``
    stack axes, then one of lanes and one of members if there are any.
    """

    depth: int
    lead: int
    event: int
    lanes: bool
    members: bool

    def behind(self, x: Tensor) -> Tensor:  # -> (*s, [lanes, members,] *K, *lead, *event)
        front = x.ndim - self.lead - self.event - self.lanes  # branch and stack axes of x
        depth = self.depth
        if depth:
            if front < depth:
                x = x.reshape((*((1,) * (depth - front)), *x.shape))
                front = depth
            if front > depth:
                x = x.movedim(tuple(range(front - depth)), tuple(range(depth, front)))
        if self.lanes:
            x = x.movedim(-(self.event + 1), depth)
        return x.unsqueeze(depth + self.lanes) if self.members else x

    def restore(self, raw: Tensor, x: Tensor) -> Tensor:  # -> (*K, *s, *lead, [lanes, members,] P)
        """Undo `behind` on a result at the input ``x``."""
        depth, inner = self.depth, self.lanes + self.members
        if inner:
            places = tuple(range(depth, depth + inner))
            raw = raw.movedim(places, tuple(range(-1 - inner, -1)))
        branches = x.ndim - self.lead - self.event - self.lanes - depth if depth else 0
        if branches > 0:
            raw = raw.movedim(tuple(range(depth, depth + branches)), tuple(range(branches)))
        return raw

    def rows(self, table: Tensor, index: Tensor) -> Tensor:
        """Rows of a table ``(*s, [lanes, members,] n, d)`` at indices."""
        return self.restore(apply_network("lookup", {"table": table}, self.behind(index)), index)


def _events(family: Family, morphism: Morphism) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Own event and family event of a kernel's value."""
    cod = morphism.cod
    if family.event_rank == 2:
        known = dict(morphism.settings)
        size = _matrix_size(cod)
        return (), (int(known.get("rows", size)), int(known.get("cols", size)))
    if family.event_rank == 1:
        return (), (_size(cod),)
    return ((), ()) if is_finite(cod) else ((_size(cod),), ())


def _index(dom: Object, x: Tensor) -> Tensor:
    """The flat row-major index of a point of a finite domain (3.6, 4.5)."""
    if not isinstance(dom, ProductSet):
        return x.long()
    flat: Tensor | None = None
    for k, factor in enumerate(factors(dom)):
        column = x[..., k].long()
        flat = column if flat is None else flat * _size(factor) + column
    assert flat is not None
    return flat


def _vector(x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """An index read as a number becomes one column (3.5), in the dtype of the weights (R12)."""
    if x.is_floating_point():
        return x
    dtype = next((w.dtype for w in weights.values()), torch.get_default_dtype())
    return x.to(dtype).unsqueeze(-1)


def tensor_names(morphism: Morphism) -> tuple[str, ...]:
    """The names of a morphism's tensors, in order."""
    if morphism.role is Role.EMBED:
        return ("centers", "log_sigma")
    if has_no_weights(morphism):
        return (TABLE,)
    if morphism.role is Role.LATENT or has_one_vector(morphism):
        return ("raw",)
    return tuple(spec.name for spec in _specs(morphism))


def has_no_weights(morphism: Morphism) -> bool:
    """Whether the table of a morphism is given, or drawn: it has no parameters."""
    return morphism.role is Role.OBSERVED or morphism.prior is not None


def is_weighted(morphism: Morphism) -> bool:
    """Whether a morphism is a table of weights, read as a finite kernel (5.10)."""
    return morphism.role in {Role.OBSERVED, Role.LATENT}


def batchable(morphism: Morphism) -> bool:
    """Whether several equal kernels of this kind can be evaluated as one batched product."""
    if morphism.role is Role.EMBED:
        return True
    if morphism.family is None or morphism.source is None or is_finite(morphism.cod):
        return False
    row = FAMILIES[morphism.family]
    kinds = {SourceKind.MLP, SourceKind.LINEAR, SourceKind.LOOKUP}
    family = row if row.kernel_family is None else FAMILIES[row.kernel_family]
    scalars = all(not p.rank for p in kernel_parameters(row))
    return morphism.source.kind in kinds and not family.event_rank and scalars
