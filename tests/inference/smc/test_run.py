"""Runs of particles: temperatures, survivors, what a result holds, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, SMC, NUTSKernel, Predictive, RunFailed, SMCResult, load
from quivers_nb.inference.model import NoPrior, Terms
from quivers_nb.inference.smc.run import _Job
from quivers_nb.inference.smc.spread import spread_of
from quivers_nb.inference.smc.weights import next_step, systematic
from quivers_nb.session import figures
from quivers_nb.session.report import report
from tests.support.targets import HandTarget, gaussian

F64 = torch.float64
TEXT = """\
object N : FinSet 5
program mean : N -> N
    sample mu <- Normal(0.0, 2.0)
    sample s <- HalfNormal(1.0)
    observe y : N <- Normal(mu, s)
    return mu
export mean
"""
DATA = {"y": torch.tensor([0.3, -0.1, 0.8, 0.2, 0.5])}


@pytest.fixture(scope="module")
def model() -> Any:
    return loads(TEXT).morphism


@pytest.fixture(scope="module")
def result(model: Any) -> SMCResult:
    return SMC(200, 2, seed=3).run(model, None, DATA)


# --- weights ---------------------------------------------------------------------------------


def test_the_next_temperature_has_the_share_that_is_asked_for() -> None:
    logs = 40.0 * torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=F64)
    step = next_step(logs, 0.1, 0.7)
    assert 0.1 < step.beta < 1.0
    assert step.ess == pytest.approx(350.0, rel=1e-3)
    assert float(step.weights.sum()) == pytest.approx(1.0)
    assert float(1.0 / step.weights.square().sum()) == pytest.approx(step.ess)
    mean = ((step.beta - 0.1) * logs).exp().mean().log()
    assert step.log_evidence == pytest.approx(float(mean))


def test_the_last_temperature_is_one_and_impossible_particles_count_nothing() -> None:
    logs = torch.tensor([0.0, 0.1, -torch.inf, -torch.inf], dtype=F64)
    step = next_step(logs, 0.0, 0.5)
    assert step.beta == 1.0
    assert step.weights[2:].tolist() == [0.0, 0.0]
    assert step.ess == pytest.approx(2.0, rel=1e-2)


def test_likelihoods_far_below_any_number_still_give_a_step() -> None:
    logs = -(10.0 ** torch.linspace(0.0, 12.0, 100, dtype=F64))
    step = next_step(logs, 0.0, 0.5)
    assert 0.0 < step.beta < 1.0
    assert step.ess == pytest.approx(50.0, abs=1.0)


def test_systematic_resampling_takes_each_as_often_as_its_weight_says() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(50, generator=generator, dtype=F64)
    weights[7] = 0.0
    weights = weights / weights.sum()
    draws = [systematic(weights, generator).bincount(minlength=50) for _ in range(4000)]
    counts = torch.stack(draws).to(F64)
    expected = 50 * weights
    assert bool((counts >= expected.floor()).all() & (counts <= expected.ceil()).all())
    error = 0.5 / 4000**0.5  # of a number that takes one of two neighbouring values
    assert float((counts.mean(0) - expected).abs().max()) < 4.5 * error


def test_correlations_are_used_where_particles_are_many_and_shrunk_where_they_are_few() -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.linalg.cholesky(torch.tensor([[4.0, 1.9], [1.9, 1.0]], dtype=F64))
    q = torch.randn(4000, 2, generator=generator, dtype=F64) @ factor.mT
    spread = spread_of(q, 2000.0)
    covariance = spread.position(torch.eye(2, dtype=F64)).mT
    assert spread.factor is not None
    torch.testing.assert_close(covariance @ covariance.mT, factor @ factor.mT, rtol=0.1, atol=0.0)
    wide = spread_of(torch.randn(30, 60, generator=generator, dtype=F64), 15.0)
    assert wide.factor is not None
    assert float((wide.factor - torch.eye(60, dtype=F64)).abs().max()) < 0.1


# --- the result --------------------------------------------------------------------------------


def test_a_result_has_draws_evidence_and_how_they_came_about(result: SMCResult) -> None:
    assert result.samples["mu"].shape == result.samples["s"].shape == (2, 200)
    assert result.samples["mu"].dtype is F64
    assert bool((result.samples["s"] > 0.0).all())
    assert result.log_evidences.shape == (2,)
    assert [t[-1].item() for t in result.temperatures] == [1.0, 1.0]
    for trail in result.trails:
        assert bool((trail.temperature.diff() > 0.0).all())
        assert bool((trail.ess >= 99.0).all())
    assert len(result.stage_ess[0]) == len(result.stage_acceptance[0])
    assert result.warnings == ()
    assert "log evidence" in result.summary()
    assert "2 runs x 200 particles" in repr(result)
    assert result.log_evidence_se > 0.0


def test_the_same_seed_gives_the_same_draws_wherever_runs_are_made(
    model: Any, result: SMCResult
) -> None:
    with ThreadPoolExecutor(2) as pool:
        apart = SMC(200, 2, seed=3, executor=pool).run(model, None, DATA)
    other = SMC(200, 2, seed=4).run(model, None, DATA)
    assert torch.equal(apart.samples["mu"], result.samples["mu"])
    assert not torch.equal(other.samples["mu"], result.samples["mu"])
    assert not torch.equal(result.samples["mu"][0], result.samples["mu"][1])


@pytest.mark.parametrize("tier", ["eager", "traced", "native"])
def test_every_tier_takes_the_same_way(model: Any, tier: str) -> None:
    found = SMC(50, 1, seed=3, tier=tier).run(model, None, DATA)
    assert found.tier == tier
    reference = SMC(50, 1, seed=3, tier="eager").run(model, None, DATA)
    torch.testing.assert_close(found.log_evidences, reference.log_evidences, rtol=1e-6, atol=0.0)


def test_what_takes_chains_takes_particles(model: Any, result: SMCResult, tmp_path: Any) -> None:
    path = result.save(tmp_path / "draws")
    again = load(path, model)
    assert isinstance(again, SMCResult)
    assert torch.equal(again.samples["mu"], result.samples["mu"])
    assert again.log_evidence == result.log_evidence
    assert again.stage_ess[1].tolist() == result.stage_ess[1].tolist()
    chains = MCMC(NUTSKernel(), 20, 20, seed=0).run(model, None, DATA)
    assert not isinstance(load(chains.save(tmp_path / "chains")), SMCResult)
    assert len(Predictive(model, result, 30)(None)["y"]) == 30
    groups = result.to_arviz()
    assert groups["posterior"]["mu"].shape == (2, 200)
    assert groups["log_likelihood"]["y"].shape == (2, 200, 5)


def test_a_report_has_the_evidence_and_a_figure_of_energies_is_refused(result: SMCResult) -> None:
    shown = report(result)
    start = f"2 runs of 200 particles, log evidence {result.log_evidence:.4g} ± "
    assert shown.sentence.startswith(start)
    assert "temperatures " in shown._repr_mimebundle_()["text/plain"]
    assert result.tree_depths.shape == (2, 200)
    assert bool(result.bfmi.isnan().all())
    with pytest.raises(UserError, match="particles have no sequence of energies"):
        figures.energy(result)


def test_only_the_sites_that_are_asked_for_are_kept(model: Any) -> None:
    found = SMC(20, 1, seed=0).run(model, None, DATA, keep=["s"])
    assert list(found.samples) == ["s"]


# --- what can go wrong -------------------------------------------------------------------------


class Proper(HandTarget):
    """A normal prior of two coordinates, and a likelihood that may fail at a given call."""

    def __init__(self, fail: Exception | type[BaseException] | None = None, after: int = 0) -> None:
        whole = gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64))
        super().__init__({"z": (2,)}, whole.log_density)
        self.fail, self.calls = fail, iter(range(10**9))
        self.after = after

    def prior_terms(self, q: Tensor) -> Terms:
        return super().terms(q)

    def terms(self, q: Tensor, *, parameters: Any = None, generator: Any = None) -> Terms:
        if self.fail is not None and next(self.calls) >= self.after:
            raise self.fail
        return Terms(None, super().terms(q).shared - 50.0 * (q[..., 0] - 1.0).square())

    def draw_prior(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, 2, generator=generator, dtype=F64)


def counted(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """The second run fails."""
    whole = _Job.run

    def run(job: _Job, number: int) -> Any:
        if number == 1:
            raise error
        return whole(job, number)

    monkeypatch.setattr(_Job, "run", run)


def test_an_interrupt_keeps_complete_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    counted(monkeypatch, KeyboardInterrupt())
    found = SMC(50, 4, seed=0).run_target(Proper())
    assert found.interrupted
    assert found.num_chains == 1
    assert found.warnings[0].name == "interrupted"


def test_an_interrupt_of_the_first_run_is_one() -> None:
    with pytest.raises(KeyboardInterrupt, match="before the first of 4 runs was complete"):
        SMC(50, 4, seed=0, tier="eager").run_target(Proper(KeyboardInterrupt, 5))


def test_a_failure_has_the_runs_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    counted(monkeypatch, ValueError("no such thing"))
    with pytest.raises(RunFailed, match=r"after 1 complete ones failed .*no such thing") as failed:
        SMC(50, 4, seed=0).run_target(Proper())
    assert failed.value.result.num_chains == 1


def test_a_failure_of_the_first_run_is_raised_as_it_is() -> None:
    with pytest.raises(ValueError, match="no such thing"):
        SMC(50, 4, seed=0, tier="eager").run_target(Proper(ValueError("no such thing"), 5))


def test_a_density_without_a_prior_is_refused() -> None:
    with pytest.raises(NoPrior, match=r"HandTarget has no `prior_terms.*Q0803"):
        SMC(seed=0).run_target(gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64)))


def test_impossible_data_are_refused_by_name() -> None:
    text = TEXT.replace("Normal(mu, s)", "Uniform(mu, 3.0)").replace(
        "Normal(0.0, 2.0)", "Beta(2.0, 2.0)"
    )
    with pytest.raises(UserError, match=r"the data are impossible at each of 20 draws.*`y`"):
        SMC(20, seed=0).run(loads(text).morphism, None, DATA)


def test_a_density_that_is_no_number_is_told_with_its_place() -> None:
    text = TEXT.replace("    observe", "    let r = log(mu)\n    observe").replace(
        "Normal(mu, s)", "Normal(r, s)"
    )
    found = SMC(200, 1, seed=0).run(loads(text).morphism, None, DATA)
    (finding,) = [each for each in found.warnings if each.name == "undefined-density"]
    assert "mu = -" in finding.fact
    assert bool((found.samples["mu"] > 0.0).all())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_particles": 1}, "`num_particles` of `SMC` is 1: .* at least 4"),
        ({"num_runs": 0}, "`num_runs` of `SMC` is 0"),
        ({"ess_share": 1.0}, "`ess_share` of `SMC` is 1.0"),
        ({"target_accept": 0.0}, "`target_accept` of `SMC` is 0.0"),
        ({"tier": "fast"}, "`tier` of `SMC` is 'fast': one of"),
        ({"seed": -1}, "`seed` of `SMC` is -1"),
        ({"executor": 3}, "executor=3: a concurrent.futures.Executor"),
        ({"particles": 3}, "no option `particles`"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        SMC(**options)


def test_a_model_without_latents_is_refused(model: Any) -> None:
    data = {**DATA, "mu": torch.tensor(0.0), "s": torch.tensor(1.0)}
    with pytest.raises(UserError, match="nothing to draw"):
        SMC(seed=0).run(model, None, data)
