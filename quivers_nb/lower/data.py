"""Observations and host data: from what people have to tensors, checked before a run (R10, R11).

Values may be tensors, numpy arrays, pandas columns, lists or numbers. Every key must be used by the
program: a site, a let, a score, or host data; anything else is an error with the nearest name.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.inference.options import names_in
from quivers_nb.lower.frame import CompiledProgram, every_step, is_anonymous
from quivers_nb.lower.numbers import as_numbers, first, refuse_reordered
from quivers_nb.lower.values import Names, Value
from quivers_nb.spaces.space import UNIT, Object, SizeVar, Space, is_finite

MOST_NAMES = 12  # listed in a message
_NUMBERS = (Tensor, int, float, list, tuple, range)
STEP = re.compile(r"(?<=/)\[\d+\](?=/|$)")  # one step of a scan in a site's path


@dataclass(frozen=True)
class Prepared:
    """Observations sorted out: values of sites by path, host data and given lets, sizes."""

    sites: Mapping[str, Tensor]
    host: Mapping[str, Any]
    sizes: Mapping[str, int]
    givers: Mapping[str, str] = field(default_factory=dict)  # late size -> the data that fixed it


@dataclass(frozen=True)
class Vocabulary:
    """Which keys a program understands."""

    sites: frozenset[str]
    lets: frozenset[str]
    host: frozenset[str]
    declared: Mapping[str, ir.DataSpec] = field(default_factory=dict)


def vocabulary(
    compiled: CompiledProgram, middles: frozenset[str], data: tuple[ir.DataSpec, ...]
) -> Vocabulary:
    """Collect keys from a program and the programs it uses as whole steps."""
    sites, lets, host = set(middles), set[str](), set[str]()
    for prefix, each in _activations(compiled, ""):
        host.update(each.program.host_names)
        for step in every_step(each.steps):
            if isinstance(step, ir.SampleStep):
                names = step.names if len(step.names) > 1 else _named(step.names[0])
                sites.update(prefix + name for name in names)
            elif isinstance(step, ir.ObserveStep):
                sites.update(prefix + name for name in _named(step.name))
            else:
                computed = isinstance(step, ir.MarginalizeStep)
                lets.add(f"{prefix}_marg_{step.name}" if computed else prefix + step.name)
    declared = {spec.name: spec for spec in data}
    return Vocabulary(frozenset(sites), frozenset(lets), frozenset(host | set(declared)), declared)


def _named(name: str) -> tuple[str, ...]:
    """The key of a step that binds one name; none for ``_``, which is never given."""
    return () if is_anonymous(name) else (name,)


def require_responses(
    compiled: CompiledProgram, prepared: Prepared, missing: Collection[str]
) -> None:
    """Every observe step has a value in a fit (R10), those of programs that are steps by path."""
    names = {
        prefix + step.name
        for prefix, each in _activations(compiled, "")
        for step in every_step(each.steps)
        if isinstance(step, ir.ObserveStep) and not is_anonymous(step.name)
    }
    for name in names_in("missing", missing):
        if name not in names:
            there = ", ".join(f"`{each}`" for each in sorted(names)) or "none"
            raise UserError(f"missing={missing!r}: the program's observe sites are {there}")
    for name in sorted(names - {*missing, *prepared.sites}):
        raise UserError(
            f"the observe site `{name}` has no value: a fit needs one under this key, or "
            f"missing={{{name!r}}} to leave it out"
        )


def _activations(compiled: CompiledProgram, prefix: str) -> Iterator[tuple[str, CompiledProgram]]:
    yield prefix, compiled
    for index, sub in compiled.subs.items():
        step = compiled.steps[index]
        assert isinstance(step, ir.SampleStep)
        yield from _activations(sub, f"{prefix}{step.names[0]}/")


def prepare(
    values: Mapping[str, Any],
    words: Vocabulary,
    *,
    dtype: torch.dtype,
    device: torch.device,
    batch_rank: int,
    sizes: Mapping[str, int],
) -> Prepared:
    """Convert and check observations; see the module docstring."""
    sites: dict[str, Tensor] = {}
    host: dict[str, Any] = {}
    refuse_reordered(values)
    for key, value in values.items():
        if is_site(key, words):
            sites[key] = as_numbers(key, value, dtype, device, finite=True)
        elif key in words.host or key in words.lets:
            host[key] = _host_value(key, value, words, dtype, device, batch_rank)
        else:
            raise UserError(_unknown_key(key, words))
    known, givers = dict(sizes), dict[str, str]()
    for name, spec in words.declared.items():
        if name in host and isinstance(host[name], Value):
            _agree(known, givers, spec, host[name])
    return Prepared(sites, host, known, givers)


def is_site(key: str, words: Vocabulary) -> bool:
    """Whether a key is a site's, or that of one step of a scan in its path."""
    return key in words.sites or STEP.sub("[t]", key) in words.sites


