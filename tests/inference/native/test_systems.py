"""General matrices: systems, inverses and determinants of every order and layout agree."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from quivers_nb.inference.native.program import Refusal

F64, F32 = torch.float64, torch.float32
ORDERS = [0, 1, 2, 5, 17, 60]


def _matrix(a: Tensor) -> Tensor:
    """Rows must be exchanged: what is great stands beside the diagonal. (*b, n, n)."""
    n = a.shape[-1]
    return a + 2.0 * n**0.5 * torch.eye(n, dtype=a.dtype).roll(1, -1)


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "system": lambda a, b: torch.linalg.solve(_matrix(a), b),
    "system from the right": lambda a, b: torch.linalg.solve(_matrix(a), b.mT, left=False),
    "of a transpose": lambda a, b: torch.linalg.solve(_matrix(a).mT, b),
    "vector": lambda a, b: torch.linalg.solve(_matrix(a[0]), b[0, :, 0]),
    "one matrix for all": lambda a, b: torch.linalg.solve(_matrix(a[0]), b),
    "inverse": lambda a, b: torch.linalg.inv(_matrix(a)),
    "determinant": lambda a, b: torch.linalg.slogdet(_matrix(a)).logabsdet,
    "determinant of a transpose": lambda a, b: torch.linalg.slogdet(_matrix(a).mT).logabsdet,
    "sign": lambda a, b: torch.linalg.slogdet(_matrix(a)).sign * a.sum((-2, -1)),
    "logarithm": lambda a, b: torch.logdet(a @ a.mT + _unit(a)),
    "by a factor": lambda a, b: torch.cholesky_solve(b, a.tril(-1) + _unit(a)),
    "by an upper factor": lambda a, b: torch.cholesky_solve(b, a.triu(1) + _unit(a), upper=True),
    "inverse by a factor": lambda a, b: torch.cholesky_inverse(a.tril(-1) + _unit(a)),
}


def _unit(a: Tensor) -> Tensor:
    n = a.shape[-1]
    return (1.0 + n) * torch.eye(n, dtype=a.dtype)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_systems_agree_with_autograd(agrees, name, order):
    shapes = [(2, order, order), (2, order, 3)]
    if order == 0:  # nothing but the terms of no matrix
        shapes.append((1,))
        agrees(lambda a, b, c: c + FUNCTIONS[name](a, b).sum(), shapes)
        return
    agrees(FUNCTIONS[name], shapes, low=-1.0, high=1.0, tolerance=1e-11)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_too(agrees, name):
    shapes = [(2, 9, 9), (2, 9, 3)]
    agrees(FUNCTIONS[name], shapes, low=-1.0, high=1.0, dtype=F32, tolerance=2e-4)


def test_a_singular_matrix_has_no_solution_and_no_density(compiled, reference):
    """Torch raises for the first; the numbers of the second are torch's."""

    def solved(q: Tensor) -> Tensor:
        return torch.linalg.solve(q.reshape(3, 3), torch.arange(3.0, dtype=F64)).sum()

    def sized(q: Tensor) -> Tensor:
        return torch.linalg.slogdet(q.reshape(3, 3)).logabsdet

    start = torch.eye(3, dtype=F64).flatten()
    singular = torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 1.0, 2.0], dtype=F64)
    value, grad = compiled(solved, start).value_and_grad(singular)
    assert value.isnan()
    assert bool(grad.isnan().any())
    value, _ = compiled(sized, start).value_and_grad(singular)
    assert value == -torch.inf


def test_large_systems_are_for_a_library(compiled):
    q = torch.eye(140, dtype=F64).flatten()
    with pytest.raises(Refusal, match="of order 140 is faster in a tuned library"):
        compiled(lambda q: torch.linalg.inv(q.reshape(140, 140)).sum(), q)
