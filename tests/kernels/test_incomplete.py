"""Incomplete beta and gamma functions: digits, derivatives, and what recorders see."""

import math
from collections.abc import Iterator
from functools import cache

import mpmath
import numpy as np
import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, SVI, AutoNormalGuide
from quivers_nb.inference.gradient import eager
from quivers_nb.inference.graph import RecordingError, record
from quivers_nb.inference.native import NativeTarget, prepare
from quivers_nb.inference.replay import replay
from quivers_nb.inference.target import flat
from quivers_nb.kernels.incomplete import (
    inverse,
    log_beta_inc,
    log_beta_inc_upper,
    log_gamma_inc,
    log_gamma_inc_upper,
)

HALF = torch.tensor(0.5, dtype=torch.float64)
PROGRAM = """\
object N : FinSet 3
program p : 1 -> 1
    sample s <- LogNormal(0.0, 1.0)
    sample t <- LogNormal(0.0, 1.0)
    observe y : N <- Restrict(Gamma(s, t), 1.0)
    observe z : N <- Restrict(Beta(s, t), 0.25, 0.9)
    observe w : N <- Restrict(StudentT(s, 0.0, t), 0.5)
    observe k : N <- Restrict(Poisson(t), 1.0)
    return s
export p
"""
DATA = {
    "y": torch.tensor([2.0, 1.5, 4.0], dtype=torch.float64),
    "z": torch.tensor([0.3, 0.5, 0.8], dtype=torch.float64),
    "w": torch.tensor([0.7, 1.5, 9.0], dtype=torch.float64),
    "k": torch.tensor([1, 3, 2]),
}


# --- digits -------------------------------------------------------------------------------------


def shapes(count: int, seed: int) -> Iterator[tuple[np.random.Generator, float, float]]:
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield generator, *10 ** generator.uniform(-3, 4, 2)


@cache
def beta_cases() -> np.ndarray:
    """Rows a, b, x, log I, log(1 - I) by mpmath with sixty digits; points likely and unlikely."""
    rows = []
    with mpmath.workdps(60):
        for generator, a, b in shapes(100, 0):
            likely = generator.random() < 0.5
            x = generator.beta(a, b) if likely else generator.uniform()
            x = min(max(x, 1e-12), 1.0 - 1e-12)
            if x < a / (a + b):
                lower = mpmath.betainc(a, b, 0, x, regularized=True)
                upper = 1 - lower
            else:
                upper = mpmath.betainc(b, a, 0, 1 - mpmath.mpf(x), regularized=True)
                lower = 1 - upper
            rows.append((a, b, x, float(mpmath.log(lower)), float(mpmath.log(upper))))
    return np.array(rows)


@cache
def gamma_cases() -> np.ndarray:
    """Rows a, x, log P, log Q."""
    rows = []
    with mpmath.workdps(40):
        for generator, a, _ in shapes(150, 1):
            likely = generator.random() < 0.5
            x = generator.gamma(a) if likely else a * 10 ** generator.uniform(-1, 1)
            x = max(x, 1e-12)
            lower = mpmath.gammainc(a, 0, x, regularized=True)
            upper = mpmath.gammainc(a, x, mpmath.inf, regularized=True)
            rows.append((a, x, float(mpmath.log(lower)), float(mpmath.log(upper))))
    return np.array(rows)


def worst(got: torch.Tensor, want: np.ndarray) -> float:
    """The largest error of a logarithm: absolute, or relative beyond one."""
    return float((abs(got.numpy() - want) / np.maximum(1.0, abs(want))).max())


def test_the_incomplete_beta_function_has_ten_digits() -> None:
    *arguments, lower, upper = beta_cases().T
    a, b, x = map(torch.tensor, arguments)
    assert worst(log_beta_inc(a, b, x), lower) < 1e-10
    assert worst(log_beta_inc_upper(a, b, x), upper) < 1e-10
    assert worst(log_beta_inc_upper(b, a, 1.0 - x, x), lower) < 1e-10


def test_the_incomplete_gamma_function_has_ten_digits() -> None:
    *arguments, lower, upper = gamma_cases().T
    a, x = map(torch.tensor, arguments)
    assert worst(log_gamma_inc(a, x), lower) < 1e-10
    assert worst(log_gamma_inc_upper(a, x), upper) < 1e-10


