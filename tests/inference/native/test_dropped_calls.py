"""What a function writes is written, however its loops come by their addresses.

At -O1 and -O2 gcc 12.2 gives a loop that copies rows to columns an address that is the difference
of two others, takes that for a null pointer, concludes that the function writes nothing, and drops
the calls of it. Stages and segments are such functions.
"""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from quivers_nb.inference.native import build
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.toolchain import compiler

LEVELS = {
    "O3": lambda found: found,
    "hasty": lambda found: found.hasty(vectors=False),
    "vectors": lambda found: found.hasty(vectors=True),
    "brisk": lambda found: found.brisk(),
}
SOURCE = """
#include <stdint.h>
static __attribute__((noinline)) void rows(double *restrict w, int64_t number) {
  const int64_t first = number * 8, last = first + 8 < 20 ? first + 8 : 20;
  const double *restrict from = w;
  double *restrict to = w + 48;
  for (int64_t j = 0; j < 2; j++)
    for (int64_t i = first; i < last; i++) to[i * 2 + j] = from[i + j * 20];
}
void columns(double *w) { for (int64_t number = 0; number < 3; number++) rows(w, number); }
"""


def _written(how: build.Compiler) -> int:
    """How many of 40 numbers arrive."""
    work = np.zeros(128)
    work[:40] = np.arange(1, 41)
    library = build.load(SOURCE, how, ("columns",))
    library.columns(ctypes.c_void_p(work.ctypes.data))
    return int((work[48:88].reshape(20, 2) == work[:40].reshape(2, 20).T).sum())


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("number", range(len(build.FLAG_SETS)))
def test_no_set_of_flags_drops_a_call(number, level):
    flags, libraries = build.FLAG_SETS[number]
    assert set(build.NO_NULL) <= set(flags) or set(build.NOT_ASKED) <= set(flags)
    found = replace(compiler(), flags=flags, libraries=libraries)
    try:
        assert _written(level(found)) == 40
    except Refusal as refusal:
        pytest.skip(f"{found.name} does not know these flags: {refusal}")


def test_this_call_is_what_a_compiler_dropped():
    """The power of the test above: without these flags gcc 12.2 is caught."""
    found = compiler()
    if " 12.2." not in found.version:
        pytest.skip("another compiler than the one that was seen to go wrong: gcc 12.2")
    flags = tuple(flag for flag in found.flags if flag not in (*build.NO_NULL, *build.NOT_ASKED))
    assert _written(replace(found, flags=flags).hasty(vectors=False)) == 0
