"""The threads of a run that have no chain to move help those that have (``team.c`` says how).

They are threads of the same pool: a chain's thread that finds no other chain to move becomes a
helper, and all go when the last chain is done.
"""

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quivers_nb.inference.native.function import aligned
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.toolchain import team


@dataclass(frozen=True, slots=True)
class Team:
    """A desk for each chain, where segments of its loops lie while they can be taken."""

    library: ctypes.CDLL
    memory: NDArray[Any]

    @classmethod
    def of(cls, chains: int) -> "Team | None":
        """None if it cannot be built here, or the system has no more locks to give: chains then
        move without help, which changes no draw."""
        try:
            library = team()
        except Refusal:
            return None
        memory = aligned(library.team_bytes(chains), np.uint8)
        return cls(library, memory) if library.team_open(memory.ctypes.data, chains) == 0 else None

    def helped_by(self, pool: ThreadPoolExecutor, threads: int) -> None:
        """Every thread of the pool helps when it has nothing else to do."""
        for _ in range(threads):
            try:
                pool.submit(self._serve)
            except RuntimeError:  # the system has no more threads: those that came are enough
                return

    def _serve(self) -> None:
        self.library.team_serve(self.memory.ctypes.data)

    @contextmanager
    def desk(self, chain: int) -> Iterator[int]:
        """The address of a chain's desk, until it needs it no more."""
        try:
            yield self.library.team_desk(self.memory.ctypes.data, chain)
        finally:
            self.library.team_leave(self.memory.ctypes.data)

    def close(self) -> None:
        """No helper begins anything from now on."""
        self.library.team_close(self.memory.ctypes.data)
