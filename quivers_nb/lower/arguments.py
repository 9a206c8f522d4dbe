"""Step arguments: from names, gathers and literals to the parameters of a distribution.

Left-over axes of an argument are its own axes minus what the family or kernel consumes as one
value (R4). They are matched to the factors of a plate by the object that made them, or aligned from
the right where they have no name (R11).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.matrices import as_matrix, is_matrix
from quivers_nb.lower.scope import Scope, check_range, lookup
from quivers_nb.lower.values import Names, Readable, Value, align, gather, join_names
from quivers_nb.spaces.family import Clamp, Family, Parameter
from quivers_nb.spaces.space import Object, ProductSet, Space, factors, is_finite, width
from quivers_nb.spaces.support import REAL

EPS = 1e-7
SHAPE_FLOOR = 0.1


@lru_cache(maxsize=4096)
def scalar(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A shared 0-d tensor for a literal."""
    return torch.tensor(value, dtype=dtype, device=device)


def read_argument(arg: ir.Argument, scope: Scope) -> Readable:
    """One argument as a number or a value."""
    match arg:
        case ir.Literal(value=value):
            return value
        case ir.Variable(name=name):
            return _number_like(lookup(name, scope.env), name)
        case ir.Indexed(base=base, indices=indices):
            source = _number_like(lookup(base.name, scope.env), base.name)
            if not isinstance(source, Value):
                raise UserError(f"`{base.name}` is one number and cannot be indexed")
            picks = [_number_like(lookup(i.name, scope.env), i.name) for i in indices]
            if scope.run.checked:
                check_range(base.name, source, picks, [i.name for i in indices])
            return gather(source, picks)


def _number_like(value: Any, name: str) -> Readable:
    if isinstance(value, Value | int | float):
        return value
    raise UserError(f"`{name}` is {type(value).__name__}, but a number is wanted here")


# --- family parameters --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter's value, how many of its last own axes are its event, and what it is called."""

    value: Value
    rank: int
    label: str = ""

    @property
    def names(self) -> Names:
        return self.value.names[: len(self.value.names) - self.rank]

    @property
    def left_over(self) -> tuple[int, ...]:
        shape = self.value.own_shape
        return shape[: len(shape) - self.rank]

    @property
    def event(self) -> tuple[int, ...]:
        shape = self.value.own_shape
        return shape[len(shape) - self.rank :]


def family_params(
    call: ir.FamilyCall, family: Family, scope: Scope, event_size: int | None
) -> list[Param]:
    """The parameters of an inline family, clamped (7.3)."""
    out = []
    for arg, parameter in zip(call.args, family.parameters, strict=True):
        if isinstance(arg, tuple):
            value = _vector_of(arg, scope, call.family)
        else:
            value = _tensor_value(read_argument(arg, scope), parameter, scope, call.family)
        param = _as_param(value, parameter, scope, event_size, call)
        out.append(replace(param, label=_label(arg, parameter)))
    return out


def number_param(
    arg: ir.Argument | tuple[ir.Argument, ...],
    scope: Scope,
    owner: str,
    clamp: Clamp,
    rank: int = 0,
) -> Param:
    """A number (or vector) of a measure operator, read like a parameter of a family."""
    parameter = Parameter("weights" if rank else "number", REAL, rank, clamp)
    if isinstance(arg, tuple):
        return Param(_vector_of(arg, scope, owner), 1, parameter.name)
    value = _tensor_value(read_argument(arg, scope), parameter, scope, owner)
    if value.own_rank < rank:
        raise UserError(
            f"the weights of a Mixture are a vector, but the value given has own shape "
            f"{value.own_shape} (in `{scope.path}`)"
        )
    return Param(value, rank, _label(arg, parameter))


def _label(arg: ir.Argument | tuple[ir.Argument, ...], parameter: Parameter) -> str:
    """What a message calls the argument: the name that was written, else the parameter's."""
    if isinstance(arg, ir.Variable):
        return arg.name
    return arg.base.name if isinstance(arg, ir.Indexed) else parameter.name


def _vector_of(numbers: tuple[ir.Argument, ...], scope: Scope, family: str) -> Value:
    """Single numbers as one vector, row-wise if one of them is."""
    run = scope.run
    values: list[Readable] = []
    for number in numbers:
        value = read_argument(number, scope)
        if isinstance(value, Value):
            value = value.read()
            if value.own_rank:
                raise UserError(
                    f"the arguments of {family} in `{scope.path}` are single numbers that form a "
                    f"vector, but one has own shape {value.own_shape}"
                )
        values.append(value)
    tensors, _, rows, _ = align(values)
    floats = [
        t.to(run.dtype) if isinstance(t, Tensor) else scalar(float(t), run.dtype, run.device)
        for t in tensors
    ]
    vector = torch.stack(list(torch.broadcast_tensors(*floats)), -1)
    return Value(vector, (None,), rows, run.batch_rank)


