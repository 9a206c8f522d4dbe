"""Compiled densities, known again when the same model is run once more.

What the compiled function folded into constants is a function of the target's identity (its
program, and a digest of its data, weights and sizes, see `inference.identity`), so the same
identity is the same function, and anything else is compiled anew. Its arrays are copies: nobody
else can write into them.
"""

import weakref
from collections import OrderedDict
from collections.abc import MutableMapping
from dataclasses import replace
from threading import Lock

import torch

from quivers_nb.inference.identity import GREATEST, Identified, digest
from quivers_nb.inference.native.function import NativeFunction, aligned_copy
from quivers_nb.inference.native.index import enter, find
from quivers_nb.inference.native.toolchain import environment
from quivers_nb.inference.target import Target

MOST = 4  # functions of one program

_Functions = OrderedDict[bytes, NativeFunction]
_KEPT: MutableMapping[object, _Functions] = weakref.WeakKeyDictionary()
_LOCK = Lock()


def recall(target: Target) -> NativeFunction | None:
    """The function that was made for this very density, in this process or an earlier one."""
    known = _identity(target)
    if known is None:
        return None
    owner, key = known
    with _LOCK:
        functions = _KEPT.get(owner)
        if functions is not None and key in functions:
            functions.move_to_end(key)
            return functions[key]
    function = find(key)
    if function is not None:
        _remember(owner, key, function)
    return function


def keep(target: Target, function: NativeFunction) -> None:
    """Keep what was compiled for ``target``, as long as its program lives; large data are not."""
    if sum(array.nbytes for array in function.data) > GREATEST:
        return
    known = _identity(target)
    if known is None:
        return
    owner, key = known
    own = replace(function, data=tuple(map(aligned_copy, function.data)))
    _remember(owner, key, own)
    enter(key, own)


def _remember(owner: object, key: bytes, function: NativeFunction) -> None:
    with _LOCK:
        functions = _KEPT.setdefault(owner, OrderedDict())
        functions[key] = function
        while len(functions) > MOST:
            functions.popitem(last=False)


def _identity(target: Target) -> tuple[object, bytes] | None:
    """The owner, and the digest of all that the density is a function of."""
    source = target.source
    if not isinstance(source, Identified):
        return None
    owner, own = source.identity()
    facts = (own, source.origin, target.row_weight, torch.get_default_dtype(), environment())
    key = digest(facts)
    return None if key is None else (owner, key)
