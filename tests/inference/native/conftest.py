"""What the tests of the native tier share: a cache of their own, and a comparison with autograd."""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor

from quivers_nb.inference.graph import record
from quivers_nb.inference.native import NativeFunction, compile_graph
from quivers_nb.inference.simplify import simplify

Function = Callable[..., Tensor]
POINTS = 3


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("QUIVERS_NB_CACHE", str(folder))
        yield folder


def value_and_grad(density: Function, q: Tensor) -> tuple[Tensor, Tensor]:
    """The reference."""
    with torch.enable_grad():
        q = q.detach().clone().requires_grad_(True)
        value = density(q)
        (grad,) = torch.autograd.grad(value, q)
    return value.detach(), grad


def compile_density(density: Function, q: Tensor) -> NativeFunction:
    """The native function of a density of one vector."""

    def both(q: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            q = q.requires_grad_(True)
            value = density(q)
            (grad,) = torch.autograd.grad(value, q)
        return value.detach(), grad

    return compile_graph(simplify(record(both, q)))


def relative_error(native: Tensor, reference: Tensor) -> float:
    """The greatest error relative to the greatest element; NaN and infinity must be the same."""
    unlike = native.isnan() != reference.isnan()
    if bool(unlike.any()) or bool((native.isinf() != reference.isinf()).any()):
        return float("inf")
    scale = reference.nan_to_num(0.0, 0.0, 0.0).abs().max().clamp_min(1.0)
    return float(((native - reference).nan_to_num(0.0, 0.0, 0.0).abs() / scale).max())


@pytest.fixture
def agrees() -> Callable[..., None]:
    """``agrees(function, shapes)``: native and autograd give the same numbers.

    ``function`` takes tensors of ``shapes`` that are cut from one vector, and its result is summed
    with fixed random weights. ``low`` and ``high`` bound the points.
    """

    def check(
        function: Function, shapes: Sequence[tuple[int, ...]], *, low: float = -2.0,
        high: float = 2.0, dtype: torch.dtype = torch.float64, tolerance: float = 1e-12,
    ) -> None:  # fmt: skip
        sizes = [prod(shape) for shape in shapes]
        generator = torch.Generator().manual_seed(1)

        def parts(q: Tensor) -> list[Tensor]:
            return [p.reshape(s) for p, s in zip(q.split(sizes), shapes, strict=True)]

        def point() -> Tensor:
            u = torch.rand(sum(sizes), generator=generator, dtype=torch.float64)
            return (low + (high - low) * u).to(dtype)

        result = function(*parts(point()))
        weights = torch.randn(result.shape, generator=generator, dtype=torch.float64).to(dtype)
        if dtype is torch.float32:  # a sum that cancels shows how its terms were rounded, no more
            weights = weights.abs()

        def density(q: Tensor) -> Tensor:
            return (weights * function(*parts(q))).sum() + 1e-3 * (q * q).sum()

        native = compile_density(density, point())
        for _ in range(POINTS):
            q = point()
            value, grad = native.value_and_grad(q)
            want_value, want_grad = value_and_grad(density, q)
            assert relative_error(value, want_value) < tolerance
            assert relative_error(grad, want_grad) < tolerance

    return check


@pytest.fixture
def compiled() -> Callable[..., NativeFunction]:
    """``compiled(density, q)``: the native function of a density of one vector."""
    return compile_density


@pytest.fixture
def reference() -> Callable[..., tuple[Tensor, Tensor]]:
    """``reference(density, q)``: value and gradient by autograd."""
    return value_and_grad


@pytest.fixture
def error() -> Callable[[Tensor, Tensor], float]:
    """``error(native, reference)``, relative to the greatest element."""
    return relative_error