def _tensor_value(value: Readable, parameter: Parameter, scope: Scope, family: str) -> Value:
    run = scope.run
    if isinstance(value, int | float):
        tensor = scalar(_clamp_number(float(value), parameter.clamp), run.dtype, run.device)
        return Value(tensor, (), rows=False, batch_rank=run.batch_rank)
    keep_unit = parameter.rank > 0
    read = value if keep_unit else value.read()
    tensor = read.tensor if read.tensor.is_floating_point() else read.tensor.to(run.dtype)
    if tensor.dtype != run.dtype:
        tensor = tensor.to(run.dtype)
    del family
    clamped = _clamp(tensor, parameter.clamp)
    return Value(clamped, read.names, read.rows, read.batch_rank, taken=read.taken)


def _clamp_number(value: float, clamp: Clamp) -> float:
    match clamp:
        case Clamp.POSITIVE:
            return max(value, EPS)
        case Clamp.SHAPE:
            return max(value, SHAPE_FLOOR)
        case Clamp.PROBABILITY:
            return min(max(value, EPS), 1.0 - EPS)
        case Clamp.NONE:
            return value


def _clamp(tensor: Tensor, clamp: Clamp) -> Tensor:
    match clamp:
        case Clamp.POSITIVE:
            return tensor.clamp_min(EPS)
        case Clamp.SHAPE:
            return tensor.clamp_min(SHAPE_FLOOR)
        case Clamp.PROBABILITY:
            return tensor.clamp(EPS, 1.0 - EPS)
        case Clamp.NONE:
            return tensor


def _as_param(
    value: Value, parameter: Parameter, scope: Scope, event_size: int | None, call: ir.FamilyCall
) -> Param:
    if parameter.rank == 1 and value.own_rank == 0 and event_size is not None:
        spread = value.tensor.unsqueeze(-1).expand((*value.tensor.shape, event_size))
        value = Value(spread, (None,), value.rows, value.batch_rank)
    value = as_matrix(value, parameter, event_size)
    if value.own_rank < parameter.rank:
        raise UserError(
            f"`{parameter.name}` of {call.family} is "
            f"{'a vector' if parameter.rank == 1 else 'a matrix'}, but the value given has own "
            f"shape {value.own_shape} (in `{scope.path}`)"
        )
    return Param(value, parameter.rank)


def any_rows(params: Sequence[Param]) -> bool:
    """Whether any parameter is row-wise."""
    return any(param.value.rows for param in params)


def broadcast_left_over(params: Sequence[Param], where: str) -> tuple[Names, tuple[int, ...]]:
    """The common left-over axes of parameters, aligned from the right: names and shape."""
    names = join_names([param.names for param in params])
    shape = [1] * len(names)
    for param in params:
        for k, size in enumerate(reversed(param.left_over), start=1):
            if size != 1 and shape[-k] not in (1, size):
                shown = " and ".join(str(p.left_over) for p in params if p.left_over)
                raise UserError(
                    f"the arguments of `{where}` have own shapes {shown}: they do not align"
                )
            shape[-k] = max(shape[-k], size)
    return names, tuple(shape)


def match_to_factors(param: Param, axes: Sequence[str | None], where: str) -> Param:
    """Bring left-over axes into the order of a plate's factors, by the object that made them."""
    param = _without_units(param, len(axes))
    names, value = param.names, param.value
    if not names or names == tuple(axes):
        return param
    if len(names) <= len(axes) and all(n is None for n in names):
        return param
    known = [n for n in names if n is not None]
    if len(set(axes)) != len(axes) or len(set(known)) != len(known) or None in names:
        return param
    if any(name not in axes for name in names):
        odd = next(name for name in names if name not in axes)
        raise UserError(
            f"an argument of `{where}` has an axis over {odd}, but `{where}` is indexed by "
            f"{' * '.join(str(a) for a in axes)}. Index it with a gather, name[i], or a factor"
        )
    order = [names.index(axis) for axis in axes if axis in names]
    front, count = value.front, len(names)
    tensor = value.tensor.permute(
        *range(front), *(front + k for k in order), *range(front + count, value.tensor.ndim)
    )
    shape: list[int] = []
    picked: list[str | None] = []
    sizes = iter(tensor.shape[front : front + count])
    started = False
    for axis in axes:
        if axis in names:
            shape.append(next(sizes))
            picked.append(axis)
            started = True
        elif started:
            shape.append(1)
            picked.append(None)
    tensor = tensor.reshape((*tensor.shape[:front], *shape, *tensor.shape[front + count :]))
    event_names = value.names[count:]
    matched = Value(tensor, (*picked, *event_names), value.rows, value.batch_rank)
    return replace(param, value=matched)


def _without_units(param: Param, rank: int) -> Param:
    """Without the nameless axes of length 1 that stand in front of as many as a plate has (7.5)."""
    extra, value = len(param.names) - rank, param.value
    units = all(size == 1 for size in param.left_over[: max(extra, 0)])
    if extra <= 0 or not units or any(name is not None for name in param.names[:extra]):
        return param
    tensor = value.tensor.flatten(value.front, value.front + extra)
    return replace(param, value=replace(value, tensor=tensor, names=value.names[extra:]))


