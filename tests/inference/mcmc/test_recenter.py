"""Recentring: the same density over other coordinates, and a pilot that chooses well.

Speed is compared in effective draws per gradient, pilot included. The factors that are asked for
are far below those that were seen (50 and 4), and far above what chance does to four chains.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from quivers_nb import fit_nuts
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, MCMCResult, NUTSKernel, bayesian_lift_parameters
from quivers_nb.inference.centering import Centering, Located, Place, suited
from quivers_nb.inference.gradient import difference_at, eager
from quivers_nb.inference.mcmc import pilot
from quivers_nb.inference.native import Unavailable, prepare
from quivers_nb.inference.ranges import TIERS
from quivers_nb.inference.target import flat
from tests.support.targets import F64, RATED, SCHOOLS, eight_schools

# A site of every kind: on a line, positive, in the unit interval, by scale alone, below another.
MANY = """object G : FinSet 3
object K : FinSet 2
program many : G -> G
    sample mu <- Normal(0.0, 1.0)
    sample tau <- LogNormal(0.0, 0.5)
    sample fixed <- Normal(1.0, 2.0)
    sample a : G <- Normal(mu, tau)
    sample t : G <- StudentT(4.0, a, tau)
    sample p : G <- LogitNormal(mu, tau)
    sample s : G <- HalfCauchy(tau)
    sample w : G <- LogNormal(a, s)
    sample C : CholeskyFactor 2 <- LKJCholesky(2.0)
    let means = factor k : K in mu
    let L = tau * C
    sample v : G <- MultivariateNormal(means, L)
    let m = t + w * p + sum(v)
    observe y : G <- Normal(m, 1.0)
    return mu
export many
"""
MOVABLE = {"a", "t", "p", "s", "w", "v"}
Y = {"y": torch.tensor([0.3, -1.0, 2.0])}
# Four chains; two of them are enough for what is not about speed.
RECENTRED = MCMC(NUTSKernel(), 300, 300, seed=0, recenter=True)
SMALL = replace(RECENTRED, num_warmup=40, num_samples=30, num_chains=2)


def model(source: str = SCHOOLS):
    return loads(source).morphism


def opened():
    return model(MANY).target(None, Y, dtype=F64)


def centerings(target, seed=0):
    """A random centering for every element of every site that has a latent location or scale."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {c.name: c.shape for c in target.layout if c.name in MOVABLE}
    draw = lambda shape: torch.rand(shape, dtype=F64, generator=rng)  # noqa: E731
    found = {name: Centering(draw(shape), draw(shape)) for name, shape in shapes.items()}
    whole = torch.tensor([[1.0], [0.0], [0.0]], dtype=F64).expand(shapes["v"])
    return {**found, "v": Centering(found["v"].loc, whole)}  # a vector is centred or not


def points(target, count, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, target.layout.dim, dtype=F64, generator=rng)


def as_written(target, q):
    """Where ``q`` of a recentred target is in the coordinates of the program, by its values."""
    plain = target.recentred({})
    return plain.unconstrain(target.constrain(q))


@pytest.fixture
def brief(monkeypatch):
    """A pilot of few transitions, for what runs in Python."""
    monkeypatch.setattr("quivers_nb.inference.mcmc.run.WARMUP", 12)
    monkeypatch.setattr("quivers_nb.inference.mcmc.run.DRAWS", 12)


# --- the coordinates


def slope(target, q, step=1e-6):  # (dim,) -> (dim, dim)
    """The derivative of `as_written` by central differences."""
    moves = step * torch.eye(len(q), dtype=F64)
    return (as_written(target, q + moves) - as_written(target, q - moves)).mT / (2 * step)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_density_changes_by_the_jacobian_of_the_coordinates(seed):
    target = opened().recentred(centerings(opened(), seed))
    (q,) = points(target, 1, seed)
    there = flat(target.recentred({})).log_density(as_written(target, q))
    moved = torch.linalg.slogdet(slope(target, q))[1]
    assert abs(moved) > 0.1  # a Jacobian left out would be seen
    torch.testing.assert_close(flat(target).log_density(q), there + moved, rtol=0, atol=1e-6)


