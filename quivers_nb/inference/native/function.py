"""Compiled densities: `compile_graph` turns a recorded graph into a `NativeFunction`."""

import ctypes
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import quivers_nb.inference.native.ops  # noqa: F401  (registers the rules)
from quivers_nb.inference.graph import Graph
from quivers_nb.inference.native.build import load, object_name
from quivers_nb.inference.native.emit import emit
from quivers_nb.inference.native.fuse import fuse
from quivers_nb.inference.native.library import gemm
from quivers_nb.inference.native.lowering import lower
from quivers_nb.inference.native.program import Asked, Kernel, Program, Refusal
from quivers_nb.inference.native.toolchain import compiler, driver

REAL = {torch.float64: "double", torch.float32: "float"}
_NUMPY: dict[torch.dtype, Any] = {torch.float64: np.float64, torch.float32: np.float32}
GREATEST_SCRATCH = 2**27  # numbers
# Operations. A recurrent network, unrolled: 1.5 s of a core at -O1 for 1,900, 14 for 15,000, 51 for
# 30,000. Others were three times dearer each, and `build.COMPILE_SECONDS` is the end of all.
GREATEST_GRAPH = 20_000
LONG_SOURCE = 45_000  # characters of a density alone: beyond, -O3 takes seconds
SYMBOLS = ("density",)
MANY_POINTS = 32  # from here on a call for each costs more than what it computes
LONG_WORK = 2**16  # iterations of all loops: a long source with as many wants vectors nevertheless


def aligned(count: int, dtype: Any = np.float64) -> NDArray[Any]:
    """Zeros that begin on a cache line."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(count * size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * size].view(dtype)


def aligned_copy(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins on a cache line: vectors that cross lines are read at half the speed."""
    made = aligned(array.size, array.dtype).reshape(array.shape)
    made[...] = array
    return made


# --- densities ---


@dataclass(frozen=True)
class NativeFunction:
    """A compiled value and gradient of one point, with the data it was traced with.

    Safe to call from several threads: scratch is made per call, or passed to the driver.
    """

    dim: int
    dtype: torch.dtype
    scratch: int
    source: str
    object: str  # the name of what was compiled, in the cache
    library: ctypes.CDLL
    data: tuple[NDArray[Any], ...]  # literals first
    arguments: int = 0  # further inputs, given by address behind the data
    asked: tuple[Asked, ...] = ()  # indices made from those that the caller is to look at
    calls_library: bool = False  # products of matrices are those of the library that torch links
    segments: int = 1  # parts of its longest loop that can be run at once

    @property
    def address(self) -> int:
        """Where the function is, for loops in C on numbers of its dtype."""
        return ctypes.cast(self.library.density, ctypes.c_void_p).value or 0

    @property
    def chain_address(self) -> int:
        """Where the function is as chains call it: with positions and gradients in double."""
        name = "density" if self.dtype is torch.float64 else "chain_density"
        return ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value or 0

    def memory(self, count: int) -> NDArray[Any]:
        """Zeros of the function's type that begin on a cache line."""
        return aligned(count, _NUMPY[self.dtype])

    def pointers(self) -> Any:
        """The data as C wants it, with room for arguments; keep it alive while it is in use.

        The last is the desk where segments are left to other threads: none, unless one is put in.
        """
        known = [array.ctypes.data for array in self.data]
        return (ctypes.c_void_p * (len(known) + self.arguments + 1))(*known)

    def value_and_grad(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Log density and gradient, one point after the other: (*s, dim) -> (*s,), (*s, dim)."""
        if q.shape[-1] != self.dim or q.dtype is not self.dtype:
            raise ValueError(f"q {tuple(q.shape)} {q.dtype} is not (..., {self.dim}) {self.dtype}")
        points = q.detach().reshape(q.shape[:-1].numel(), self.dim).contiguous()
        values, grads = points.new_empty(points.shape[0]), torch.empty_like(points)
        work = aligned(self.scratch, _NUMPY[self.dtype])
        loop = _loop() if len(points) >= MANY_POINTS and self.dtype is torch.float64 else None
        if loop is not None:
            addresses = (self.address, points.data_ptr(), values.data_ptr(), grads.data_ptr())
            loop(*addresses, len(points), self.dim, self.pointers(), work.ctypes.data)
            return values.reshape(q.shape[:-1]), grads.reshape(q.shape)
        step, pointers = self.dim * points.element_size(), self.pointers()
        density = self.library.density
        for row in range(points.shape[0]):
            at = row * step
            values[row] = density(
                ctypes.c_void_p(points.data_ptr() + at),
                ctypes.c_void_p(grads.data_ptr() + at),
                pointers,
                ctypes.c_void_p(work.ctypes.data),
            )
        return values.reshape(q.shape[:-1]), grads.reshape(q.shape)


def _loop() -> Any:
    """The sampler's loop over points; None where the sampler cannot be built."""
    try:
        return driver().at_points
    except Refusal:
        return None


def compile_graph(graph: Graph, *, library: bool = False) -> NativeFunction:
    """Compile a graph of ``q (dim,) -> log density (), gradient (dim,)``, or find it in the cache.

    ``library``: large matrix products are made by the library that torch links.

    Raises `Refusal` where an operation has no native form, or no compiler works here.
    """
    if len(graph.nodes) > GREATEST_GRAPH:
        raise Refusal(f"{len(graph.nodes)} operations would take too long to compile")
    found = compiler()
    dtype = graph.inputs[0].dtype
    if dtype not in REAL:
        raise Refusal(f"there is no native code for {dtype}")
    program = lower(graph, library=library)
    source = emit(program, fuse(program), real=REAL[dtype])
    if source.scratch > GREATEST_SCRATCH:
        raise Refusal(f"it would take {source.scratch * 8 / 2**30:.1f} GiB of scratch per chain")
    if source.length > LONG_SOURCE:
        found = found.hasty(vectors=_iterations(program) > LONG_WORK)
    literals = np.array([*program.literals, 0.0], dtype=_NUMPY[dtype])
    return ready(
        load(source.text, found, SYMBOLS),
        dim=prod(graph.inputs[0].shape),
        dtype=dtype,
        scratch=source.scratch,
        source=source.text,
        object=object_name(source.text, found),
        data=(literals, *program.arrays),
        arguments=len(program.arguments),
        asked=program.asked,
        segments=source.segments,
        calls_library=program.calls_library,
    )


def ready(
    library: ctypes.CDLL, *, dtype: torch.dtype, calls_library: bool, **facts: Any
) -> NativeFunction:
    """The function in a loaded object."""
    library.density.restype = ctypes.c_double
    if calls_library:
        library.use_library(ctypes.c_void_p(gemm(dtype)))
    return NativeFunction(library=library, dtype=dtype, calls_library=calls_library, **facts)


def _iterations(program: Program) -> int:
    """How often the bodies of all loops are run for one evaluation."""
    return sum(prod(step.extent) for step in program if isinstance(step, Kernel))
