"""Threads of torch's own kernels while inference runs.

One core is left to the notebook server. More threads than free cores are worse than useless: every
operation then waits for the slowest of them, and chains and steps are thousands of small ones
(measured on two busy cores: 35 times slower with two threads than with one).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from quivers_nb.inference.native.chains import default_threads


@contextmanager
def spare_core() -> Iterator[None]:
    """Within it, torch uses one core less than there are (or fewer, if it was told so)."""
    before = torch.get_num_threads()
    limit = default_threads()
    if before <= limit:
        yield
        return
    torch.set_num_threads(limit)
    try:
        yield
    finally:
        torch.set_num_threads(before)
