"""Chains between two transitions as arrays, so that a run can go on where it was left.

Values are trees of a few frozen classes, with arrays at their ends: the arrays go as they are, the
trees as JSON, whose numbers are exact.

Law (``tests/session/test_checkpoint.py``): a run that is restored from any snapshot draws what the
uninterrupted run draws, bit for bit.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from quivers_nb.inference.mcmc.adaptation import DiagonalWindow, MetricKind, Moments, Rows
from quivers_nb.inference.mcmc.chain import Begun, Chain, Transition
from quivers_nb.inference.mcmc.integrator import Point
from quivers_nb.inference.mcmc.kernel import Stats
from quivers_nb.inference.mcmc.metric import Dense, Diagonal, Identity, LowRank
from quivers_nb.inference.mcmc.warmup import DualAveraging, Tuning

Arrays = Mapping[str, NDArray[Any]]
Row = tuple[NDArray[Any], Stats]

_KNOWN: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        *(Begun, Dense, Diagonal, DiagonalWindow, DualAveraging, Identity, LowRank),
        *(MetricKind, Moments, Point, Rows, Tuning),
    )
}


@runtime_checkable
class Keeper(Protocol):
    """A watch that keeps snapshots, and may have one to go on from.

    ``keep`` is called between transitions and takes the snapshot only when it wants one, and in
    any case when it is the ``last``. ``saved`` is that of a ``kind`` of engine, None to begin anew;
    ``rows`` are the finished transitions of a chain, which the engine puts where it would have put
    them.
    """

    def keep(self, kind: str, take: Callable[[], Arrays], *, last: bool) -> None: ...
    def saved(self, kind: str) -> Arrays | None: ...
    def rows(self, chain: int) -> Sequence[Row]: ...


def take(chains: Sequence[Chain]) -> dict[str, NDArray[Any]]:
    """Chains as arrays, each where its work under way began."""
    arrays: list[NDArray[Any]] = []
    trees = [_pack((chain.point, chain.draws, chain.begun), arrays) for chain in chains]
    text = np.frombuffer(json.dumps(trees).encode(), dtype=np.uint8).copy()
    return {"trees": text, **{str(k): array for k, array in enumerate(arrays)}}


def restore(arrays: Arrays, transition: Transition, rngs: Sequence[Generator]) -> tuple[Chain, ...]:
    """The chains that `take` took; ``rngs`` are brought to where they were."""
    trees = json.loads(arrays["trees"].tobytes())
    made = [_unpack(tree, arrays) for tree in trees]
    return tuple(
        transition.again(point, draws, begun, rng)
        for (point, draws, begun), rng in zip(made, rngs, strict=True)
    )


def _pack(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """A value as JSON has it; arrays are put aside."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    name = type(value).__name__
    if _KNOWN.get(name) is type(value):
        return {"is": name, "of": [_pack(part, arrays) for part in _parts(value)]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(part, arrays) for part in value]}
    if isinstance(value, Mapping):
        return {"plain": value}
    return value.item() if isinstance(value, np.generic) else value


def _parts(value: Any) -> list[Any]:
    """What a named tuple or a frozen dataclass is made of, in order."""
    if isinstance(value, tuple):
        return list(value)
    return [getattr(value, each.name) for each in fields(value)]


def _unpack(tree: Any, arrays: Arrays) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[str(tree["array"])]
    if "plain" in tree:
        return tree["plain"]
    if "tuple" in tree:
        return tuple(_unpack(part, arrays) for part in tree["tuple"])
    return _KNOWN[tree["is"]](*(_unpack(part, arrays) for part in tree["of"]))
