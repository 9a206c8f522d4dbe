"""The program input: its batch shape and its components (ruling R1)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from quivers_nb.check import term as ir
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.lower.values import Value, surely_finite
from quivers_nb.spaces.space import Object, SizeVar, factors, is_finite, width


@dataclass(frozen=True, slots=True)
class Input:
    """A fitted input. ``one_row``: a program that never reads its input was given one row; its
    values and densities are then reported with a leading 1.
    """

    batch_shape: tuple[int, ...]
    raw: Value | None
    one_row: bool = False

    @property
    def advice(self) -> str:
        """What to try where the shape of a value does not fit."""
        if self.batch_shape and self.raw is None:
            return "; the program never reads its input: x=None runs it once for all data"
        return ""


def fit_input(
    program: ir.Program,
    x: object,
    dtype: torch.dtype,
    device: torch.device,
    *,
    checked: bool = True,
) -> Input:
    """Find the rows of ``x`` and bring it to the shape its domain has.

    Raises `UserError` when a program that reads its input gets None, when the last axis is not the
    domain's width, or when an index is out of range.
    """
    if x is None:
        if program.reads_input:
            raise UserError(
                f"`{program.name}` reads its input ({program.dom}), but x is None: pass a tensor "
                f"with one row per case"
            )
        return Input((), None)
    tensor = _tensor(program, x, device)
    if not program.reads_input:
        rows = int(tensor.shape[0]) if tensor.ndim else 1
        return Input((rows,), None) if rows > 1 else Input((), None, one_row=True)
    return _reading(program, tensor, dtype, checked=checked)


def _tensor(program: ir.Program, x: object, device: torch.device) -> Tensor:
    if isinstance(x, Mapping) or hasattr(x, "columns"):
        raise UserError(
            f"the input of `{program.name}` must be numbers for {program.dom}, not named columns: "
            "data go by name in the argument after it; the input is None for a program that never "
            "reads it"
        )
    try:
        return torch.as_tensor(x, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the input of `{program.name}` must be numbers for {program.dom}, not {x!r:.60}"
        ) from error


def _reading(program: ir.Program, x: Tensor, dtype: torch.dtype, *, checked: bool) -> Input:
    dom, sequence = program.dom, 1 if program.sequence else 0
    if is_finite(dom) and width(dom) == 1:
        return _indices(program, x, sequence, checked=checked)
    columns = width(dom)
    if x.ndim == 0 or x.shape[-1] != columns or (columns == 1 and x.ndim == 1 and not sequence):
        if columns != 1:
            raise UserError(
                f"the input of `{program.name}` has shape {tuple(x.shape)}, but its domain has "
                f"{columns} columns ({_columns_text(dom)})"
            )
        x = x.unsqueeze(-1)
    if sequence and x.ndim == 2:
        x = x.unsqueeze(-2)  # one position per row
    if checked:
        _check_columns(program, x)
    if x.is_floating_point() or (
        not all(is_finite(factor) for factor in factors(dom)) and not _mixed(dom)
    ):
        x = x.to(dtype)
    batch = tuple(x.shape[: x.ndim - 1 - sequence])
    names = (None,) * (1 + sequence)
    return Input(batch, Value(x, names, rows=bool(batch), batch_rank=len(batch)))


def _indices(program: ir.Program, x: Tensor, sequence: int, *, checked: bool) -> Input:
    """A single finite domain: the input's shape is the batch (and the sequence axis)."""
    if x.is_floating_point():
        if not bool((x == x.round()).all()):
            raise UserError(
                f"the input of `{program.name}` must be indices into {program.dom}, but holds "
                f"{float(x[x != x.round()][0]):g}"
            )
        x = x.long()
    if checked:
        _check_index(program, x, program.dom, "the input")
    if sequence and x.ndim == 1:
        x = x.unsqueeze(-1)
    batch = tuple(x.shape[: x.ndim - sequence])
    names = (None,) * sequence
    return Input(batch, Value(x.long(), names, rows=bool(batch), batch_rank=len(batch)))


def _check_columns(program: ir.Program, x: Tensor) -> None:
    start = 0
    for k, factor in enumerate(factors(program.dom)):
        if is_finite(factor):
            _check_index(program, x[..., start], factor, f"column {start} of the input")
        del k
        start += width(factor)
    if x.is_floating_point() and not surely_finite(x) and bool(x.isnan().any()):
        raise UserError(f"the input of `{program.name}` holds NaN")


def _check_index(program: ir.Program, x: Tensor, obj: Object, what: str) -> None:
    size = obj.size  # type: ignore[union-attr]
    if isinstance(size, SizeVar) or x.numel() == 0:
        return
    if bool(((x < 0) | (x >= size)).any()):
        low, high = float(x.min()), float(x.max())
        bad = int(low if low < 0 else high)
        raise UserError(f"{what} of `{program.name}` holds {bad}, outside 0 … {size - 1}")


def _mixed(dom: Object) -> bool:
    return any(is_finite(factor) for factor in factors(dom))


def _columns_text(dom: Object) -> str:
    return ", ".join(f"{factor}: {width(factor)}" for factor in factors(dom))