def refuse_unknown(keys: Iterable[str], words: Vocabulary) -> None:
    """Names that the program does not have are an error with the nearest one (R10)."""
    for key in keys:
        if not is_site(key, words) and key not in words.host and key not in words.lets:
            raise UserError(_unknown_key(key, words))


def _unknown_key(key: str, words: Vocabulary) -> str:
    """What is said of a name that the program does not have."""
    known = sorted(words.sites | words.lets | words.host)
    inside = [name for name in known if name.endswith(f"/{key}")]  # of a cell or sub-program
    close = inside[0] if inside else nearest(key, known)
    names = [f"`{name}`" for name in known[:MOST_NAMES]] or ["nothing"]
    names += ["…"] * (len(known) > MOST_NAMES)
    hint = f"did you mean `{close}`?" if close else f"it knows {', '.join(names)}"
    return f"`{key}` is used by no site, let, score or index of the program; {hint}"


# --- conversion ---------------------------------------------------------------------------------


def _host_value(
    key: str,
    value: Any,
    words: Vocabulary,
    dtype: torch.dtype,
    device: torch.device,
    batch_rank: int,
) -> Any:
    if isinstance(value, Value):
        return value
    if key in words.declared and (_is_tokens(value) or isinstance(value, str)):
        raise UserError(
            f"`{key}` is declared with values in {words.declared[key].cod}, but holds text: turn "
            "categories into integer codes, for example with pandas.factorize"
        )
    if _is_tokens(value):
        return list(value)
    numbers = hasattr(value, "__array__") or isinstance(value, _NUMBERS)
    if not numbers and key not in words.declared:
        return value  # a host object, such as a chart or a dictionary
    tensor = as_numbers(key, value, dtype, device, finite=False)
    spec = words.declared.get(key)
    if spec is not None:
        return _declared(key, tensor, spec, dtype, batch_rank)
    unit = tensor.shape == (1,)
    names: Names = (None,) * tensor.ndim
    host = key if batch_rank else ""
    return Value(tensor, names, rows=False, batch_rank=batch_rank, unit=unit, host=host)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(
        not isinstance(v, int | float | list | tuple | bool | np.number | Tensor | np.ndarray)
        for v in value
    )


def _declared(
    key: str, tensor: Tensor, spec: ir.DataSpec, dtype: torch.dtype, batch_rank: int
) -> Value:
    """Data with a declaration: axes by the objects it is over, then the event of its type (R8)."""
    wide = _event(spec.cod)
    tensor = _matrices(tensor, wide)
    if wide == (1,) and tensor.ndim <= len(spec.axes):
        wide = ()  # numbers may come without a unit axis
    event = len(wide)
    if tensor.ndim == event and all(axis.obj == UNIT for axis in spec.axes):
        tensor = tensor.unsqueeze(0)  # data over the unit may come without its axis
    want = len(spec.axes) + event
    over = " * ".join(str(axis.name or axis.obj) for axis in spec.axes)
    if tensor.ndim != want:
        raise UserError(
            f"`{key}` is declared over {over} with values in {spec.cod}: {want} axes are wanted, "
            f"but it has shape {tuple(tensor.shape)}"
        )
    for k, axis in enumerate(spec.axes):
        size = axis.obj.size
        if not isinstance(size, SizeVar) and tensor.shape[k] != size:
            raise UserError(
                f"`{key}` is declared over {axis.name or axis.obj}, which has {size} elements, but "
                f"has length {tensor.shape[k]}"
            )
    if tensor.shape[tensor.ndim - event :] != wide:
        have, wanted = (" by ".join(map(str, shape)) for shape in (tensor.shape[-event:], wide))
        raise UserError(f"`{key}` has {have} columns, but {spec.cod} has {wanted}")
    tensor = _typed(key, tensor, spec, dtype)
    names = tuple(axis.name for axis in spec.axes) + (None,) * event
    if event and spec.axes[0].obj == UNIT:  # read without the unit's axis (R2)
        tensor, names = tensor.squeeze(0), names[1:]
    unit = tensor.shape[-1:] == (1,) and names[-1] is None
    return Value(tensor, names, rows=False, batch_rank=batch_rank, unit=unit)


