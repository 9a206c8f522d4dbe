"""Checkpoints: a run's state in one file, and whether a file belongs to the run at hand.

A file holds tensors and a manifest, as those of `quivers_nb.inference.persist` do: it is complete
or not there, it is never unpickled, and what was altered or cut is refused. ``facts`` say which
run it is of (settings, seed, model text, data); that of another run is refused, and what differs is
named.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.files import digest, replacing
from quivers_nb.inference.model import Model, Values
from quivers_nb.inference.origin import origin_of
from quivers_nb.lower.numbers import as_array

FORMAT = "quivers-nb run 1"
EVERY = 10.0  # seconds between two checkpoints
Tensors = Mapping[str, Tensor]


@dataclass
class Checkpoint:
    """Where a run is kept, every so many seconds. ``facts`` must be those of the file."""

    path: Path
    facts: Mapping[str, Any]
    every: float = EVERY
    _next: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._next = monotonic() + self.every
        folder = self.path.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            is_there = "cannot be written to" if folder.is_dir() else "does not exist"
            raise UserError(
                f"checkpoint={str(self.path)!r}: the folder {str(folder)!r} {is_there}. Make it, "
                "or take another one"
            )

    @property
    def due(self) -> bool:
        """Whether it is time for the next one."""
        return monotonic() >= self._next

    def write(self, tensors: Tensors, state: Mapping[str, Any]) -> None:
        """Write a new file in place of the old one.

        Raises `UserError` if it cannot be written; the old one is then as it was.
        """
        self._next = monotonic() + self.every
        own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        noted = {"format": FORMAT, "facts": dict(self.facts), "state": dict(state)}
        noted["sha256"] = digest(own)
        with replacing(self.path) as temporary:
            save_file(own, temporary, {"manifest": json.dumps(noted)})

    def read(self) -> tuple[Tensors, Mapping[str, Any]] | None:
        """The tensors and state of the file; None if there is none.

        Raises `UserError` if the file is damaged, foreign, or of another run.
        """
        if not self.path.exists():
            return None
        with self._understood():
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            noted = json.loads(metadata["manifest"])
            if noted["format"] != FORMAT:
                raise self._refusal(
                    f"its format is {noted['format']!r}, that of runs is {FORMAT!r}"
                )
            facts, state = noted["facts"], noted["state"]
            whole = noted["sha256"] == digest(tensors)
        if not whole:
            raise self._refusal("it was altered")
        self._check(facts)
        return tensors, state

    def _check(self, saved: Mapping[str, Any]) -> None:
        here = json.loads(json.dumps(dict(self.facts)))
        names = sorted({*saved, *here})
        differ = [name for name in names if saved.get(name) != here.get(name)]
        if differ:
            shown = "; ".join(f"{n}: saved {saved.get(n)}, here {here.get(n)}" for n in differ)
            raise UserError(
                f"{str(self.path)!r} is the checkpoint of another run ({shown}). Nothing was "
                "changed: take these settings again to go on with it, or another file to begin anew"
            )

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise self._refusal(f"{type(error).__name__}: {error}") from error

    def _refusal(self, why: str) -> UserError:
        return UserError(
            f"{str(self.path)!r} is damaged or no checkpoint of this package ({why}). It was left "
            "as it is: take another file to begin anew, or delete it"
        )


def saved_seed(path: Path) -> int | None:
    """The seed of the run that a file is of; None if there is no such file, or it cannot be read
    (which `Checkpoint.read` then says).
    """
    try:
        with safe_open(path, framework="pt") as file:
            return int(json.loads((file.metadata() or {})["manifest"])["facts"]["seed"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None


def facts_of(
    model: Model, x: Tensor | None, data: Values | None, **settings: Any
) -> dict[str, Any]:
    """What identifies a run: its settings, the text of its model, and hashes of what it sees."""
    origin = origin_of(model)
    given = {"": x, **by_name(data)}
    tensors = {
        name: torch.as_tensor(as_array(name, v)) for name, v in given.items() if v is not None
    }
    weights = {f"{key}": value for key, value in model.storage().items()}
    tables = {} if origin is None else dict(origin.tables)
    return {
        **settings,
        **({"tables": tables} if tables else {}),
        "model": None if origin is None else sha256(origin.source.encode()).hexdigest()[:16],
        "data": digest({n: t.detach().cpu().contiguous() for n, t in tensors.items()})[:16],
        "weights": {key: list(value.shape) for key, value in weights.items()},
    }
