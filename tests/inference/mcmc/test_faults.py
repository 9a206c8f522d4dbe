"""What goes wrong in a run names the place and the value, and keeps the draws made so far."""

import pickle

import numpy as np
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, HMCKernel, NUTSKernel, RunFailed
from quivers_nb.inference.ranges import TIERS
from tests.support.arviz_versions import groups_of
from tests.support.targets import HandTarget, eight_schools


class Broken(HandTarget):
    """Eight schools that raise at gradient number ``at``."""

    def __init__(self, at: int) -> None:
        whole = eight_schools()
        super().__init__({"mu": (), "tau": (), "theta_raw": (8,)}, whole.log_density, ("tau",))
        self.left = at

    def terms(self, q, **options):
        self.left -= 1
        if self.left == 0:
            raise ArithmeticError("the solver did not converge")
        return super().terms(q, **options)


def run(target, tier="auto", **options):
    options = {"num_warmup": 20, "num_samples": 1000, "num_chains": 1, "seed": 0, **options}
    kernel = options.pop("kernel", HMCKernel(num_steps=2, step_size=0.3, adapt_step_size=False))
    return MCMC(kernel, tier=tier, **options).run_target(target)


def test_an_error_of_the_model_at_draw_700_keeps_the_draws_before_it():
    at = 1 + 2 * (20 + 700) + 1  # one for the start, two in a transition
    with pytest.raises(RunFailed) as caught:
        run(Broken(at), tier="eager")
    message, result = str(caught.value), caught.value.result
    assert "chain 0 failed in transition 720 at mu = " in message
    assert "tau = " in message
    assert "ArithmeticError: the solver did not converge" in message
    assert "The 700 draws of 1 chains" in message
    assert isinstance(caught.value.__cause__, ArithmeticError)
    assert result.interrupted
    whole = run(eight_schools(), tier="eager")
    assert result.num_samples == 700
    assert torch.equal(result.samples["mu"], whole.samples["mu"][:, :700])


def test_the_error_and_its_draws_come_back_from_another_process():
    with pytest.raises(RunFailed) as caught:
        run(Broken(100), tier="eager")
    back = pickle.loads(pickle.dumps(caught.value))
    assert str(back) == str(caught.value)
    assert torch.equal(back.result.samples["tau"], caught.value.result.samples["tau"])


def test_who_watches_has_the_draws_and_gets_the_error_as_it_is():
    seen = []
    kernel = HMCKernel(num_steps=2, step_size=0.3, adapt_step_size=False)
    mcmc = MCMC(kernel, 20, 1000, num_chains=1, seed=0, tier="eager")
    with pytest.raises(ArithmeticError, match="did not converge"):
        mcmc.run_target(Broken(100), watch=seen.append)
    assert len(seen) == 49


def test_an_error_among_several_chains_keeps_them_all():
    with pytest.raises(RunFailed, match="a chain failed in transition") as caught:
        run(Broken(400), tier="eager", num_chains=3)
    assert caught.value.result.num_chains == 3
    assert caught.value.result.num_samples > 20


@pytest.mark.parametrize("tier", TIERS)
def test_a_density_that_is_nowhere_smooth_is_reported_as_not_moved(tier):
    """It falls by a million from any point to any other, so no step is small enough."""

    def cliff(v):
        z = v["z"][..., 0]
        return -1e9 * torch.where(z == z.detach().round(), 0.0 * z, 1.0 + 0.0 * z)

    target = HandTarget({"z": (1,)}, cliff)
    options = {"kernel": NUTSKernel(), "init_strategy": "value", "init_values": {"z": [1.0]}}
    result = run(target, tier=tier, num_samples=20, **options)  # its steps are tried, and rejected
    assert bool(result.stationary.all())
    assert "not-moved" in {finding.name for finding in result.warnings}


def test_a_flat_density_is_an_error_that_names_the_chain_and_its_values():
    flat = HandTarget({"z": (1,)}, lambda v: 0.0 * v["z"].sum(-1))
    options = {"init_strategy": "value", "init_values": {"z": [1.0]}, "num_chains": 2}
    with pytest.raises(RunFailed, match=r"chain 0 .*transition 0 at z = \[1\]: no step") as caught:
        run(flat, tier="native", kernel=NUTSKernel(), **options)
    assert "the posterior improper" in str(caught.value)
    assert caught.value.result.num_samples == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("tier", TIERS)
