"""How many threads inference takes, and how it leaves the notebook free.

Native chains use every core and step back when anything else wants one: on two cores a run takes
three quarters of the time that one thread takes, while cells and other processes answer sooner than
they do beside one thread that does not step back. torch's own kernels cannot step back, since their
threads serve the user's cells too: they leave one core. More threads than free cores are worse than
useless for them, as every operation then waits for the slowest and steps are thousands of small
ones (measured on two busy cores: 35 times slower with two threads than with one).
"""

import math
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import torch

NICE = 10  # of threads that step back: a weight of a tenth against the usual
CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """The cores that this process may use; at least one."""
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return int(max(1, min(allowed, _quota(CGROUP))))


def chain_threads() -> int:
    """How many chains move at once: one for each core, or one less where none can step back.

    A container with a quota of processor time is stopped as a whole when its threads have used it
    up, however humble they are.
    """
    whole = cores()
    return whole if _can_step_back() and _quota(CGROUP) == math.inf else max(1, whole - 1)


_ALONE = ContextVar("_ALONE", default=False)


@contextmanager
def one_of_many() -> Iterator[None]:
    """Within it, work is one of several jobs that an executor has given cores to: `alone`."""
    before = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(before)


def alone() -> bool:
    """Whether the calling thread is to leave cores that it has no chain for to others.

    So it is in a process that another Python process started, of a pool of the user's own, say.
    """
    return _ALONE.get() or multiprocessing.parent_process() is not None


def step_back() -> None:
    """Let every other thread of the usual priority go before the calling one, from now on."""
    if _can_step_back():
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(NICE, os.nice(0)))


@contextmanager
def spare_core() -> Iterator[None]:
    """Within it, torch uses one core less than there are (or fewer, if it was told so)."""
    before = torch.get_num_threads()
    limit = max(1, cores() - 1)
    if before <= limit:
        yield
        return
    torch.set_num_threads(limit)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _can_step_back() -> bool:
    """Only Linux gives a thread a priority of its own by its number."""
    return sys.platform == "linux"


@cache
def _quota(groups: Path) -> float:
    """The quota of processor time in cores, infinity without one (control groups, v2 then v1).

    Read once: every step of a fit asks for it.
    """
    try:
        limit, period = (groups / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        limit, period = _first_quota(groups)
    return int(limit) / int(period) if limit.isdigit() and period.isdigit() else math.inf


def _first_quota(groups: Path) -> tuple[str, str]:
    """Quota and period in the files of the first version; "max" if they are not there."""
    try:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        limit, period = ((groups / "cpu" / name).read_text(encoding="ascii") for name in names)
    except OSError:
        return "max", "1"
    return limit.strip(), period.strip()
