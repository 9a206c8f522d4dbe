"""The forward recursion: step by step, by doubling, and by listing every path."""

from itertools import product

import pytest
import torch

from quivers_nb.lower import forward as chains
from quivers_nb.lower.forward import NEVER, at_state, by_state, forward, joined, standing


def tables(length: int, size: int, rows: tuple[int, ...] = ()) -> torch.Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn((length, size, size, *rows), generator=generator, dtype=torch.float64)


def by_paths(steps: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """All K^T paths, one by one."""
    length, size = steps.shape[:2]
    ends: list[list[torch.Tensor]] = [[] for _ in range(size)]
    for path in product(range(size), repeat=length + 1):
        weight = start[path[0]]
        for t in range(length):
            weight = weight + steps[t, path[t + 1], path[t]]
        ends[path[-1]].append(weight)
    return torch.stack([torch.logsumexp(torch.stack(found), 0) for found in ends])


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_the_recursion_is_the_sum_over_all_paths(length: int) -> None:
    steps, start = tables(length, 3, (2,)), tables(1, 3)[0, :, :2]
    torch.testing.assert_close(forward(steps, start), by_paths(steps, start))


@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 31, 500])
@pytest.mark.parametrize("rows", [(), (2, 3)], ids=str)
def test_doubling_equals_the_recursion_and_has_its_gradient(
    length: int, rows: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tables(length, 4, rows).requires_grad_()
    start = tables(1, 4, rows)[0, 0].requires_grad_()
    by_joining = torch.logsumexp(joined(steps) + start.unsqueeze(0), 1)
    monkeypatch.setattr(chains, "LONG", length + 1)
    by_steps = forward(steps, start)
    torch.testing.assert_close(by_joining, by_steps)
    one = torch.autograd.grad(by_joining.sum(), (steps, start))
    other = torch.autograd.grad(by_steps.sum(), (steps, start))
    torch.testing.assert_close(one, other)


def test_doubling_keeps_paths_that_only_together_are_likely() -> None:
    """Each half alone prefers another middle by 2,000 nats: sums by exp and matmul would vanish."""
    steps = torch.zeros(2, 2, 2, dtype=torch.float64)
    steps[0, 1] = -2000.0  # to state 1
    steps[1, :, 0] = -2000.0  # from state 0
    whole = joined(steps)
    torch.testing.assert_close(
        whole, torch.full((2, 2), -2000.0 + torch.tensor(2.0).log().item()).double()
    )


def test_padding_stands_still() -> None:
    steps = tables(6, 3)
    padded = torch.stack([standing(3, steps), *steps[:2], standing(3, steps), *steps[2:]])
    start = torch.tensor([0.0, NEVER, NEVER], dtype=torch.float64)
    torch.testing.assert_close(forward(padded, start), forward(steps, start))
    torch.testing.assert_close(joined(padded)[:, 0], joined(steps)[:, 0])


@pytest.mark.parametrize("length", [3, 40])
def test_what_cannot_be_has_gradient_zero_and_no_nan(length: int) -> None:
    steps = tables(length, 3)
    steps[:, 2] = NEVER  # state 2 is never reached
    steps.requires_grad_()
    start = torch.tensor([0.0, NEVER, NEVER], dtype=torch.float64)
    end = forward(steps, start)
    assert end[2] < -1e29
    (gradient,) = torch.autograd.grad(torch.logsumexp(end, 0), steps)
    assert torch.isfinite(gradient).all()
    assert (gradient[:, 2] == 0.0).all()


def test_known_states_and_branches_as_weights_by_state() -> None:
    points = torch.arange(3).reshape(3, 1)
    like = torch.zeros((), dtype=torch.float64)
    at = at_state(torch.tensor([2, 0]), points, like)
    assert (at == 0.0).nonzero().tolist() == [[0, 1], [2, 0]]
    weights = torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64)
    value = torch.tensor([[0], [2], [0]])
    folded = by_state(weights, value, points)
    torch.testing.assert_close(folded[0], torch.logsumexp(torch.tensor([[0.5], [2.0]]).double(), 0))
    torch.testing.assert_close(folded[2], weights[1])
    assert (folded[1] < -1e29).all()
