"""How runs are kept and gone on with: what of a chain and of an optimiser goes into a file.

What is read back takes the way that new numbers take, so a log, a result and a live view know no
difference. Law (``tests/session/test_checkpoint.py``): a run that was killed and is gone on with
gives what an uninterrupted one gives, bit for bit. A fit with a checkpoint compiles no single
steps, so the last digits of a long fit without one may be others.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.mcmc.kernel import Stats
from quivers_nb.inference.mcmc.snapshot import Arrays, Row
from quivers_nb.inference.vi.fused import unwrapped
from quivers_nb.inference.vi.svi import SVI
from quivers_nb.session.checkpoint import Checkpoint, Tensors
from quivers_nb.session.log import DrawLog, LossLog
from quivers_nb.session.state import Control

_WHOLE = {"leapfrogs", "depth"}


# --- chains ---------------------------------------------------------------------------------------


class KeptChains:
    """A run of chains and its checkpoint; the state is read once, when the run begins."""

    def __init__(self, checkpoint: Checkpoint, log: DrawLog, warmup: int) -> None:
        self._checkpoint, self._log, self._warmup = checkpoint, log, warmup
        self._found = checkpoint.read()

    def keep(self, kind: str, take: Callable[[], Arrays], control: Control, *, last: bool) -> None:
        """Write, if it is time. What cannot be written is noted, and the run goes on."""
        if not (last or self._checkpoint.due):
            return
        if not self._log.complete:
            control.note("no checkpoint: draws of this size are kept once only")
            return
        tensors = {f"state/{name}": _tensor(value) for name, value in take().items()}
        for chain in range(len(self._log.counts)):
            tensors |= self._rows(chain)
        _write(self._checkpoint, tensors, {"kind": kind}, control)

    def _rows(self, chain: int) -> dict[str, Tensor]:
        stats = self._log.finished(chain)
        positions = self._log.positions_of(chain, 0, len(stats))
        table = np.array(stats, dtype=np.float64).reshape(-1, len(Stats._fields))
        found = {f"stats/{chain}": torch.from_numpy(table)}
        if positions:
            found[f"positions/{chain}"] = torch.from_numpy(np.stack(positions))
        return found

    def saved(self, kind: str) -> Arrays | None:
        """See `Keeper`. Raises `UserError` if another kind of engine wrote it."""
        if self._found is None:
            return None
        tensors, state = self._found
        if state["kind"] != kind:
            raise UserError(
                f"the checkpoint was written by the {state['kind']} engine and this run would use "
                f"the {kind} one: choose the tier that it was begun with"
            )
        return {
            name.removeprefix("state/"): value.numpy()
            for name, value in tensors.items()
            if name.startswith("state/")
        }

    def rows(self, chain: int) -> Sequence[Row]:
        """See `Keeper`."""
        assert self._found is not None  # `saved` was asked first
        tensors, _ = self._found
        table = tensors[f"stats/{chain}"].tolist()
        kept = tensors.get(f"positions/{chain}")
        positions: NDArray[Any] = np.empty((0, 0)) if kept is None else kept.numpy()
        nowhere = np.empty(0)  # positions of warm-up are not kept, and nobody asks for them
        return [
            (nowhere if n < self._warmup else positions[n - self._warmup], _stats(row))
            for n, row in enumerate(table)
        ]


def _stats(row: list[float]) -> Stats:
    named = dict(zip(Stats._fields, row, strict=True))
    whole = {name: int(named[name]) for name in _WHOLE}
    return Stats(**{**named, **whole, "diverged": bool(named["diverged"])})  # type: ignore[arg-type]


# --- optimisers -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeptSteps:
    """A variational run and its checkpoint."""

    checkpoint: Checkpoint
    log: LossLog
    generator: Generator

    def keep(
        self, svi: SVI, fitted: Mapping[str, Tensor], control: Control, *, last: bool = False
    ) -> None:
        """Write, if it is time. What cannot be written is noted, and the run goes on."""
        if not (last or self.checkpoint.due):
            return
        tensors = {f"fitted/{name}": value for name, value in fitted.items()}
        tensors["losses"] = torch.from_numpy(self.log.losses(self.log.counts))
        tensors["generator"] = self.generator.get_state()
        state = unwrapped(svi.optim, "state_dict")
        for key, values in state["state"].items():
            numbers = {n: v for n, v in values.items() if isinstance(v, Tensor)}
            tensors |= {f"optim/{key}/{name}": value for name, value in numbers.items()}
        plain = {"groups": state["param_groups"], "scheduler": _plain(svi.scheduler)}
        _write(self.checkpoint, tensors, plain, control)

    def restore(self, svi: SVI, fitted: Mapping[str, Tensor]) -> None:
        """Bring everything to where the checkpoint is; nothing, if there is none."""
        found = self.checkpoint.read()
        if found is None:
            return
        tensors, state = found
        with torch.no_grad():
            for name, value in fitted.items():
                value.copy_(tensors[f"fitted/{name}"])
        self.generator.set_state(tensors["generator"])
        known = {"state": dict(_optim(tensors)), "param_groups": _groups(state["groups"])}
        unwrapped(svi.optim, "load_state_dict", known)
        if svi.scheduler is not None:
            svi.scheduler.load_state_dict({**svi.scheduler.state_dict(), **state["scheduler"]})
        for loss in tensors["losses"].tolist():
            self.log.add(loss)


def _optim(tensors: Tensors) -> Iterator[tuple[int, dict[str, Tensor]]]:
    by_key: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optim/"):
            _, key, field = name.split("/")
            by_key.setdefault(int(key), {})[field] = value.clone()
    yield from by_key.items()


def _groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """JSON has no tuples."""
    return [
        {name: tuple(v) if isinstance(v, list) and name != "params" else v for name, v in g.items()}
        for g in groups
    ]


def _plain(scheduler: Any) -> dict[str, Any]:
    """What of a schedule's state JSON can say; the rest is made anew with the schedule."""
    if scheduler is None:
        return {}
    found = {}
    for name, value in scheduler.state_dict().items():
        try:
            json.dumps(value)
        except TypeError:
            continue
        found[name] = value
    return found


def _write(
    checkpoint: Checkpoint, tensors: Tensors, state: Mapping[str, Any], control: Control
) -> None:
    try:
        checkpoint.write(tensors, state)
    except UserError as error:
        control.note(f"no checkpoint: {error}")


def _tensor(value: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value))
