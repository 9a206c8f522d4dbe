"""Short loops, which compilers turn into straight lines: the same gradients as autograd.

Layers of a coupling flow are small products, sums and columns that change places. With vectors of
straight-line code gcc 12.2 gives them wrong gradients and right values.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from quivers_nb.inference.native import build, function
from quivers_nb.inference.native.build import processor
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.toolchain import compiler

SIZES = [(rows, width, count) for rows, width in ((4, 4), (4, 5), (8, 3)) for count in (1, 2)]
NO_STRAIGHT_VECTORS = "-fno-tree-slp-vectorize"


def coupling(rows, width, count):
    """``count`` layers on pairs, (rows, 2), that are given with the weights in one vector."""
    shapes = [(rows, 2), *[(width, 1), (width,), (2, width), (2,)] * count]
    sizes = [torch.Size(shape).numel() for shape in shapes]

    def density(q):
        x, *weights = (p.reshape(s) for p, s in zip(q.split(sizes), shapes, strict=True))
        for layer in range(count):
            a, b, c, d = weights[4 * layer : 4 * layer + 4]
            moved, kept = x[:, 1:], x[:, :1]
            shift, scale = (torch.tanh(kept @ a.T + b) @ c.T + d).split(1, -1)
            x = torch.cat([moved * F.softsign(scale).exp() + shift, kept], -1)
        return -(x * x).sum()

    return density, sum(sizes)


@pytest.fixture
def gap(compiled, reference, error):
    """The greatest error of value and gradient for layers of a size."""

    def measure(size):
        density, dim = coupling(*size)
        generator = torch.Generator().manual_seed(1)
        q = torch.randn(dim, generator=generator, dtype=torch.float64)
        pairs = zip(compiled(density, q).value_and_grad(q), reference(density, q), strict=True)
        return max(error(ours, theirs) for ours, theirs in pairs)

    return measure


@pytest.mark.parametrize("size", SIZES)
def test_layers_of_a_flow_have_the_gradients_of_autograd(size, gap):
    assert gap(size) < 1e-12


@pytest.mark.parametrize("number", range(len(build.FLAG_SETS)))
def test_no_set_of_flags_makes_vectors_of_straight_lines(number, gap, monkeypatch):
    flags, libraries = build.FLAG_SETS[number]
    assert NO_STRAIGHT_VECTORS in flags
    found = compiler()
    one = replace(found, flags=flags, libraries=libraries)
    monkeypatch.setattr(function, "compiler", lambda: one)
    try:
        assert max(gap(size) for size in SIZES) < 1e-12
    except Refusal as refusal:
        pytest.skip(f"{found.name} does not know these flags: {refusal}")


def test_these_layers_are_what_a_compiler_got_wrong(gap, monkeypatch):
    """The power of the test above: without its flag gcc 12.2 is caught."""
    found = compiler()
    flags = tuple(flag for flag in found.flags if flag != NO_STRAIGHT_VECTORS)
    if flags == found.flags or " 12.2." not in found.version or "-march=native" not in flags:
        pytest.skip("another compiler than the one that was seen to go wrong: gcc 12.2")
    if "avx512f" not in processor():
        pytest.skip("gcc 12.2 was seen to go wrong where there is AVX-512")
    monkeypatch.setattr(function, "compiler", lambda: replace(found, flags=flags))
    assert max(gap(size) for size in SIZES) > 1e-3
