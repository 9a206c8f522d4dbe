"""Recorded steps in compiled code: products by torch's library, inputs where they are, draws."""

import pytest
import torch

from quivers_nb.inference.graph import record_draws
from quivers_nb.inference.native.program import Refusal
from quivers_nb.inference.native.step import compile_step
from quivers_nb.inference.replay import replay
from quivers_nb.inference.simplify import simplify

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def both(function, inputs):
    """The outputs of a function's graph in compiled code, and replayed; and the C source."""
    graph = simplify(record_draws(lambda: function(*inputs), inputs))
    run = compile_step(graph)
    torch.manual_seed(5)
    found = [each.clone() for each in run(*inputs)]
    torch.manual_seed(5)
    wanted = replay(graph, torch.no_grad)(*inputs)
    return found, wanted, run._function.source


def agree(found, wanted) -> None:
    for one, other in zip(found, wanted, strict=True):
        scale = max(1.0, float(other.abs().max()))
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= TOLERANCE[one.dtype] * scale


def numbers(*shape: int, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=dtype, generator=generator)


TURNS = {
    "rows": lambda m: m,
    "columns": lambda m: m.t().contiguous().t(),
    "part": lambda m: torch.cat([m, m], 1)[:, : m.shape[1]],
    "steps": lambda m: m.repeat_interleave(2, 1)[:, ::2],
    "repeated": lambda m: m[:1].expand_as(m),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("left", TURNS)
@pytest.mark.parametrize("right", TURNS)
def test_products_of_all_layouts_are_made_by_the_library(left, right, dtype):
    weights = [
        TURNS[left](numbers(61, 33, dtype=dtype)),
        TURNS[right](numbers(33, 47, dtype=dtype)),
    ]

    def function(a, b):
        product = a @ b
        return [product.sum(), product, product.t() * 2.0]

    found, wanted, source = both(function, weights)
    assert "q_gemm(" in source.partition("double density")[2]
    agree(found, wanted)


def test_stacks_of_products():
    found, wanted, source = both(
        lambda a, b: [(a @ b).sum(), a @ b], [numbers(3, 40, 50), numbers(3, 50, 60)]
    )
    assert "q_gemm(" in source.partition("double density")[2]
    agree(found, wanted)


def test_a_product_that_nobody_else_reads_is_made_where_it_is_delivered():
    def function(a, b):
        product = a @ b
        return [b.sum(), product]

    found, wanted, source = both(function, [numbers(60, 30), numbers(30, 50)])
    assert "q_gemm(g," in source
    agree(found, wanted)


@pytest.mark.parametrize(
    "outputs",
    [
        lambda p: [p.sum(), p],  # its sum is read besides
        lambda p: [p[0, 0], p],  # one of its numbers is the value
        lambda p: [p[0, 0] * 0.0, p, p],  # delivered twice
        lambda p: [p[0, 0] * 0.0, p.t(), p],  # and turned round
        lambda p: [p[0, 0] * 0.0, p[:5], p[5:]],  # in parts
    ],
)
def test_a_product_that_others_read_stays_whole(outputs):
    found, wanted, _ = both(lambda a, b: outputs(a @ b), [numbers(60, 30), numbers(30, 50)])
    agree(found, wanted)


def test_draws_are_those_of_torch_in_their_order():
    def function(w):
        normal, uniform = torch.randn(40), torch.rand(7)
        more = torch.randn(40)
        return [(w * normal).sum() + uniform.sum(), normal - more]

    found, wanted, _ = both(function, [numbers(40)])
    agree(found, wanted)


def test_whole_numbers_may_be_among_the_inputs():
    where = torch.tensor([3, 0, 3, 1])
    found, wanted, _ = both(lambda w, i: [w[i].sum(), w[i] * 2.0], [numbers(5), where])
    agree(found, wanted)


@pytest.mark.parametrize(
    ("inputs", "function", "reason"),
    [
        ([numbers(4), numbers(4).double()], lambda a, b: [a.sum(), b], "stands beside others"),
        ([numbers(4)], lambda a: [a.sum(), torch.bernoulli(a.sigmoid())], "depend on others"),
        ([torch.tensor([1])], lambda a: [a.sum(), a * 2], "there are no weights"),
        ([numbers(4)], lambda a: [a.sum(), torch.fft.rfft(a).real], "has no native form|complex"),
    ],
)
def test_what_has_no_compiled_form_is_named(inputs, function, reason):
    graph = simplify(record_draws(lambda: function(*inputs), inputs))
    with pytest.raises(Refusal, match=reason):
        compile_step(graph)