def place(param: Param, own_rank: int, *, rows: bool) -> Tensor:
    """The tensor as ``(*s, *b?, *own, *event)`` with singletons where it lacks axes."""
    value = param.value
    missing = own_rank - len(param.names)
    tensor, lead, front = value.tensor, value.lead, value.front
    need_rows = rows and not value.rows
    if lead == 0 and not value.rows and (param.rank == 0 or missing == 0):
        return tensor
    ones = (1,) * value.batch_rank if need_rows and (lead or missing) else ()
    shape = tensor.shape
    if not missing and not ones:
        return tensor
    return tensor.reshape(
        (*shape[:lead], *ones, *shape[lead:front], *((1,) * missing), *shape[front:])
    )


# --- kernel inputs ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KernelInput:
    """An input ``(*s, *b?, *left_over, d?)`` of a node; ``rows`` says whether b is there."""

    tensor: Tensor
    names: Names
    left_over: tuple[int, ...]
    rows: bool


def kernel_input(
    args: Sequence[ir.Argument], dom: Object, scope: Scope, *, force_rows: bool
) -> KernelInput:
    """Concatenate the arguments of a declared morphism (7.3) into what its domain reads."""
    values = [_kernel_value(read_argument(arg, scope)) for arg in args]
    sizes = _consumed(values, dom, scope)
    consumed = [_vector(v, size) for v, size in zip(values, sizes, strict=True)]
    rows = force_rows or any(v.rows for v in values)
    names = join_names([v.names[:-1] for v in consumed])
    lead = max(v.lead for v in consumed)
    tensors = [_front(v, len(names), rows, lead) for v in consumed]
    shapes = [t.shape[:-1] for t in tensors]
    full = tuple(max(s[k] for s in shapes) for k in range(len(shapes[0])))
    run = scope.run
    if rows:
        full = (*full[:lead], *run.batch_shape, *full[lead + run.batch_rank :])
    whole = is_finite(dom)
    cast = [t.long() if whole else t.to(run.dtype) for t in tensors]
    wanted, total = width(dom), sum(t.shape[-1] for t in cast)
    if total != wanted:
        shown = " + ".join(str(t.shape[-1]) for t in cast)
        raise UserError(
            f"the arguments in `{scope.path}` are {shown} numbers wide, but the morphism reads "
            f"{wanted} ({dom})"
        )
    joined = torch.cat([t.expand((*full, t.shape[-1])) for t in cast], dim=-1)
    if whole and width(dom) == 1:
        joined = joined.squeeze(-1)
    front = lead + (run.batch_rank if rows else 0)
    return KernelInput(joined, names, tuple(full[front:]), rows)


def _kernel_value(value: Readable) -> Value:
    if isinstance(value, Value):
        return value
    raise UserError("a literal cannot be an argument of a declared morphism")


def _consumed(values: Sequence[Value], dom: Object, scope: Scope) -> list[int]:
    """Columns each argument contributes; 0 means it is a scalar that becomes one column."""
    parts = factors(dom)
    if len(values) == len(parts):
        wanted = [width(part) for part in parts]
        finite = [is_finite(part) for part in parts]
    else:
        wanted = [v.own_shape[-1] if v.own_rank else 1 for v in values]
        finite = [False] * len(values)
    if len(values) == 1:
        wanted, finite = [width(dom)], [is_finite(dom) and not isinstance(dom, ProductSet)]
    out = []
    for value, want, index in zip(values, wanted, finite, strict=True):
        last = value.own_shape[-1] if value.own_rank else None
        if not index and (last == want or is_matrix(value, want)):
            out.append(want)
        elif want == 1:
            out.append(0)
        else:
            raise UserError(
                f"an argument in `{scope.path}` has own shape {value.own_shape}, but the morphism "
                f"reads {want} numbers there"
            )
    return out


def _vector(value: Value, columns: int) -> Value:
    if columns and value.own_shape[-1] == columns:
        return value
    if columns:
        return replace(value, tensor=value.tensor.flatten(-2), names=value.names[:-1])
    read = value.read()
    return Value(read.tensor.unsqueeze(-1), (*read.names, None), read.rows, read.batch_rank)


def _front(value: Value, own: int, rows: bool, lead: int) -> Tensor:
    """``(*s, *b?, *own, d)`` with explicit singleton axes."""
    shape, have, front = value.tensor.shape, value.lead, value.front
    missing = own - (value.own_rank - 1)
    ones = (1,) * value.batch_rank if rows and not value.rows else ()
    return value.tensor.reshape(
        (
            *((1,) * (lead - have)),
            *shape[:have],
            *ones,
            *shape[have:front],
            *((1,) * missing),
            *shape[front:],
        )
    )


def event_of(space: Object | None) -> tuple[int, ...]:
    """Own event of a value declared to lie in a space."""
    return (space.dim,) if isinstance(space, Space) else ()


Sizes = Mapping[str, int]