def test_a_density_that_is_never_finite_names_site_and_value(tier, bad):
    def nowhere(v):
        return v["z"].sum(-1) + torch.tensor(bad, dtype=torch.float64)

    with pytest.raises(UserError, match=r"not finite. At the last try: z = \["):
        run(HandTarget({"z": (2,)}, nowhere), tier=tier)


BETA = """object N : FinSet 30
program p : N -> N
    sample p <- Uniform(0.0, 1.0)
    observe y : N <- Bernoulli(p)
    return p
export p
"""


@pytest.mark.parametrize("tier", TIERS)
def test_a_posterior_at_the_boundary_of_its_support_is_sampled(tier):
    """Thirty successes: Beta(31, 1), whose density is greatest at 1 itself."""
    model = loads(BETA).morphism
    mcmc = MCMC(NUTSKernel(), 300, 500, num_chains=2, seed=1, tier=tier)
    result = mcmc.run(model, None, {"y": torch.ones(30)})
    p = result.samples["p"]
    assert ((p > 0.0) & (p <= 1.0)).all()
    assert float(p.mean()) == pytest.approx(31 / 32, abs=0.006)


def test_a_start_on_the_boundary_is_refused_with_its_value():
    model = loads(BETA).morphism
    mcmc = MCMC(NUTSKernel(), 5, 5, init_strategy="value", init_values={"p": 1.0})
    with pytest.raises(UserError, match=r"start value `p` = 1 is not inside the support"):
        mcmc.run(model, None, {"y": torch.ones(30)})


@pytest.mark.parametrize("tier", TIERS)
def test_a_plate_of_no_elements_is_no_trouble(tier):
    whole = eight_schools()
    target = HandTarget(
        {"mu": (), "none": (0,), "tau": (), "theta_raw": (8,)},
        lambda v: whole.log_density(v) + v["none"].sum(-1),
        ("tau",),
    )
    kernel = NUTSKernel()
    result = run(target, tier=tier, kernel=kernel, num_samples=100, num_chains=2)
    assert result.tier == tier
    assert result.samples["none"].shape == (2, 100, 0)
    plain = run(whole, tier=tier, kernel=kernel, num_samples=100, num_chains=2)
    torch.testing.assert_close(result.samples["mu"], plain.samples["mu"])
    assert "mu" in result.summary()
    assert isinstance(result.warnings, tuple)


@pytest.mark.parametrize("tier", TIERS)
def test_chains_that_diverge_in_every_transition_end_and_say_so(tier):
    steep = HandTarget({"z": (2,)}, lambda v: -((1e3 * v["z"]) ** 4).sum(-1))
    kernel = NUTSKernel(step_size=10.0, adapt_step_size=False)
    result = run(steep, tier=tier, kernel=kernel, num_samples=30, num_chains=2)
    assert result.divergence_counts.tolist() == [30, 30]
    names = [finding.name for finding in result.warnings]
    assert names[:2] == ["not-moved", "divergences"]
    assert np.isfinite(result.log_densities.numpy()).all()


ROOT = """object N : FinSet 3
program p : N -> N
    sample mu <- Normal(0.0, 5.0)
    let m = sqrt(mu - 1.0)
    observe y : N <- Normal(m, 1.0)
    return mu
export p
"""


def test_a_program_whose_density_is_nan_names_site_and_value():
    model = loads(ROOT).morphism
    with pytest.raises(
        UserError, match=r"is NaN .*`y` = \[1, 2, 3\] \(log density \[nan, nan, nan"
    ):
        MCMC(NUTSKernel(), 5, 5).run(model, None, {"y": torch.tensor([1.0, 2.0, 3.0])})


SIZED = """object N : FinSet n
object G : FinSet 2
data g : N -> G
program p : N -> N
    sample mu <- Normal(0.0, 5.0)
    sample theta : G <- Normal(mu, 1.0)
    let m = theta[g]
    observe y : N <- Normal(m, 1.0)
    return mu
export p
"""


@pytest.mark.parametrize("tier", TIERS)
def test_data_of_no_rows_give_the_prior(tier):
    model = loads(SIZED).morphism
    none = {"y": torch.zeros(0), "g": torch.zeros(0, dtype=torch.long)}
    mcmc = MCMC(NUTSKernel(), 300, 500, num_chains=2, seed=1, tier=tier)
    result = mcmc.run(model, None, none)
    assert result.tier == tier
    assert float(result.samples["mu"].std()) == pytest.approx(5.0, rel=0.25)
    assert "log_likelihood" not in groups_of(result.to_arviz())
