"""Kernels in torch: the tensors a declared morphism owns, and its distribution at an input."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check.term import Morphism, Role, SourceKind
from quivers_nb.kernels.network import (
    TensorSpec,
    apply_network,
    network_spec,
    start_at_scale,
)
from quivers_nb.kernels.network import (
    initial_tensors as draw_tensors,
)
from quivers_nb.kernels.transforms import kernel_parameters, raw_width, split_blocks
from quivers_nb.lower.dists import Dist, Simple
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import Object, ProductSet, Space, factors, is_finite, width

EPS = 1e-7
EMBED_SPREAD = 0.5  # of fresh centers (4.7)
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
    if morphism.family is None:
        spec = TensorSpec(
            "logits", (_size(morphism.dom), _size(morphism.cod)), "normal", TABLE_SPREAD
        )
        return draw_tensors((spec,))
    row, settings = FAMILIES[morphism.family], _settings(morphism)
    d, m = _size(morphism.cod), _matrix_size(morphism.cod)
    tensors = draw_tensors(_network(morphism, raw_width(row, d, settings, m)))
    if morphism.scale is None:
        return tensors
    return start_at_scale(row, tensors, morphism.scale, d, settings, m)


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


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """A declared morphism with its place in the storage.

    ``keys`` maps tensor names to storage keys; ``index`` picks one member of a stacked block,
    ``members`` > 1 reads the whole block as that many kernels side by side.
    """

    morphism: Morphism
    keys: tuple[tuple[str, str], ...]
    index: int | None = None
    members: int = 1

    @property
    def scalar_index(self) -> bool:
        """Whether the input is one index per evaluation (no event axis)."""
        dom = self.morphism.dom
        return is_finite(dom) and not isinstance(dom, ProductSet)

    def dist(self, parameters: Mapping[str, Tensor], x: Tensor, lead: tuple[int, ...]) -> Dist:
        """The distribution at ``x``, ``(*s, *lead, d)`` or indices ``(*s, *lead)``."""
        tensors, depth = self._tensors(parameters)
        at = _index(self.morphism.dom, x) if is_finite(self.morphism.dom) else _vector(x, lead)
        event = 0 if is_finite(self.morphism.dom) else 1
        if self.morphism.role is Role.EMBED:
            loc = _rows_of(tensors["centers"], at, depth, len(lead), 1)
            log_sigma = _rows_of(tensors["log_sigma"], at, depth, len(lead), 1)
            scale = log_sigma.exp().clamp_min(EPS)
            return Simple(FAMILIES["Normal"], (loc, scale), lead, (_size(self.morphism.cod),))
        if self.morphism.family is None:
            logits = _rows_of(tensors["logits"], at, depth, len(lead), 1)
            return Simple(FAMILIES["CategoricalLogit"], (logits,), lead)
        return self._family(tensors, at, depth, lead, event)

    def _tensors(self, parameters: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
        """Tensors by name, and how many stack axes stand in front of each."""
        picked = {name: parameters[key] for name, key in self.keys}
        if not picked:
            return {}, 0
        stacked = self.index is not None or self.members > 1
        name = next(iter(picked))
        base = 1 if name.startswith("bias") else 2
        depth = picked[name].ndim - base - (1 if stacked else 0)
        if self.index is not None and self.members == 1:
            picked = {name: tensor.select(depth, self.index) for name, tensor in picked.items()}
        return picked, depth

    def _family(
        self, tensors: dict[str, Tensor], at: Tensor, depth: int, lead: tuple[int, ...], event: int
    ) -> Dist:
        morphism = self.morphism
        assert morphism.family is not None
        assert morphism.source is not None
        row = FAMILIES[morphism.family]
        source = morphism.source
        extra = 1 if source.kind is SourceKind.ATTENTION else 0
        x = _behind(at, depth, len(lead), event + extra, side=self.members > 1)
        raw = apply_network(source.kind.value, tensors, x, heads=source.heads)
        raw = _restore(raw, at, depth, len(lead), event + extra, side=self.members > 1)
        d, m = _size(morphism.cod), _matrix_size(morphism.cod)
        params = split_blocks(row, raw, d, _settings(morphism), m)
        family = row if row.kernel_family is None else FAMILIES[row.kernel_family]
        if self.members > 1:
            params = tuple(p.flatten(-2) if p.ndim else p for p in params)
        own, inner = _events(family, morphism.cod, d * self.members)
        return Simple(family, params, lead, own, inner)


def _events(family: Family, cod: Object, d: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Own event and family event of a kernel's value."""
    if family.event_rank == 2:
        size = _matrix_size(cod)
        return (), (size, size)
    if family.event_rank == 1:
        return (), (d,)
    return ((), ()) if is_finite(cod) else ((d,), ())


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


def _vector(x: Tensor, lead: tuple[int, ...]) -> Tensor:
    """An index read as a number becomes one column (3.5)."""
    if x.is_floating_point():
        return x
    del lead
    return x.to(torch.get_default_dtype()).unsqueeze(-1)


def _behind(x: Tensor, depth: int, lead: int, event: int, *, side: bool) -> Tensor:
    """``(*K, *s, *lead, e)`` to ``(*s, [1], *K, *lead, e)``, as the weights have their axes.

    ``*K`` are branch axes; weights have ``depth`` stack axes, and one of members if ``side``.
    """
    front = x.ndim - lead - event  # branch and stack axes that x has
    if depth:
        if front < depth:
            x = x.reshape((*((1,) * (depth - front)), *x.shape))
            front = depth
        branches = front - depth
        if branches:
            x = x.movedim(tuple(range(branches)), tuple(range(depth, front)))
    return x.unsqueeze(depth) if side else x


def _restore(raw: Tensor, x: Tensor, depth: int, lead: int, event: int, *, side: bool) -> Tensor:
    """Undo `_behind` on a result ``(*s, [k], *K, *lead, P)``: ``(*K, *s, *lead, [k], P)``."""
    if side:
        raw = raw.movedim(depth, -2)
    branches = x.ndim - lead - event - depth if depth else 0
    if branches > 0:
        raw = raw.movedim(tuple(range(depth, depth + branches)), tuple(range(branches)))
    return raw


def _rows_of(table: Tensor, index: Tensor, depth: int, lead: int, _event: int) -> Tensor:
    """Rows of a table ``(*s, n, d)`` at indices ``(*K, *s, *lead)``."""
    at = _behind(index, depth, lead, 0, side=False)
    rows = apply_network("lookup", {"table": table}, at)
    return _restore(rows, index, depth, lead, 0, side=False)


def tensor_names(morphism: Morphism) -> tuple[str, ...]:
    """The names of a morphism's tensors, in order."""
    if morphism.role is Role.EMBED:
        return ("centers", "log_sigma")
    if morphism.family is None:
        return ("logits",)
    row = FAMILIES[morphism.family]
    raw = raw_width(row, _size(morphism.cod), _settings(morphism), _matrix_size(morphism.cod))
    return tuple(spec.name for spec in _network(morphism, raw))


def batchable(morphism: Morphism) -> bool:
    """Whether members of a group of this morphism are evaluated as one batched product."""
    if morphism.family is None or morphism.source is None or is_finite(morphism.cod):
        return False
    row = FAMILIES[morphism.family]
    kinds = {SourceKind.MLP, SourceKind.LINEAR, SourceKind.LOOKUP}
    family = row if row.kernel_family is None else FAMILIES[row.kernel_family]
    scalars = all(not p.rank for p in kernel_parameters(row))
    return morphism.source.kind in kinds and not family.event_rank and scalars
