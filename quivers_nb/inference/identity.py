"""What a density depends on, as a digest: by it a compiled density is known again.

An open target that is `Identified` names its owner, which never changes, and everything else that
its density is a function of: data, weights, sizes, dtype. Values count, not objects, so a tensor
that was written into makes another digest, and a new one with the same numbers the same.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from quivers_nb.inference.origin import Origin

GREATEST = 64 << 20  # bytes of numbers; beyond, reading them costs what a compilation does
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, np.generic, Enum)


@runtime_checkable
class Identified(Protocol):
    """An open target that can say what its density is a function of."""

    def identity(self) -> tuple[object, object]:
        """The owner (hashed by identity, can be referenced weakly), and all that may change."""
        ...

    @property
    def origin(self) -> Origin:
        """What the owner is made from: equal ones are the same program in every process."""
        ...


class _UnknownError(Exception):
    """Something whose value cannot be read."""


def digest(value: object) -> bytes | None:
    """Equal for equal values only; None where there is something that has no readable value.

    Reads plain values, tensors and arrays, dataclasses, and containers of these.
    """
    hasher = hashlib.blake2b(digest_size=24)
    try:
        _feed(hasher, value, [GREATEST])
    except _UnknownError:
        return None
    return hasher.digest()


def _feed(hasher: Any, value: object, room: list[int]) -> None:
    if value is None or isinstance(value, _PLAIN):
        _tell(hasher, value, repr(value))
    elif isinstance(value, Tensor):
        _feed_array(hasher, _readable(value), f"{value.dtype} {tuple(value.shape)}", room)
    elif isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise _UnknownError
        _feed_array(hasher, value, f"{value.dtype} {value.shape}", room)
    else:
        parts = _parts(value)
        _tell(hasher, value, str(len(parts)))
        for part in parts:
            _feed(hasher, part, room)


def _tell(hasher: Any, value: object, text: str) -> None:
    kind = type(value)
    body = text.encode()
    hasher.update(f"{kind.__module__}.{kind.__qualname__} {len(body)} ".encode() + body)


def _parts(value: object) -> list[object]:
    """What a compound value consists of, in an order that equal values share."""
    if type(value) in (list, tuple, torch.Size):
        return list(value)  # type: ignore[call-overload,no-any-return]
    if isinstance(value, Mapping):
        return [part for pair in value.items() for part in pair]
    if type(value) in (set, frozenset):
        each = [digest(part) for part in value]  # type: ignore[attr-defined]
        known = [found for found in each if found is not None]
        if len(known) < len(each):
            raise _UnknownError
        return [*sorted(known)]
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    raise _UnknownError


def _readable(tensor: Tensor) -> np.ndarray[Any, Any]:
    plain = type(tensor) in (Tensor, Parameter) and tensor.layout is torch.strided
    if not plain or tensor.device.type != "cpu" or tensor.is_conj() or tensor.is_neg():
        raise _UnknownError
    if tensor.numel() * tensor.element_size() > GREATEST:
        raise _UnknownError
    if not tensor.numel():  # which has no bytes to view, whatever its strides
        return np.empty(0, np.uint8)
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()


def _feed_array(hasher: Any, array: np.ndarray[Any, Any], what: str, room: list[int]) -> None:
    room[0] -= array.nbytes
    if room[0] < 0:
        raise _UnknownError
    _tell(hasher, array, what)
    hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
