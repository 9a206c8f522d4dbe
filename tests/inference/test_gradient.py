"""Tiers of the gradient: the same numbers, or a fall back with its reason."""

import pytest
import torch

from quivers_nb.inference.gradient import disagreement, eager, gradient_of, traced
from quivers_nb.inference.target import flat
from tests.support.targets import F64, HandTarget, eight_schools, gaussian, logistic

TARGETS = {
    "eight schools": eight_schools(),
    "logistic": logistic(),
    "gaussian": gaussian(torch.ones(3, dtype=F64), torch.eye(3, dtype=F64) + 0.5),
}


def points(dim: int, chains: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(chains, dim, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("chains", [1, 3])
def test_traced_equals_eager(name, chains):
    target = flat(TARGETS[name])
    gradient = traced(target, points(target.dim, chains))
    assert (gradient.tier, gradient.reason) == ("traced", "")
    for count in (chains, 2):  # another number of chains is recorded when it is met
        q = points(target.dim, count, seed=7)
        for a, b in zip(gradient.evaluate(q), eager(target)(q), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TARGETS)
def test_the_gradient_is_that_of_finite_differences(name):
    target = flat(TARGETS[name])
    q = points(target.dim, 2)
    _, grad = eager(target)(q)
    for k in range(target.dim):
        step = torch.zeros_like(q)
        step[:, k] = 1e-5
        slope = (target.log_density(q + step) - target.log_density(q - step)) / 2e-5
        torch.testing.assert_close(grad[:, k], slope, rtol=1e-6, atol=1e-6)


def test_control_flow_on_values_falls_back_to_eager_and_says_why():
    def log_density(sites):
        z = sites["z"]
        return -z.square().sum(-1) if bool((z > 0).any()) else -z.abs().sum(-1)

    gradient = gradient_of(flat(HandTarget({"z": (2,)}, log_density)), points(2, 2))
    assert gradient.tier == "eager"
    assert "control flow on values" in gradient.reason


def test_a_density_that_hides_from_the_recorder_is_caught_by_the_check():
    def log_density(sites):
        z = sites["z"]
        hidden = torch.from_numpy(z.detach().numpy().copy())  # numpy is not recorded
        return -(z * hidden).sum(-1)

    gradient = gradient_of(flat(HandTarget({"z": (2,)}, log_density)), points(2, 2))
    assert gradient.tier == "eager"
    assert "differs from autograd" in gradient.reason


def test_the_check_catches_one_wrong_component():
    target = flat(TARGETS["gaussian"])
    right = eager(target)

    def wrong(q):
        value, grad = right(q)
        grad = grad.clone()
        grad[1, 2] *= 1.0 + 1e-6
        return value, grad

    assert disagreement(right, right, points(3, 2)) is None
    assert "gradient differs" in disagreement(wrong, right, points(3, 2))


@pytest.mark.parametrize("tier", ["eager", "traced"])
def test_a_factorisation_that_fails_is_nan_in_its_chain_alone(tier):
    def log_density(sites):
        covariance = torch.eye(2, dtype=F64) * sites["z"][..., None]
        return -torch.linalg.cholesky(covariance).diagonal(dim1=-2, dim2=-1).log().sum(-1)

    gradient = gradient_of(flat(HandTarget({"z": (1,)}, log_density)), points(1, 3).exp(), tier)
    assert gradient.tier == tier
    value, grad = gradient.evaluate(torch.tensor([[1.0], [-1.0], [2.0]], dtype=F64))
    assert value.isfinite().tolist() == [True, False, True]
    assert grad.isfinite().flatten().tolist() == [True, False, True]


@pytest.mark.parametrize("tier", ["eager", "traced"])
def test_nan_and_infinite_densities_stay_in_their_chain(tier):
    def log_density(sites):
        return torch.log(sites["z"][..., 0]) - sites["z"][..., 0]

    gradient = gradient_of(flat(HandTarget({"z": (1,)}, log_density)), points(1, 3).exp(), tier)
    value, _ = gradient.evaluate(torch.tensor([[1.0], [-1.0], [0.0]], dtype=F64))
    assert value[0] == -1.0
    assert value[1].isnan()
    assert value[2] == -torch.inf


def test_a_shape_bug_raises_and_is_never_a_density():
    target = flat(HandTarget({"z": (2,)}, lambda sites: sites["z"]))
    with pytest.raises(ValueError, match=r"has shape \(3, 2\); expected \(3,\)"):
        gradient_of(target, points(2, 3))


def test_a_constant_density_has_gradient_zero():
    target = flat(HandTarget({"z": (2,)}, lambda sites: torch.zeros(3, dtype=F64)))
    value, grad = gradient_of(target, points(2, 3)).evaluate(points(2, 3))
    assert value.tolist() == [0.0, 0.0, 0.0]
    assert not grad.any()
