"""A recorded step in compiled code, for fits that go on for a while.

A replay pays for every operation with a pass over memory. Joined in compiled loops, with the same
matrix products, a step of an autoencoder takes 0.6 of the time. It draws the numbers that the
replay draws, and is compared with it before it is used.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import torch
from torch import Generator, Tensor

from quivers_nb.inference.graph import Graph
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.step import compile_step
from quivers_nb.inference.vi.nearby import agree_nearby, all_finite
from quivers_nb.inference.vi.traced import TracedLoss, close, generator_state, restore_generator

# Steps on data of one shape, which have then taken as long as compiling is about to save: it costs
# half a second, and a step becomes a millisecond faster.
COMPILE_AT = 500
# Loops between products run in one thread. torch's own passes over memory share a large step among
# its threads, and make up for their number where there are more than a few.
FEW_THREADS = 4
SHARED_WORK = 2**22  # numbers made in a step, too few for torch to share


def native_step(
    traced: TracedLoss, generator: Generator | None, data: Sequence[Tensor] = ()
) -> tuple[TracedLoss, str]:
    """The same loss in compiled code; or as it was, with the reason.

    ``data`` are the inputs behind the weights. The generator is left as it was.
    """
    reason = _refused(traced.graph)
    if any(tensor.device.type != "cpu" for tensor in (*traced.inputs, *data)):
        reason = "compiled steps run on the CPU"
    if reason:
        return traced, reason
    try:
        run = compile_step(traced.graph)
    except Refusal as refusal:
        return traced, str(refusal)
    before = generator_state(generator)

    def agree() -> bool:
        """At the present weights; where the replayed step is not finite, only the draws count."""
        state = generator_state(generator)
        wanted = traced.run(*traced.inputs, *data)
        after = generator_state(generator)
        restore_generator(generator, state)
        found = run(*traced.inputs, *data)
        same = torch.equal(generator_state(generator), after)
        return same and (not all_finite(wanted) or all(map(close, found, wanted)))

    try:
        same, near = agree(), agree_nearby(traced.fitted, agree)
    finally:
        restore_generator(generator, before)
    if not same or not near:
        where = " away from the present weights" if same else ""
        return traced, f"the compiled step differs from the replayed one{where}"
    return replace(traced, run=run, native=True), ""


def _refused(graph: Graph) -> str:
    threads = torch.get_num_threads()
    made = sum(prod(meta.shape) for node in graph.nodes for meta in node.metas)
    if threads > FEW_THREADS and made > SHARED_WORK:
        return f"{made} numbers are made faster by torch's {threads} threads"
    return ""
