"""Torch's threads in a notebook: one core is left to the server that shows it.

With as many threads as cores, every parallel loop of torch waits for a thread that the server, the
browser or another kernel has put off: on a busy machine with two cores, the same fifty steps of
variational inference were measured at 1 second with one thread and at 30 with two.
"""

import os
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Threads:
    """The numbers of threads before and after a core was left alone."""

    before: int
    after: int

    def take_back(self) -> None:
        """Restore the number of threads, unless somebody has chosen another one since."""
        if torch.get_num_threads() == self.after:
            torch.set_num_threads(self.before)


def leave_a_core() -> Threads:
    """Lower torch's number of threads by one if it is that of the cores and nobody chose it."""
    before = torch.get_num_threads()
    after = fewer(before, cores=os.cpu_count() or 1, chosen="OMP_NUM_THREADS" in os.environ)
    if after != before:
        torch.set_num_threads(after)
    return Threads(before, after)


def fewer(threads: int, *, cores: int, chosen: bool) -> int:
    """The number of threads to use where torch would use ``threads``."""
    return threads if chosen or threads < cores else max(1, cores - 1)
