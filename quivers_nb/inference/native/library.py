"""The matrix product of the library that torch links, for compiled code to call.

torch's wheels carry MKL or OpenBLAS, or use Apple's Accelerate; all have Fortran's names. The
threads that a product takes are those that torch was given (`torch.set_num_threads`).
"""

import ctypes
import sys
from functools import cache
from pathlib import Path

import torch

from quivers_nb.inference.native.program import Refusal

_NAMES = {torch.float32: "sgemm_", torch.float64: "dgemm_"}


@cache
def gemm(dtype: torch.dtype) -> int:
    """Its address. Raises `Refusal` if torch's library does not show it."""
    if sys.byteorder != "little":
        raise Refusal("the sizes of a product are passed as on machines with the low byte first")
    ending = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
    path = Path(torch.__file__).parent / "lib" / f"libtorch_cpu.{ending}"
    try:
        routine = getattr(ctypes.CDLL(str(path)), _NAMES[dtype])
    except (OSError, AttributeError) as error:
        raise Refusal(f"torch's library has no {_NAMES[dtype]} to call") from error
    return ctypes.cast(routine, ctypes.c_void_p).value or 0
