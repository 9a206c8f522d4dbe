"""The run: streams, starts, stopping, what is kept, what is reported."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import MCMC, HMCKernel, NUTSKernel
from quivers_nb.inference.mcmc import run as mcmc_run
from quivers_nb.inference.mcmc import store
from quivers_nb.inference.mcmc.run import keep_most
from quivers_nb.inference.ranges import TIERS
from tests.support.interrupts import interrupted_once
from tests.support.targets import F64, HandTarget, eight_schools, logistic

PYTHON_TIERS = ("eager", "traced")


def run(target=None, kernel=None, **options):
    options = {"num_warmup": 30, "num_samples": 20, "num_chains": 2, "seed": 0, **options}
    watch, keep, thin = (
        options.pop(k, d) for k, d in (("watch", None), ("keep", None), ("thin", 1))
    )
    mcmc = MCMC(kernel or NUTSKernel(), **options)
    return mcmc.run_target(target or eight_schools(), watch=watch, keep=keep, thin=thin)


def same(a, b) -> bool:
    return all(torch.equal(a.samples[name], b.samples[name]) for name in a.samples)


# --- streams


@pytest.mark.parametrize("tier", TIERS)
def test_a_seed_repeats_a_run_and_another_does_not(tier):
    assert same(run(tier=tier), run(tier=tier))
    assert not same(run(tier=tier), run(tier=tier, seed=1))


@pytest.mark.parametrize("tier", TIERS)
def test_the_largest_seed_and_depth_run(tier):
    kernel = NUTSKernel(max_tree_depth=63)
    largest = run(kernel=kernel, tier=tier, seed=2**64 - 1)
    assert largest.seed == 2**64 - 1
    assert same(largest, run(kernel=kernel, tier=tier, seed=2**64 - 1))
    assert not same(largest, run(kernel=kernel, tier=tier, seed=2**63 - 1))


def test_without_a_seed_torch_decides():
    first = None
    for _ in range(2):
        torch.manual_seed(7)
        result = run(seed=None)
        assert first is None or same(first, result)
        first = result
    assert not same(first, run(seed=None))


@pytest.mark.parametrize("kernel", [NUTSKernel(), HMCKernel(num_steps=5)])
@pytest.mark.parametrize("tier", TIERS)
def test_a_chain_is_the_same_alone_and_among_others(kernel, tier):
    together = run(kernel=kernel, tier=tier, num_chains=3)
    alone = run(kernel=kernel, tier=tier, num_chains=1)
    for name, draws in together.samples.items():
        torch.testing.assert_close(draws[:1], alone.samples[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("tier", TIERS)
def test_an_executor_gives_the_same_draws(tier):
    with ThreadPoolExecutor(2) as pool:
        spread = run(tier=tier, executor=pool)
    together = run(tier=tier)
    assert spread.num_chains == 2
    for name, draws in together.samples.items():
        torch.testing.assert_close(draws, spread.samples[name], rtol=0, atol=1e-10)


def test_eager_and_traced_make_the_same_draws():
    a, b = run(tier="eager"), run(tier="traced")
    assert (a.tier, b.tier) == PYTHON_TIERS
    for name, draws in a.samples.items():
        torch.testing.assert_close(draws, b.samples[name], rtol=0, atol=1e-8)


# --- shapes and selection


def test_shapes_are_chains_draws_value():
    result = run(num_chains=3)
    assert {k: tuple(v.shape) for k, v in result.samples.items()} == {
        "mu": (3, 20), "tau": (3, 20), "theta_raw": (3, 20, 8),
    }  # fmt: skip
    assert result.log_densities.shape == (3, 20)
    assert result.acceptance_rates.shape == result.divergence_counts.shape == (3,)
    assert (result.num_chains, result.num_samples, result.num_warmup) == (3, 20, 30)
    assert result.samples["mu"].dtype is F64
    assert (result.samples["tau"] > 0).all()
    assert result.r_hat["theta_raw"].shape == result.ess["theta_raw"].shape == (8,)


@pytest.mark.parametrize("tier", TIERS)
def test_log_densities_are_those_of_the_draws(tier):
    result = run(tier=tier)
    target = eight_schools()
    q = target.unconstrain(result.samples)
    torch.testing.assert_close(target.terms(q).total(), result.log_densities)


@pytest.mark.parametrize("tier", TIERS)
def test_keep_and_thin_select(tier, monkeypatch):
    whole = run(tier=tier)
    part = run(tier=tier, keep={"tau"}, thin=3)
    assert list(part.samples) == ["tau"]
    assert torch.equal(part.samples["tau"], whole.samples["tau"][:, 2::3])
    assert part.num_samples == 6
    monkeypatch.setattr(store, "_BLOCK_BYTES", 8 * 10 * 4)  # blocks of four draws
    assert same(run(tier=tier), whole)
    with pytest.raises(UserError, match=r"keep=\['nu'\]: the sites of this run are mu, tau"):
        run(keep={"nu"})
    with pytest.raises(UserError, match="thin=21 keeps none of 20 draws"):
        run(thin=21)


def test_draws_that_do_not_fit_in_memory_are_refused_with_the_figure(monkeypatch):
    monkeypatch.setattr(store, "available_memory", lambda: 2**20)
    with pytest.raises(UserError, match=r"would take 0\.7 GiB and 0\.0 GiB .* are available"):
        run(num_samples=5_000_000)


def test_available_memory_is_some_of_what_the_machine_has():
    assert 2**24 < store.available_memory() < 2**50


@pytest.mark.parametrize("warmup", [0, 1, 10, 19, 20])
def test_any_length_of_warm_up_runs(warmup):
    result = run(num_warmup=warmup, num_samples=5)
    assert torch.isfinite(result.log_densities).all()


def test_a_step_size_that_is_not_adapted_is_the_one_given():
    result = run(kernel=NUTSKernel(step_size=0.25, adapt_step_size=False))
    assert (result.stats["step_size"] == 0.25).all()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("source", ["draws", "gradients"])
@pytest.mark.parametrize("mass_matrix", ["identity", "diagonal", "dense", "low_rank"])
def test_every_metric_runs(mass_matrix, source, tier):
    kernel = NUTSKernel(mass_matrix=mass_matrix, adapt_from=source)
    result = run(kernel=kernel, num_warmup=100, tier=tier)
    assert result.acceptance_rates.min() > 0.5
    assert result.tier == tier


def _single(rows: int) -> HandTarget:
    """Two coordinates and many rows, in float32."""
    x = torch.linspace(-1.0, 1.0, rows)
    y = 0.5 + 2.0 * x + torch.sin(1e3 * x)

    def log_density(sites):
        a, b = sites["z"].unbind(-1)
        rest = y.to(a.dtype) - a[..., None] - b[..., None] * x.to(a.dtype)
        return -0.5 * rest.square().sum(-1) - 0.005 * sites["z"].square().sum(-1)

    target = HandTarget({"z": (2,)}, log_density)
    target.dtype = torch.float32
    return target


@pytest.mark.parametrize("tier", TIERS)
def test_float32_runs_in_float32(tier):
    result = run(_single(30), tier=tier)
    assert result.tier == tier
    assert result.samples["z"].dtype is torch.float32
    assert result.samples["z"].isfinite().all()


def test_native_chains_in_float32_keep_the_digits_of_a_long_sum():
    """Of 300,000 terms; added up in float32 they were 0.14 off, in double 0.001."""
    target = _single(300_000)
    result = run(target, tier="native", num_warmup=60, num_samples=40)
    assert result.tier == "native"
    z = result.samples["z"].to(F64)
    wanted = target.log_density({"z": z})
    found = torch.as_tensor(result.stats["log_density"])
    assert float((found - wanted).abs().max()) < 0.02
    assert result.divergence_counts.sum() == 0
    assert result.acceptance_rates.min() > 0.6


def test_native_chains_in_float32_have_the_moments_of_those_in_float64():
    """4 x 2000 draws of two coordinates: six standard errors, as for every moment here."""
    narrow, wide = _single(50), _single(50)
    wide.dtype = F64
    options = {"num_warmup": 300, "num_samples": 2000, "num_chains": 4, "tier": "native"}
    single, double = run(narrow, **options), run(wide, seed=1, **options)
    a, b = (r.samples["z"].to(F64).reshape(-1, 2) for r in (single, double))
    error = (2.0 / 2000.0) ** 0.5 * b.std(0)  # at least a quarter of the draws count
    assert ((a.mean(0) - b.mean(0)).abs() < 6.0 * error).all()
    assert ((a.std(0) / b.std(0) - 1.0).abs() < 6.0 * (1.0 / 4000.0) ** 0.5).all()
    shifted = a.mean(0) + 0.2 * b.std(0)  # the power: a fifth of a standard deviation is seen
    assert ((shifted - b.mean(0)).abs() > 6.0 * error).any()


# --- starts


def test_a_start_is_tried_until_the_density_is_finite():
    def log_density(sites):
        z = sites["z"][..., 0]
        return torch.where(z > 1.5, -0.5 * z**2, torch.nan)

    result = run(HandTarget({"z": (1,)}, log_density), num_chains=4)
    assert (result.samples["z"] > 1.5).all()


def test_no_possible_start_is_an_error_that_names_the_sites():
    bad = HandTarget({"nu": (2,)}, lambda sites: sites["nu"].sum(-1) - torch.inf)
    with pytest.raises(UserError, match=r"100 tries.*nu = \[.*init_values"):
        run(bad)


def test_starting_at_values():
    values = {"mu": 3.0, "tau": 2.0}
    result = run(init_strategy="value", init_values=values, num_warmup=0, num_samples=1, thin=1,
                 kernel=NUTSKernel(step_size=1e-12, adapt_step_size=False))  # fmt: skip
    torch.testing.assert_close(result.samples["mu"], torch.full((2, 1), 3.0, dtype=F64))
    torch.testing.assert_close(result.samples["tau"], torch.full((2, 1), 2.0, dtype=F64))
    assert result.samples["theta_raw"].unique().numel() == 16  # not given: uniform, by chain
    with pytest.raises(UserError, match=r"start values for \['nu'\]: the latent sites are mu, tau"):
        run(init_strategy="value", init_values={"nu": 1.0})


def test_a_model_without_latents_has_nothing_to_draw():
    with pytest.raises(UserError, match="nothing to draw"):
        run(HandTarget({}, lambda sites: torch.zeros(())))


# --- densities that misbehave


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("edge", [float("nan"), float("-inf")])
def test_a_chain_at_an_edge_leaves_the_others_alone(tier, edge):
    """Beyond z = 1 the density is not a number, or zero: divergences there, no crash anywhere."""

    def log_density(sites):
        z = sites["z"][..., 0]
        return torch.where(z < 1.0, -0.5 * z**2, edge)

    result = run(HandTarget({"z": (1,)}, log_density), tier=tier, num_samples=200, num_chains=3)
    assert (result.samples["z"] < 1.0).all()
    assert (result.divergence_counts > 0).all()
    assert torch.isfinite(result.log_densities).all()
    assert any(finding.name == "divergences" for finding in result.warnings)


@pytest.mark.parametrize("tier", TIERS)
def test_divergences_of_warm_up_are_not_counted(tier):
    """Two standard normals end at z = 1: in 60 draws some trajectory runs over that edge."""
    kernel = NUTSKernel(step_size=0.5, adapt_step_size=False, max_tree_depth=5)
    edge = HandTarget(
        {"z": (2,)},
        lambda s: torch.where(s["z"] < 1.0, -0.5 * s["z"].square(), -torch.inf).sum(-1),
    )
    result = run(edge, kernel, tier=tier, num_warmup=20, num_samples=60)
    assert torch.equal(result.divergence_counts, result.stats["diverged"].sum(-1))
    assert int(result.divergence_counts.sum()) > 0


def test_a_chain_that_has_not_moved_is_reported():
    """R14: acceptance and divergences alone would call it perfect."""
    kernel = NUTSKernel(step_size=1e-7, adapt_step_size=False, max_tree_depth=3)
    result = run(logistic(), kernel)
    assert result.acceptance_rates.min() > 0.99
    assert not result.divergence_counts.any()
    (finding,) = [f for f in result.warnings if f.name == "not-moved"]
    assert "[0, 1]" in finding.fact
    healthy = run(logistic(), num_warmup=200, num_samples=50)
    assert "not-moved" not in {f.name for f in healthy.warnings}


def test_a_chain_that_rejects_everything_is_reported():
    kernel = NUTSKernel(step_size=1e4, adapt_step_size=False)
    result = run(logistic(), kernel)
    assert "not-moved" in {f.name for f in result.warnings}


def test_a_short_unmixed_run_is_told_from_a_long_one():
    short = {f.name for f in run(num_warmup=5, num_samples=20).warnings}
    assert "low-ess" in short
    long = run(logistic(), num_warmup=300, num_samples=600, num_chains=4)
    assert long.warnings == ()


def test_hitting_the_depth_limit_is_reported():
    result = run(logistic(), NUTSKernel(max_tree_depth=1), num_warmup=100)
    assert "tree-depth" in {f.name for f in result.warnings}


# --- stopping


@pytest.mark.parametrize("tier", TIERS)
def test_a_watcher_sees_every_transition_and_can_stop(tier):
    seen = []
    result = run(tier=tier, watch=lambda p: seen.append(p) or (p.transition == 39 and p.chain == 0))
    assert result.interrupted
    assert result.num_samples >= 10
    assert result.num_chains * result.num_samples < 40
    assert [p.transition for p in seen if p.chain == 0][:40] == list(range(40))
    assert [p.warming for p in seen if p.chain == 0][:40] == [True] * 30 + [False] * 10
    whole = run(tier=tier)
    chains, kept = result.num_chains, result.num_samples
    assert torch.equal(result.samples["mu"], whole.samples["mu"][:chains, :kept])
    assert result.warnings[0].name == "interrupted"


@pytest.mark.parametrize("tier", TIERS)
def test_an_interrupt_keeps_the_draws_so_far(tier):
    def interrupt(progress):
        if progress.transition == 40:
            raise KeyboardInterrupt

    result = run(tier=tier, watch=interrupt, num_chains=1)
    assert result.interrupted
    assert 10 <= result.num_samples < 20
    assert result.samples["mu"].shape == (1, result.num_samples)


def test_an_interrupt_in_warm_up_returns_no_draws_and_works():
    def interrupt(progress):
        raise KeyboardInterrupt

    result = run(tier="traced", watch=interrupt)
    assert (result.num_samples, result.interrupted) == (0, True)
    assert result.samples["theta_raw"].shape == (2, 0, 8)
    assert "interrupted" in repr(result)
    assert result.summary().splitlines()[-1].startswith("! interrupted")


def test_an_interrupted_run_keeps_the_chains_that_give_most_draws():
    assert keep_most([0, 100, 90]) == ([1, 2], 90)
    assert keep_most([0, 0, 30]) == ([2], 30)
    assert keep_most([50, 40, 45]) == ([0, 1, 2], 40)
    assert keep_most([10, 20]) == ([0, 1], 10)
    assert keep_most([0, 0]) == ([0, 1], 0)


# --- presentation


def test_the_result_prints_its_facts_in_one_line_and_a_table():
    result = run()
    assert repr(result).startswith("MCMCResult(2 chains x 20 draws, 3 sites, 10 coordinates, ")
    lines = result.summary(max_rows=4).splitlines()
    assert lines[0].split() == ["mean", "sd", "5%", "95%", "mcse", "ess", "r_hat"]
    assert [line.split()[0] for line in lines[1:5]] == ["mu", "tau", "theta_raw[0]", "theta_raw[1]"]
    assert "... and 6 more" in lines[5]
    mean = float(lines[1].split()[1])
    assert mean == pytest.approx(float(result.samples["mu"].mean()), rel=1e-2)


def test_arviz_gets_draws_and_statistics():
    result = run()
    with warnings.catch_warnings():  # ArviZ announces its next major version once a day
        warnings.simplefilter("ignore", FutureWarning)
        data = result.to_arviz()
    np.testing.assert_array_equal(data.posterior["theta_raw"].values, result.samples["theta_raw"])
    assert data.sample_stats["diverging"].dtype == bool
    assert set(data.sample_stats) >= {"lp", "acceptance_rate", "tree_depth", "n_steps", "energy"}


def test_an_interrupt_when_the_draws_are_made_keeps_them(monkeypatch):
    cut, _ = interrupted_once(mcmc_run._result)
    monkeypatch.setattr(mcmc_run, "_result", cut)
    result = run()
    monkeypatch.undo()
    assert result.interrupted
    assert same(result, run())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_chains": 0}, "`num_chains` of `MCMC` is 0"),
        ({"num_samples": 0}, "`num_samples` of `MCMC` is 0"),
        ({"init_strategy": "random"}, "`init_strategy` of `MCMC` is 'random'"),
        ({"tier": "gpu"}, "`tier` of `MCMC` is 'gpu'"),
    ],
)
def test_options_out_of_range_are_named(options, named):
    with pytest.raises(UserError, match=named):
        run(**options)


@pytest.mark.parametrize("tier", ["traced", "native"])
def test_a_short_warm_up_is_cautious_in_every_tier(tier):
    """Ten draws of warm-up end at a step that moves without diverging, chain after chain."""
    result = run(logistic(500, 10), num_warmup=10, num_samples=30, num_chains=12, tier=tier, seed=3)
    assert result.acceptance_rates.min() > 0.6
    assert not result.divergence_counts.any()