def test_coordinates_and_values_are_inverse():
    target = opened().recentred(centerings(opened()))
    q = points(target, 4)
    torch.testing.assert_close(target.unconstrain(target.constrain(q)), q)


def test_centred_is_the_value_and_non_centred_the_noise():
    three, place = _one(3.0), Place(_one(1.0), _one(4.0))
    assert Centering(_one(1.0), _one(1.0)).coordinate(three, place) == 3.0
    assert Centering(_one(0.0), _one(0.0)).coordinate(three, place) == 0.5


def _one(number):
    return torch.tensor([number], dtype=F64)


def test_sites_with_fixed_parameters_and_the_parents_of_others_do_not_move():
    plain = flat(opened())
    assert set(pilot._movable(plain.source, plain)) == MOVABLE


def test_every_tier_has_the_same_density(brief):
    target = flat(opened().recentred(centerings(opened())))
    q = points(target.source, 2)
    native = prepare(target, q[0])
    assert not isinstance(native, Unavailable), native
    assert difference_at(q, native.evaluate, eager(target)) is None
    run = replace(SMALL, kernel=NUTSKernel(max_tree_depth=3), num_warmup=10, num_samples=5)
    tiers = {tier: replace(run, tier=tier).run(model(), None, RATED) for tier in TIERS}
    assert {tier: result.tier for tier, result in tiers.items()} == {t: t for t in TIERS}
    assert all(set(result.centering) == {"theta"} for result in tiers.values())


# --- the choice


def drawn(values, loc, log_scale):
    """What `suited` chooses for one element of given draws."""
    found = suited(Located(values[:, None], Place(loc[:, None], log_scale.exp()[:, None])))
    return float(found.loc[0]), float(found.scale[0])


def normals(count=3):
    rng = torch.Generator().manual_seed(3)
    return torch.randn(count, 400, dtype=F64, generator=rng)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_effects_that_follow_their_parents_are_non_centred_and_known_ones_centred(unit):
    z, m, t = normals()
    loc, log_scale = unit * m, t + torch.log(torch.tensor(unit, dtype=F64))
    a, b = drawn(loc + log_scale.exp() * z, loc, log_scale)
    assert a * unit ** (1 - b) < 0.2
    assert b < 0.2
    a, b = drawn(unit * (2.0 + 0.01 * z), loc, log_scale)
    assert a > 0.9
    assert b == 1.0


def test_a_scale_that_does_not_vary_leaves_the_form_as_it_is():
    z, m, _ = normals()
    still = torch.zeros_like(z)
    assert drawn(m + z, m, still)[1] == 1.0


def test_draws_that_are_not_finite_change_nothing():
    z, m, t = normals()
    z[7] = torch.inf
    assert drawn(m + t.exp() * z, m, t) == (1.0, 1.0)


# --- runs


def worth(result) -> float:
    """Effective draws of the worst site, per gradient of pilot, warm-up and sampling."""
    sizes = [size for name, size in result.ess.items() if name != "r"]  # r has constant entries
    return min(float(size.min()) for size in sizes) / result.gradients


FUNNEL = """object N : FinSet 9
program funnel : N -> N
    sample v <- Normal(0.0, 3.0)
    let s = exp(0.5 * v)
    sample x : N <- Normal(0.0, s)
    observe y <- Normal(v, 100.0)
    return v
export funnel
"""


SLOPES = """object G : FinSet 20
object N : FinSet 80
object K : FinSet 2
data design : N -> Real 2
program slopes : N -> N
    sample mu : K <- Normal(0.0, 5.0)
    sample tau <- HalfNormal(1.0)
    sample r : CholeskyFactor 2 <- LKJCholesky(2.0)
    let L = tau * r
    sample b : G <- MultivariateNormal(mu, L)
    let of_group = b[g]
    let m = dot(of_group, design)
    observe y : N <- Normal(m, 1.0)
    return mu
export slopes
"""


