"""Elementwise operations agree with autograd in value and gradient."""

import pytest
import torch
import torch.nn.functional as F
from scipy.special import polygamma
from torch import Tensor

A, B = (3, 4), (3, 4)
BROADCASTS = [((3, 4), (4,)), ((3, 1), (1, 4)), ((), (5,)), ((2, 1, 3), (4, 1)), ((1,), (1, 1))]

# One vector goes through all functions of a row: the sum of a row is one compiled density.
GENERAL = {
    "exponentials": (torch.exp, torch.expm1, torch.exp2, torch.sigmoid, F.softplus, F.logsigmoid),
    "trigonometric": (torch.sin, torch.cos, torch.tan, torch.atan, torch.tanh),
    "hyperbolic": (torch.sinh, torch.cosh, torch.asinh, torch.erf, torch.erfc),
    "activations": (F.relu, F.silu, F.gelu, F.elu, F.leaky_relu),
    "pieces": (
        F.hardtanh, F.relu6, F.hardswish, F.hardshrink, F.softshrink, F.celu, F.softsign,
        lambda a: F.threshold(a, 0.3, -1.0), lambda a: a * torch.remainder(a, 0.7),
    ),
    "powers": (torch.square, lambda a: a**3, lambda a: a**4, lambda a: -a, torch.abs),
    "normal tails": (torch.special.ndtr, torch.special.log_ndtr, torch.special.erfcx),
    "bounds": (
        lambda a: a.clamp(-0.5, 0.7), lambda a: a.clamp_min(0.1), lambda a: a.clamp_max(0.1),
        lambda a: a * torch.sign(a),
    ),
    "steep": (lambda a: F.softplus(30.0 * a), lambda a: F.softplus(a, beta=3.0, threshold=2.0)),
}  # fmt: skip
UNIT = {
    "logarithms": (torch.log, torch.log1p, torch.log2, torch.log10, torch.sqrt, torch.rsqrt),
    "gamma": (torch.lgamma, lambda a: torch.lgamma(8.0 * a)),
    "fractional powers": (
        torch.reciprocal, lambda a: a**-2, lambda a: a**0.5, lambda a: a**1.7, lambda a: 1.3**a,
    ),
    "quantiles": (torch.special.ndtri, torch.erfinv, torch.logit),
    "arcs": (torch.asin, torch.acos, torch.atanh, lambda a: torch.acosh(1.0 + a)),
    "entropies": (torch.special.entr, lambda a: torch.special.multigammaln(a + 2.0, 3)),
}  # fmt: skip
BINARY = (
    torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum, torch.atan2,
    torch.logaddexp, lambda a, b: torch.add(a, b, alpha=2.5), torch.rsub,
    torch.hypot, lambda a, b: torch.where(a > b, a * b, a - b),
    lambda a, b: torch.lerp(a, b, 0.3), lambda a, b: torch.addcmul(a, a, b, value=0.7),
)  # fmt: skip


def _sum_of(functions):
    return lambda a: sum((k + 1) * f(a) for k, f in enumerate(functions))


@pytest.mark.parametrize("name", GENERAL)
def test_functions_on_the_line_agree_with_autograd(agrees, name):
    agrees(_sum_of(GENERAL[name]), [(3, 37)], low=-3.0, high=3.0)


@pytest.mark.parametrize("name", UNIT)
def test_functions_on_the_unit_interval_agree_with_autograd(agrees, name):
    agrees(_sum_of(UNIT[name]), [(3, 37)], low=0.02, high=0.98, tolerance=3e-12)


@pytest.mark.parametrize("shapes", BROADCASTS)
def test_binary_operations_broadcast(agrees, shapes):
    agrees(lambda a, b: sum((k + 1) * f(a, b) for k, f in enumerate(BINARY)), shapes)


def test_powers_of_two_variables_agree_with_autograd(agrees):
    agrees(
        lambda a, b: a**b + torch.xlogy(a, b) + torch.special.xlog1py(a, b),
        [(3, 5), (5,)],
        low=0.1,
        high=2.0,
    )


def test_choices_by_constants_and_by_values_agree_with_autograd(agrees):
    mask = torch.tensor([True, False, True, True])
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)

    def choose(a: Tensor, b: Tensor) -> Tensor:
        inside = (a > 0.0) & ~(b >= 1.0) | (a < -1.0)
        chosen = torch.where(inside, a * scale, b.exp())
        return torch.where(mask, chosen, a * b).masked_fill(~mask, 0.5) + inside * a

    agrees(choose, [(3, 4), (4,)])


def test_digamma_of_negative_arguments_agrees_with_torch(agrees):
    agrees(torch.lgamma, [(64,)], low=-6.9, high=-0.1, tolerance=1e-11)


def test_trigamma_is_that_of_scipy(compiled):
    """torch's own trigamma is right to 5e-10 only."""
    q = torch.linspace(0.05, 30.0, 80, dtype=torch.float64)
    _, grad = compiled(lambda q: torch.digamma(q).sum(), q).value_and_grad(q)
    want = torch.from_numpy(polygamma(1, q.numpy()))
    assert float(((grad - want) / want).abs().max()) < 1e-14


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 800.0, -800.0])
def test_extreme_arguments_give_what_torch_gives(agrees, value):
    def extreme(a: Tensor) -> Tensor:
        at = a.new_tensor([value, 0.0, 1.0]) + 0.0 * a[:1]
        return torch.stack([
            F.softplus(at), torch.sigmoid(at), torch.logaddexp(at, a[1:4]), at.clamp(-1.0, 1.0),
            torch.maximum(at, a[1:4]), torch.tanh(at), F.relu(at),
            torch.special.log_ndtr(-at.abs()),
        ])  # fmt: skip

    agrees(extreme, [(4,)])


def test_single_precision_agrees_to_its_own_accuracy(agrees):
    for name in ("exponentials", "powers", "activations"):
        agrees(_sum_of(GENERAL[name]), [(3, 37)], dtype=torch.float32, tolerance=5e-6)


def test_hardsigmoid_agrees_as_far_as_torch_is_right(agrees):
    """torch multiplies the gradient by one sixth in single precision."""
    agrees(torch.nn.functional.hardsigmoid, [(3, 37)], low=-4.0, high=4.0, tolerance=1e-7)


def test_gated_units_agree_with_autograd(agrees):
    agrees(lambda a: F.glu(a) + F.glu(a, 0).sum(), [(4, 6)])


@pytest.mark.parametrize("reach", [1.0, 40.0, 300.0])
def test_bessel_functions_agree_with_torch(agrees, reach):
    agrees(
        lambda a: torch.special.i0e(reach * a) + torch.special.i1e(reach * a),
        [(50,)],
        low=-1.0,
        high=1.0,
    )
    agrees(lambda a: torch.i0(a) + torch.special.i1(a), [(50,)], low=-20.0, high=20.0)
