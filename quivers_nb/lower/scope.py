"""Where an expression stands: names in scope, and how they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.run import Run
from quivers_nb.lower.values import Readable, Value
from quivers_nb.spaces.space import SizeVar

Env = Mapping[str, Any]  # name -> Readable, a list, or a function


@dataclass(frozen=True)
class Scope:
    """Where an expression stands: the run, names in scope, sizes of late-bound sets, a path."""

    run: Run
    env: Env
    sizes: Mapping[str, int]
    path: str

    def bind(self, name: str, value: Any) -> "Scope":
        """The scope with one more name (a binder or a lambda's parameter)."""
        return Scope(self.run, {**self.env, name: value}, self.sizes, self.path)


def lookup(name: str, env: Env) -> Any:
    """A bound name or host datum; absent host data is named with its way out (7.2)."""
    if name not in env:
        raise UserError(
            f"`{name}` is not bound by the program and was not given: pass it with the "
            f"observations, as {{'{name}': …}}"
        )
    return env[name]


def readable(value: Any, what: str) -> Readable:
    """``value`` as a number or a tensor value; ``what`` names the reader in the refusal."""
    if isinstance(value, Value | int | float):
        return value
    raise UserError(f"`{what}` works on numbers, not on {kind(value)}")


def kind(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, list):
        text = next((item for item in value if isinstance(item, str)), None)
        return "a list" if text is None else f"a list of text (it holds {text!r})"
    return "a function" if callable(value) else f"{type(value).__name__} `{value!r}`"


def check_range(name: str, base: Value, indices: Sequence[Readable], names: Sequence[str]) -> None:
    """Refuse an index that is not whole or outside ``0 … n-1``, naming its data and first entry."""
    for axis, (index, who) in enumerate(zip(indices, names, strict=True)):
        if axis >= base.own_rank:
            return
        size = base.own_shape[axis]
        bad = _first_bad(index, size)
        if bad is not None:
            shown = f"`{who}` holds {bad:g}, which" if who else f"{bad:g}"
            fault = "is not a whole number" if bad != int(bad) else f"is outside 0 … {size - 1}"
            raise UserError(f"{shown} {fault}: it indexes axis {axis} of `{name}`")


def _first_bad(index: Readable, size: int) -> float | None:
    if not isinstance(index, Value):
        return None if 0 <= index < size else float(index)
    tensor = index.tensor
    bad = (tensor < 0) | (tensor >= size)
    if tensor.is_floating_point():
        bad = bad | (tensor != tensor.round())
    return float(tensor[bad].reshape(-1)[0]) if bool(bad.any()) else None


def axis_size(axis: ir.Axis, sizes: Mapping[str, int]) -> int:
    """The length of an axis, once late-bound sizes are known (R8)."""
    size = axis.obj.size
    if not isinstance(size, SizeVar):
        return size
    if size.name not in sizes:
        raise UserError(
            f"the size `{size.name}` is not known: give data over it, or fix it, as in "
            f"`model.with_sizes({size.name}=100)` or `Predictive(…, sizes={{'{size.name}': 100}})`"
        )
    return sizes[size.name]