def _event(cod: Object) -> tuple[int, ...]:
    """Axes of one value: of a matrix space two, of another space one, of a finite set none."""
    if not isinstance(cod, Space):
        return ()
    return cod.matrix_shape or (cod.dim,)


def _matrices(tensor: Tensor, event: tuple[int, ...]) -> Tensor:
    """Matrices that may have been given as flat rows (3.2)."""
    flat = len(event) == 2 and tensor.shape[-1:] == (prod(event),)
    return tensor.reshape((*tensor.shape[:-1], *event)) if flat else tensor


def _typed(key: str, tensor: Tensor, spec: ir.DataSpec, dtype: torch.dtype) -> Tensor:
    if not is_finite(spec.cod):
        return tensor.to(dtype)
    size = spec.cod.size  # type: ignore[union-attr]
    if tensor.is_floating_point():
        broken = tensor != tensor.round()
        if bool(broken.any()):
            place = first(broken)
            raise UserError(
                f"`{key}` must hold indices into {spec.cod}, but holds fractions (first "
                f"{float(tensor[tuple(place)]):g} at {place})"
            )
        tensor = tensor.long()
    if not isinstance(size, SizeVar):
        _refuse_outside(key, tensor, size, f"of {spec.cod}")
    return tensor


def _refuse_outside(key: str, tensor: Tensor, size: int, what: str) -> None:
    """Codes count from 0; -1 is what pandas has for a missing one."""
    bad = (tensor < 0) | (tensor >= size)
    if not bool(bad.any()):
        return
    place = first(bad)
    code = int(tensor[tuple(place)])
    hint = "codes count from 0"
    if int(tensor.min()) == -1:
        hint = "pandas codes missing values as -1: drop those rows"
    raise UserError(f"`{key}` holds {code}, outside 0 … {size - 1} {what} (at {place}): {hint}")


def _agree(known: dict[str, int], givers: dict[str, str], spec: ir.DataSpec, value: Value) -> None:
    """Fix late sizes by the first data over them; later data must agree (R8)."""
    for k, axis in enumerate(spec.axes):
        size = axis.obj.size
        if isinstance(size, SizeVar):
            fix_size(known, givers, size.name, int(value.tensor.shape[k]), spec.name)


def fix_size(
    known: dict[str, int], givers: dict[str, str], name: str, length: int, who: str
) -> None:
    """Give a late size its value, or refuse a second one."""
    if name not in known:
        known[name], givers[name] = length, who
    have = known[name]
    if have != length:
        by = f"that of `{givers[name]}`" if name in givers else "fixed before"
        raise UserError(
            f"`{who}` has length {length}, but the size `{name}` is already {have}, {by}: data and "
            "responses over one object must agree"
        )


def with_more_sizes(
    known: Mapping[str, int], given: Mapping[str, Any], late: Collection[str]
) -> dict[str, int]:
    """``known`` with more late sizes; see `Model.with_sizes`."""
    for name, size in given.items():
        if name not in late:
            close = nearest(name, late)
            there = ", ".join(late) or "none"
            hint = f"did you mean `{close}`?" if close else f"its late sizes: {there}"
            raise UserError(f"`{name}` is no late size of the program; {hint}")
        if not isinstance(size, int) or size < 1:
            raise UserError(f"the size `{name}` is {size!r}: a size is a whole number, at least 1")
        if known.get(name, size) != size:
            raise UserError(f"the size `{name}` is fixed at {known[name]} already, not {size}")
    return {**known, **given}


def responses_fix_sizes(program: ir.Program, prepared: Prepared) -> Prepared:
    """Observed values over a late-sized object fix its size as data do (R8)."""
    known, givers = dict(prepared.sizes), dict(prepared.givers)
    for step, plate in _observed_plates(program.steps, ()):
        response = prepared.sites.get(step.name)
        for k, axis in enumerate(plate):
            size = axis.obj.size
            if isinstance(size, SizeVar) and response is not None and k < response.ndim:
                fix_size(known, givers, size.name, int(response.shape[k]), step.name)
    return Prepared(prepared.sites, prepared.host, known, givers)


def _observed_plates(
    steps: Iterable[ir.Step], around: tuple[ir.Axis, ...]
) -> Iterator[tuple[ir.ObserveStep, tuple[ir.Axis, ...]]]:
    """Observes with the axes of their responses: their own plate's, or of the block around."""
    for step in steps:
        if isinstance(step, ir.ObserveStep):
            yield step, around if step.plate is None else step.plate
        elif isinstance(step, ir.MarginalizeStep):
            yield from _observed_plates(step.body, step.plate or ())