def test_half_as_many_nodes_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above has the power to see a coarser rule."""
    from quivers_nb.kernels import incomplete

    monkeypatch.setattr(incomplete, "NODES", 72)
    incomplete._rule.cache_clear()
    try:
        *arguments, lower, _ = beta_cases().T
        assert worst(log_beta_inc(*map(torch.tensor, arguments)), lower) > 1e-10
    finally:
        incomplete._rule.cache_clear()


def test_far_tails_do_not_underflow() -> None:
    x = torch.tensor(1e-150, dtype=torch.float64)
    a = torch.tensor(30.0, dtype=torch.float64)
    assert float(log_beta_inc(a, HALF, x)) == pytest.approx(
        float(mpmath.log(mpmath.betainc(30, 0.5, 0, 1e-150, regularized=True))), rel=1e-12
    )
    far = torch.tensor(1e5, dtype=torch.float64)
    want = float(mpmath.log(mpmath.gammainc(30, 1e5, mpmath.inf, regularized=True)))
    assert float(log_gamma_inc_upper(a, far)) == pytest.approx(want, rel=1e-12)


def test_ends_of_the_interval_have_all_mass_or_none() -> None:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert log_beta_inc(HALF, HALF, ends).tolist() == [-math.inf, 0.0]
    assert log_beta_inc_upper(HALF, HALF, ends).tolist() == [0.0, -math.inf]
    ends = torch.tensor([0.0, math.inf], dtype=torch.float64)
    assert log_gamma_inc(HALF, ends).tolist() == [-math.inf, 0.0]
    assert log_gamma_inc_upper(HALF, ends).tolist() == [0.0, -math.inf]


# --- derivatives --------------------------------------------------------------------------------


def slope_by_mpmath(function, arguments: list[float], k: int) -> float:
    """The derivative to argument ``k``, by differences with thirty digits to spare."""
    with mpmath.workdps(60):
        point = [mpmath.mpf(v) for v in arguments]
        h = mpmath.mpf(10) ** -20 * point[k]

        def at(step: int):
            return mpmath.log(
                function(*[p + step * h if i == k else p for i, p in enumerate(point)])
            )

        return float((at(1) - at(-1)) / (2 * h))


@pytest.mark.parametrize("arguments", [(0.3, 2.0, 0.2), (40.0, 3.0, 0.9), (2.5, 0.5, 0.99)])
@pytest.mark.parametrize("upper", [False, True])
def test_derivatives_of_the_beta_function(arguments: tuple[float, ...], upper: bool) -> None:
    def exact(a, b, x):
        return mpmath.betainc(a, b, *((x, 1) if upper else (0, x)), regularized=True)

    tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in arguments]
    value = (log_beta_inc_upper if upper else log_beta_inc)(*tensors)
    for k, grad in enumerate(torch.autograd.grad(value, tensors)):
        assert float(grad) == pytest.approx(slope_by_mpmath(exact, list(arguments), k), rel=1e-9)


@pytest.mark.parametrize("arguments", [(0.3, 0.2), (40.0, 30.0), (2.5, 9.0)])
@pytest.mark.parametrize("upper", [False, True])
def test_derivatives_of_the_gamma_function(arguments: tuple[float, ...], upper: bool) -> None:
    def exact(a, x):
        return mpmath.gammainc(a, *((x, mpmath.inf) if upper else (0, x)), regularized=True)

    tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in arguments]
    value = (log_gamma_inc_upper if upper else log_gamma_inc)(*tensors)
    for k, grad in enumerate(torch.autograd.grad(value, tensors)):
        assert float(grad) == pytest.approx(slope_by_mpmath(exact, list(arguments), k), rel=1e-9)


# --- whoever records operations -----------------------------------------------------------------


def test_a_value_from_scipy_is_not_recorded_as_a_constant() -> None:
    with pytest.raises(RecordingError, match="reads a number out of a tensor"):
        record(lambda a: (inverse("gammaincinv", HALF, a),), torch.tensor(1.5, dtype=torch.float64))


@pytest.mark.parametrize("function", [log_gamma_inc, log_gamma_inc_upper])
def test_a_mass_is_recorded_with_its_arguments(function) -> None:
    graph = record(lambda a: (function(a, HALF),), torch.tensor(1.5, dtype=torch.float64))
    other = torch.tensor(0.7, dtype=torch.float64)
    torch.testing.assert_close(replay(graph)(other)[0], function(other, HALF))


def test_restricted_families_compile_and_give_the_gradient_of_autograd() -> None:
    target = flat(loads(PROGRAM).morphism.double().target(None, DATA))
    q = torch.tensor([[0.2, -0.3], [1.0, 0.5]], dtype=torch.float64)
    native = prepare(target, q[0])
    assert isinstance(native, NativeTarget), native
    for got, want in zip(native.evaluate(q), eager(target)(q), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_variational_steps_follow_a_mass_that_moves() -> None:
    """Losses over twenty steps are those of a guide at the weights of each step."""
    model = loads(PROGRAM).morphism.double()
    guide = AutoNormalGuide(model, observed_names=set(DATA)).double()
    generator = torch.Generator().manual_seed(0)
    optim = torch.optim.Adam(guide.parameters(), lr=0.1)
    svi = SVI(model, guide, optim, ELBO(num_particles=50), generator=generator)
    losses = [float(svi.step(None, DATA)) for _ in range(20)]
    fresh = torch.Generator()
    fresh.set_state(generator.get_state())
    still = torch.optim.SGD(guide.parameters(), lr=0.0)
    eager = SVI(model, guide, still, ELBO(num_particles=50), generator=fresh)
    want = float(eager.step(None, DATA))
    assert float(svi.step(None, DATA)) == pytest.approx(want, rel=1e-6)
    assert losses[-1] < losses[0]
