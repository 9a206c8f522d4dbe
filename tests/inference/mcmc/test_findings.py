"""What a run says of itself: places of divergences, energies, tails, and how to write effects."""

import numpy as np
import pytest
import torch

from quivers_nb.inference import MCMC, NUTSKernel, diagnose
from quivers_nb.inference.mcmc.geometry import centering, gathered
from tests.support.targets import F64, HandTarget, eight_schools, gaussian

EFFECTS = 8


def hierarchical(*, centred: bool, noise: float) -> HandTarget:
    """tau > 0 and effects over a plate, observed with this noise at made-up values."""
    y = 2.0 * torch.randn(EFFECTS, dtype=F64, generator=torch.Generator().manual_seed(1))

    def log_density(v):
        tau, z = v["tau"][..., None], v["theta"]
        theta = z if centred else tau * z
        prior = -0.5 * (z / tau) ** 2 - tau.log() if centred else -0.5 * z**2
        likelihood = -0.5 * ((y - theta) / noise) ** 2
        return (prior + likelihood).sum(-1) - 0.5 * (tau[..., 0] / 5.0) ** 2

    return HandTarget({"tau": (), "theta": (EFFECTS,)}, log_density, positive=("tau",))


def run(target, **options):
    options = {"num_warmup": 300, "num_samples": 300, "num_chains": 4, "seed": 1, **options}
    return MCMC(NUTSKernel(**options.pop("kernel", {})), **options).run_target(target)


def names(result) -> set[str]:
    return {finding.name for finding in result.warnings}


def test_centred_effects_with_weak_data_are_to_be_written_non_centred():
    result = run(hierarchical(centred=True, noise=20.0))
    (finding,) = [f for f in result.warnings if f.name == "centering"]
    assert "spread of `theta` is tied to `tau` (correlation +0." in finding.fact
    assert "Write `theta` non-centred" in finding.advice


def test_non_centred_effects_with_strong_data_are_to_be_written_centred():
    result = run(hierarchical(centred=False, noise=0.02), num_warmup=100, num_samples=100)
    finding = centering(result)
    assert finding is not None
    assert "correlation -" in finding.fact
    assert "write them centred" in finding.advice


@pytest.mark.parametrize(("centred", "noise"), [(True, 0.2), (False, 20.0)])
def test_the_right_form_gets_no_advice(centred, noise):
    result = run(hierarchical(centred=centred, noise=noise), num_samples=1000)
    assert "centering" not in names(result)


def test_divergences_are_placed():
    result = run(hierarchical(centred=True, noise=20.0))
    (finding,) = [f for f in result.warnings if f.name == "divergences"]
    assert "they gather where" in finding.fact
    label, there, usual = gathered(result)[0]
    assert label in finding.fact
    assert there != pytest.approx(usual, rel=0.1)


def test_no_place_is_named_if_there_is_none():
    assert gathered(run(eight_schools(), num_samples=50)) == []
    steep = HandTarget({"z": (2,)}, lambda v: -((1e3 * v["z"]) ** 4).sum(-1))
    options = {"step_size": 10.0, "adapt_step_size": False}
    every = run(steep, num_warmup=0, num_samples=20, kernel=options)
    assert int(every.divergence_counts.sum()) == 80
    assert gathered(every) == []
    assert {"not-moved", "divergences"} <= names(every)


def test_missing_information_agrees_with_arviz_and_is_reported():
    arviz = pytest.importorskip("arviz", reason="needs the extra [analysis]")
    energy = np.cumsum(np.random.default_rng(0).standard_normal((3, 500)), axis=1)
    np.testing.assert_allclose(diagnose.bfmi(energy), arviz.bfmi(energy), rtol=1e-12)
    assert np.isnan(diagnose.bfmi(energy[:, :3])).all()
    healthy = run(gaussian(torch.zeros(3, dtype=F64), torch.eye(3, dtype=F64)))
    assert (healthy.bfmi > 0.5).all()
    heavy = HandTarget({"z": (1,)}, lambda v: -0.75 * torch.log1p(v["z"][..., 0] ** 2))
    found = [f for f in run(heavy, num_samples=2000).warnings if f.name == "low-bfmi"]
    assert found
    assert "tails are out of reach" in found[0].fact


def test_tails_count_too():
    result = run(eight_schools(), num_samples=100)
    assert result.ess_tail["theta_raw"].shape == (8,)
    np.testing.assert_allclose(result.ess_tail["mu"], diagnose.ess_tail(result.samples["mu"]))
    assert "low-tail-ess" in names(run(eight_schools(), num_samples=30))
