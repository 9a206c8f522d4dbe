"""Recording and replaying: the graph computes what the function computes, or says why not."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from quivers_nb.inference.graph import RecordingError, record
from quivers_nb.inference.replay import replay
from quivers_nb.inference.simplify import simplify

WEIGHT = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)
COUNTS = torch.tensor([0, 2, 1, 2])


def written_constant(q: Tensor) -> Tensor:
    buffer = torch.zeros(4, 5, dtype=q.dtype)
    before = buffer + q.sum()
    buffer.add_(1.0)
    return before + buffer * q[:, :1]


def written_result(q: Tensor) -> Tensor:
    copy = q * 1.5
    copy.mul_(q).add_(1.0)
    return copy.exp_()


def written_by_index(q: Tensor) -> Tensor:
    out = torch.zeros(4, 3, dtype=q.dtype)
    out.index_put_((COUNTS,), q[:, :3], accumulate=True)
    return out


FUNCTIONS = {
    "elementwise": lambda q: (q.exp() * 2.0 - q.pow(2)).sigmoid(),
    "matmul": lambda q: torch.tanh(q[:, :3] @ WEIGHT.T),
    "einsum": lambda q: torch.einsum("cd,ce->cde", q, q).sum(-1),
    "reductions": lambda q: torch.logsumexp(q, -1) + q.mean(-1) + q.std(-1) + q.amax(-1),
    "views": lambda q: q.reshape(2, 2, 5).transpose(0, 1).flatten(1)[:, ::2].unsqueeze(1),
    "several results": lambda q: q.sort(-1).values + q.split([2, 3], -1)[1].sum(-1, keepdim=True),
    "gather": lambda q: q[:, COUNTS] + q.index_select(1, COUNTS) + q.gather(1, COUNTS[:, None]),
    "where": lambda q: torch.where(q > 0, q, q.exp()).clamp(-1.0, 2.0),
    "cumulative": lambda q: q.cumsum(-1) + torch.cumprod(q, 0),
    "cholesky": lambda q: torch.linalg.cholesky(q @ q.mT + 9.0 * torch.eye(4, dtype=q.dtype)),
    "special": lambda q: (
        torch.lgamma(q.abs() + 1) + torch.erf(q) + torch.special.ndtri(q.sigmoid())
    ),
    "inf and nan constants": lambda q: torch.clamp(q, -float("inf"), 1.0).masked_fill(q > 2, 7.0),
    "written constant": written_constant,
    "written result": written_result,
    "written by index": written_by_index,
}


def example(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 5, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_replay_equals_the_function_at_other_points(name):
    function = FUNCTIONS[name]
    graph = record(lambda q: (function(q),), example(0))
    for run in (replay(graph), replay(simplify(graph))):
        for seed in (1, 2, 3):
            (value,) = run(example(seed))
            torch.testing.assert_close(value, function(example(seed)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_replay_of_a_gradient_equals_autograd(name):
    function = FUNCTIONS[name]

    def gradient(q: Tensor) -> tuple[Tensor, ...]:
        q.requires_grad_(True)
        return torch.autograd.grad(function(q).square().sum(), q)

    run = replay(simplify(record(gradient, example(0))))
    for seed in (1, 2):
        (wanted,) = gradient(example(seed))
        torch.testing.assert_close(run(example(seed))[0], wanted, rtol=1e-11, atol=1e-11)


def test_what_does_not_depend_on_inputs_is_a_constant():
    graph = simplify(record(lambda q: (q * WEIGHT.exp().sum().log(),), example(0)))
    assert [str(node.op) for node in graph.nodes] == ["aten.mul.Tensor"]
    assert len(graph.constants) == 1


def test_equal_work_is_done_once_unused_work_never_and_neutral_work_neither():
    def function(q: Tensor) -> tuple[Tensor]:
        q.cos()
        return (q.exp() * 1.0 + q.exp().reshape(4, 5) + torch.zeros(4, 5, dtype=q.dtype),)

    graph = simplify(record(function, example(0)))
    assert [str(node.op) for node in graph.nodes] == ["aten.exp.default", "aten.add.Tensor"]
    (a, b) = graph.nodes[1].args
    assert a == b
    assert graph.meta(a).shape == (4, 5)


def test_value_numbers_are_inputs_constants_results_without_gaps():
    graph = simplify(record(FUNCTIONS["several results"], example(0)))
    numbers = [0, *graph.constants, *(n for node in graph.nodes for n in node.results)]
    assert numbers == list(range(len(numbers)))


def test_one_tensor_given_twice_stays_two_inputs():
    q = example(0)
    run = replay(simplify(record(lambda a, b: (a - b,), q, q)))
    torch.testing.assert_close(run(q, 2 * q)[0], -q)


def test_recording_leaves_its_examples_alone():
    q = example(0)
    record(lambda a: (a.add_(1.0),), q)
    torch.testing.assert_close(q, example(0))
    assert not q.requires_grad


REFUSED = {
    "control flow": (lambda q: q if q.sum() > 0 else -q, "control flow on values"),
    "a number read out": (lambda q: q * q[0, 0].item(), "control flow on values"),
    "random": (lambda q: torch.bernoulli(q.sigmoid()), "draws random numbers"),
    "mask": (lambda q: q[q > 0].sum(), "selects elements"),
    "nonzero": (lambda q: (q > 0).nonzero(), "depends on values"),
    "write into a view": (lambda q: (q * 2)[0].mul_(q[1]), "writes into a view"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_operations_do_not_show_is_refused_with_the_reason(name):
    function, reason = REFUSED[name]
    with pytest.raises(RecordingError, match=reason):
        record(lambda q: (function(q),), example(0))


def test_a_write_under_an_alias_is_refused():
    def function(q: Tensor) -> tuple[Tensor]:
        base = q * 2
        alias = base.detach()
        base.mul_(q)
        return (alias,)

    with pytest.raises(RecordingError, match="writes into a view"):
        record(function, example(0))


def test_rounding_division_by_one_is_not_neutral():
    graph = simplify(record(lambda q: (torch.div(q, 1.0, rounding_mode="floor"),), example(0)))
    torch.testing.assert_close(replay(graph)(example(1))[0], example(1).floor())


def test_a_write_into_the_base_of_a_view_is_refused():
    def function(q: Tensor) -> tuple[Tensor]:
        base = q * 2
        view = base[0]
        base.mul_(q)
        return (view,)

    with pytest.raises(RecordingError, match="writes into a view"):
        record(function, example(0))


def test_sampling_in_tier_1_imports_neither_dynamo_nor_sympy():
    code = """
import sys
from tests.support.targets import eight_schools
from quivers_nb.inference import MCMC, NUTSKernel
result = MCMC(NUTSKernel(), 20, 20, num_chains=2, seed=0, tier="traced").run_target(eight_schools())
assert result.tier == "traced"
heavy = ("torch._dynamo", "torch._inductor", "torch._functorch.aot_autograd", "sympy", "arviz")
print([name for name in heavy if name in sys.modules])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.strip() == "[]"