def sloped():
    """Four observations a group, whose effects differ little: weak data."""
    rng = torch.Generator().manual_seed(2)
    x, noise = torch.randn(2, 80, dtype=F64, generator=rng)
    design = torch.stack([torch.ones_like(x), x], 1)
    return {"g": torch.arange(80) % 20, "design": design, "y": 1.0 - 0.5 * x + noise}


@pytest.mark.stats
@pytest.mark.parametrize(
    ("source", "data"),
    [(SCHOOLS, RATED), (FUNNEL, {"y": 0.0}), (SLOPES, sloped())],
    ids=["schools", "funnel", "slopes"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_funnels_are_drawn_from_as_they_are_written(source, data, seed):
    again = replace(RECENTRED, num_warmup=1000, num_samples=1000, seed=seed)
    result = again.run(model(source), None, data)
    plain = replace(again, recenter=False).run(model(source), None, data)
    assert max(float(r.max()) for name, r in result.r_hat.items() if name != "r") < 1.01
    assert int(result.divergence_counts.sum()) <= 0.1 * max(int(plain.divergence_counts.sum()), 50)
    assert worth(result) > 5.0 * worth(plain)


@pytest.mark.stats
def test_strong_data_leave_the_centred_form_and_cost_the_pilot_alone():
    source = """object G : FinSet 20
program strong : G -> G
    sample mu <- Normal(0.0, 10.0)
    sample tau <- HalfNormal(5.0)
    sample theta : G <- Normal(mu, tau)
    observe y : G <- Normal(theta, 0.05)
    return mu
export strong
"""
    data = {"y": 3.0 * torch.randn(20, generator=torch.Generator().manual_seed(0))}
    result = replace(RECENTRED, num_warmup=1000, num_samples=1000).run(model(source), None, data)
    plain = replace(RECENTRED, num_warmup=1000, num_samples=1000, recenter=False)
    assert float(result.centering["theta"].min()) == 1.0
    assert worth(result) > 0.4 * worth(plain.run(model(source), None, data))


@pytest.mark.stats
def test_the_posterior_is_that_of_the_form_written_by_hand():
    """Size: four means and sds within 5 standard errors of their difference."""
    result = replace(RECENTRED, num_samples=4000).run(model(), None, RATED)
    hand = replace(RECENTRED, num_samples=4000, recenter=False, seed=1).run_target(eight_schools())
    for name in ("mu", "tau"):
        for power in (1, 2):
            one, two = (r.samples[name].double() ** power for r in (result, hand))
            sizes = [min(float(r.ess[name]), 16_000.0) / 4 for r in (result, hand)]
            error = (one.var() / sizes[0] + two.var() / sizes[1]).sqrt()
            assert abs(one.mean() - two.mean()) < 5.0 * error


def same(one, two) -> bool:
    assert list(one.samples) == list(two.samples)
    return all(torch.equal(one.samples[name], two.samples[name]) for name in one.samples)


def test_a_seed_repeats_a_run_with_its_pilot():
    one, two = (SMALL.run(model(), None, RATED) for _ in range(2))
    assert same(one, two)
    assert torch.equal(one.centering["theta"], two.centering["theta"])
    assert not same(one, replace(SMALL, seed=1).run(model(), None, RATED))
    assert one.gradients > replace(SMALL, recenter=False).run(model(), None, RATED).gradients


def test_an_executor_makes_the_same_draws():
    with ThreadPoolExecutor(2) as pool:
        apart = replace(SMALL, executor=pool).run(model(), None, RATED)
    assert same(apart, SMALL.run(model(), None, RATED))


def test_a_model_without_latent_scales_runs_as_without():
    source = SCHOOLS.replace("Normal(mu, tau)", "Normal(0.0, 5.0)")
    assert same(
        SMALL.run(model(source), None, RATED),
        replace(SMALL, recenter=False).run(model(source), None, RATED),
    )


def test_latents_of_a_lifted_model_are_recentred(brief):
    source = """object Item : FinSet 4
morphism net : Real 2 -> Real 1 [role=kernel] ~ Normal
program mixed(x) : Real 2 -> Real 1
    sample tau : 1 <- HalfNormal(1.0)
    sample u : Item <- Normal(0.0, tau)
    sample h <- net(x)
    let m = h + sum(u)
    observe y <- Normal(m, 1.0)
    return h
export mixed
"""
    x, y = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(6)
    lifted, x, data = bayesian_lift_parameters(model(source), x, {"y": y})
    result = replace(SMALL, kernel=NUTSKernel(max_tree_depth=3)).run(lifted, x, data)
    assert set(result.centering) == {"u"}
    assert any(name.startswith("theta__") for name in result.samples)


def test_a_density_written_by_hand_is_refused():
    with pytest.raises(UserError, match="its coordinates are what it says"):
        SMALL.run_target(eight_schools())


class Stop:
    """An attentive watch that stops at once."""

    def __call__(self, _transition):
        return None

    def asked(self):
        return True

    def hold(self):
        return True


def test_a_run_that_is_stopped_in_its_pilot_has_no_draws():
    for tier in ("traced", "native"):
        result = replace(SMALL, tier=tier).run(model(), None, RATED, watch=Stop())
        assert (result.interrupted, result.num_samples, result.num_chains) == (True, 0, 2)
        assert list(result.samples) == ["mu", "tau", "theta"]


def test_the_result_says_it_and_is_saved(tmp_path):
    result = SMALL.run(model(), None, RATED)
    assert "theta was recentred: 0.0" in result.summary()
    kept = MCMCResult.load(result.save(tmp_path / "draws.safetensors"), model())
    assert torch.equal(kept.centering["theta"], result.centering["theta"])
    assert pickle.loads(pickle.dumps(result.centering)).keys() == {"theta"}


def test_findings_propose_it_where_it_can_help():
    plain = replace(RECENTRED, recenter=False, num_samples=1000).run(model(), None, RATED)
    advice = {f.name: f.advice for f in plain.warnings}
    assert "run with recenter=True" in advice["divergences"]
    assert "run with recenter=True" in advice["centering"]
    done = replace(plain, centering={"theta": torch.zeros(8)})
    assert "centering" not in {f.name for f in done.warnings}
    assert all("recenter" not in f.advice for f in done.warnings)
    assert all("recenter" not in f.advice for f in replace(plain, origin=None).warnings)


# --- fits


OPTIONS = {"chains": 2, "warmup": 40, "draws": 30, "seed": 0, "recenter": True}


def test_a_fit_makes_these_draws_and_shows_them_on_its_way():
    run = fit_nuts(model(), None, RATED, block=True, **OPTIONS)
    assert same(run.result, SMALL.run(model(), None, RATED))
    torch.testing.assert_close(run.partial["theta"], run.result.samples["theta"])
    assert any("pilot" in event.note for event in run.events)


class After:
    """A stop rule: so many transitions."""

    every = 1

    def __init__(self, count):
        self.count = count

    def met(self, progress):
        return "enough" if progress.iteration >= self.count else None


@pytest.mark.parametrize("tier", ["native", "traced"])
def test_a_checkpoint_is_gone_on_with_in_the_same_coordinates(tmp_path, brief, tier):
    path, schools = tmp_path / "run", model()
    options = {**OPTIONS, "tier": tier, "max_tree_depth": 3, "block": True}
    whole = fit_nuts(schools, None, RATED, **options).result
    for stop in (20, 55):
        fit_nuts(schools, None, RATED, checkpoint=path, until=After(stop), **options)
        assert path.exists()
    again = fit_nuts(schools, None, RATED, checkpoint=path, **options)
    assert same(again.result, whole)
    without = {**options, "recenter": False}
    with pytest.raises(UserError, match="recenter: saved True, here None"):
        _ = fit_nuts(schools, None, RATED, checkpoint=path, **without).result
