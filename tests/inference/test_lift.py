"""Lifting: weights as sites, one contiguous slice per storage tensor, the module untouched."""

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import MCMC, NUTSKernel, bayesian_lift_parameters
from quivers_nb.inference.lift import site_names
from tests.support.models import HandModel, colliding, normal
from tests.support.targets import F64

X = torch.linspace(-1, 1, 5)[:, None]
OBS = {"y": torch.tensor([0.3, -0.2, 0.5, 0.9, 1.1])}


def lifted_target(prior_scale: float = 1.0):
    lifted, x, obs = bayesian_lift_parameters(HandModel(), X, OBS, prior_scale)
    return lifted.target(x, obs, dtype=F64)


def test_sites_are_weights_by_path_then_the_model_s_own():
    target = lifted_target()
    assert [(c.name, c.start, c.size) for c in target.layout] == [
        ("theta__a[0]_halves", 0, 1),
        ("theta__a[1]_halves", 1, 1),
        ("theta__b_offset", 2, 2),
        ("m", 4, 2),
        ("z", 6, 5),
    ]


def test_paths_that_collide_get_names_of_their_own():
    assert site_names(colliding(HandModel()).parameter_sites()) == (
        "theta__a_b", "theta__a_b__2", "theta__b_offset",
    )  # fmt: skip


def test_weights_reach_the_model_as_views_of_q():
    seen = {}
    target = lifted_target()
    original = type(target.inner).terms

    def spy(self, q, *, parameters=None, generator=None):
        seen.update(parameters)
        return original(self, q, parameters=parameters, generator=generator)

    q = torch.randn(3, target.layout.dim, dtype=F64)
    try:
        type(target.inner).terms = spy
        target.terms(q)
    finally:
        type(target.inner).terms = original
    assert {key: tuple(value.shape) for key, value in seen.items()} == {
        "a.halves": (3, 2, 1), "b.offset": (3, 1, 2),
    }  # fmt: skip
    storages = {value.untyped_storage().data_ptr() for value in seen.values()}
    assert storages == {q.untyped_storage().data_ptr()}


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_the_density_is_the_model_s_at_those_weights_plus_the_prior(scale):
    target = lifted_target(scale)
    q = torch.randn(target.layout.dim, dtype=F64)
    model = HandModel().double()
    with torch.no_grad():
        model.halves.copy_(q[:2].reshape(2, 1))
        model.offset.copy_(q[2:4].reshape(1, 2))
    values = {"m": q[4:6], "z": q[6:], "y": OBS["y"].double()}
    wanted = model.log_density(X.double(), values) + normal(q[:4], 0.0, scale).sum()
    torch.testing.assert_close(target.terms(q).total(), wanted)
    stacked = torch.stack([q, 2 * q])
    torch.testing.assert_close(target.terms(stacked).total()[0], wanted)


def test_the_module_is_never_touched():
    model = HandModel()
    before = {key: value.detach().clone() for key, value in model.storage().items()}
    lifted, x, obs = bayesian_lift_parameters(model, X, OBS)
    MCMC(NUTSKernel(), 20, 10, num_chains=2, seed=0).run(lifted, x, obs)
    for key, value in model.storage().items():
        assert torch.equal(value, before[key])
        assert value.grad is None


def test_weights_start_at_the_module_s_values_give_or_take_a_hundredth():
    lifted, x, obs = bayesian_lift_parameters(HandModel(), X, OBS)
    still = NUTSKernel(step_size=1e-9, adapt_step_size=False)
    result = MCMC(still, 0, 1, num_chains=64, seed=0).run(lifted, x, obs)
    start = result.samples["theta__b_offset"][:, 0]  # (chains, 2)
    off = start - torch.tensor([0.1, -0.1])
    assert 0.006 < float(off.std()) < 0.014
    assert float(off.abs().max()) < 0.05
    assert float(result.samples["m"].abs().max()) > 1.0  # other coordinates: uniform(-2, 2)


def test_lifted_draws_have_one_flat_vector_per_weight():
    lifted, x, obs = bayesian_lift_parameters(HandModel(), X, OBS)
    result = MCMC(NUTSKernel(), 50, 20, num_chains=2, seed=0).run(lifted, x, obs)
    assert {name: tuple(value.shape) for name, value in result.samples.items()} == {
        "theta__a[0]_halves": (2, 20, 1),
        "theta__a[1]_halves": (2, 20, 1),
        "theta__b_offset": (2, 20, 2),
        "m": (2, 20, 2),
        "z": (2, 20, 5),
    }


def test_unconstrain_takes_missing_weights_from_the_module():
    target = lifted_target()
    values = {"m": torch.ones(2, dtype=F64), "z": torch.zeros(5, dtype=F64)}
    q = target.unconstrain({**values, "theta__b_offset": torch.tensor([7.0, 8.0], dtype=F64)})
    assert q.tolist() == [0.5, 0.25, 7.0, 8.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_a_scale_that_is_not_positive_and_a_model_without_weights_are_refused():
    with pytest.raises(UserError, match=r"prior_scale=0\.0 must be positive"):
        bayesian_lift_parameters(HandModel(), X, OBS, prior_scale=0.0)
    bare = HandModel()
    bare.parameter_sites = tuple
    with pytest.raises(UserError, match="no parameters to lift"):
        bayesian_lift_parameters(bare, X, OBS)
