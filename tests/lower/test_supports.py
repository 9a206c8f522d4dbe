"""Guides of sites whose supports are made of other values: what they draw is what the model says.

Targets know the supports from a full run. A guide alone has to give the same values for the same
draws, and the same log-Jacobian.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    MCMC,
    SVI,
    AmortizedNormalGuide,
    AutoDelta,
    AutoGuideList,
    AutoLaplaceApproximation,
    AutoMixture,
    AutoMultivariateNormal,
    AutoNormalGuide,
    AutoNormalizingFlow,
    AutoStructured,
    NUTSKernel,
    Predictive,
    bayesian_lift_parameters,
    condition,
    log_likelihood,
)

F64 = torch.float64
Y = torch.tensor([0.3, 0.1, 0.4], dtype=F64)
ROWS = torch.tensor([[0.3], [-1.0], [0.7]], dtype=F64)


@dataclass(frozen=True)
class Case:
    source: str
    x: Any = None
    data: dict[str, Any] = field(default_factory=lambda: {"y": Y})

    def model(self) -> Any:
        torch.manual_seed(3)
        return loads(self.source).morphism.double()


OBSERVED = "    observe y : N <- Normal(m, 0.5)\n    return m\nexport p\n"
START = "object N : FinSet 3\nobject R : Real 1\n"
CASES = {
    "a let of sites": Case(
        f"""{START}program p : 1 -> 1
    sample low <- Normal(0.0, 1.0)
    sample w <- HalfNormal(1.0)
    let high = low + w
    sample m <- Uniform(low, high)
{OBSERVED}"""
    ),
    "an element of a plate": Case(
        f"""{START}object G : FinSet 2
program p : 1 -> 1
    sample high : G <- HalfNormal(1.0)
    sample low <- Normal(-2.0, 0.1)
    sample m : N <- Uniform(0.0, high[g])
{OBSERVED}""",
        data={"y": Y, "g": torch.tensor([0, 1, 1])},
    ),
    "a plate of plates": Case(
        f"""{START}object G : FinSet 2
program p : 1 -> 1
    sample top : N <- HalfNormal(1.0)
    sample u : N * G <- Uniform(0.0, top)
    let m = u[0, 0]
{OBSERVED}"""
    ),
    "host data": Case(
        f"""{START}program p : 1 -> 1
    let top = sum(t)
    sample m <- Uniform(0.0, top)
{OBSERVED}""",
        data={"y": Y, "t": torch.tensor([0.5, 0.75], dtype=F64)},
    ),
    "a measure between two values": Case(
        f"""{START}program p : 1 -> 1
    sample low <- Normal(0.0, 1.0)
    sample w <- HalfNormal(1.0)
    let high = low + w
    sample m <- Restrict(Restrict(Normal(0.0, 2.0), low, high), -4.0, 4.0)
{OBSERVED}"""
    ),
    "a program in a step": Case(
        f"""{START}program q : 1 -> 1
    sample low <- Normal(0.0, 1.0)
    let high = low + 2.0
    sample u <- Uniform(low, high)
    return u
program p : 1 -> 1
    sample low <- Normal(5.0, 1.0)
    sample m <- q
{OBSERVED}"""
    ),
    "kernels over rows": Case(
        """object R : Real 1
object S : Real 2
morphism f : R -> S [role=kernel] ~ Normal
morphism g : S -> S [role=kernel] ~ Uniform
morphism h : S -> R [role=kernel] ~ GeneralizedPareto
program p : R -> R
    sample a <- f
    sample b <- g(a)
    sample c <- h(b)
    observe y <- Normal(c, 0.5)
    return y
export p
""",
        ROWS,
    ),
    "parts in different places": Case(
        """object R : Real 1
object S : Real 2
morphism f : R -> S [role=kernel] ~ Gamma
morphism g : R -> S [role=kernel] ~ Dirichlet
morphism h : R -> R [role=kernel] ~ Pareto
let all = fan(f, g, h)
program p : R -> R
    sample v <- all
    let m = sum(v)
    observe y <- Normal(m, 0.5)
    return y
export p
""",
        ROWS,
    ),
    "a chain through finite states": Case(
        """object R : Real 1
object K : FinSet 2
morphism f : R -> K [role=kernel] ~ Categorical
morphism g : K -> R [role=kernel] ~ Uniform
let fg = f >> g
program p : R -> R
    sample m <- fg
    observe y <- Normal(m, 0.5)
    return y
export p
""",
        ROWS,
    ),
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def of_rows(x, obs):
    return torch.ones(len(ROWS) if x is not None else 1, 1, dtype=F64)


GUIDES = {
    "normal": AutoNormalGuide,
    "multivariate": AutoMultivariateNormal,
    "flow": lambda model, names: AutoNormalizingFlow(model, names, generator=seeded()),
    "delta": AutoDelta,
    "mixture": lambda model, names: AutoMixture(model, names, generator=seeded()),
    "structured": AutoStructured,
    "amortized": lambda model, names: AmortizedNormalGuide(
        model, names, in_features=1, hidden=(), features=of_rows
    ),
}


def scattered(make, case: Case, model: Any) -> Any:
    """A guide with parameters away from where they start, bound to the data."""
    guide = make(model, {"y"}).double()
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=seeded(), dtype=F64))
    return guide.at(case.x, case.data)


PAIRS = [(name, kind) for name in CASES for kind in GUIDES]
PAIRS = [(n, k) for n, k in PAIRS if k != "amortized" or CASES[n].x is not None]  # it needs rows


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_guide_alone_says_what_the_target_says(name: str, kind: str) -> None:
    case = CASES[name]
    model = case.model()
    guide = scattered(GUIDES[kind], case, model)
    target = model.target(case.x, case.data, latents="declared", dtype=F64)
    with torch.no_grad():
        q, density = guide.draw(target.layout, (), seeded())
        drawn = guide.rsample(case.x, generator=seeded())
        wanted = target.constrain(q, internal=True)
        assert list(drawn) == list(wanted)
        for site, value in wanted.items():
            torch.testing.assert_close(drawn[site].reshape(value.shape), value, rtol=0, atol=1e-12)
        log_det = target.terms(q).total() - model.log_density(case.x, {**drawn, **case.data})
        found = guide.log_prob(case.x, drawn).sum()
    torch.testing.assert_close(found, density.total() - log_det, rtol=0, atol=1e-9)
    assert kind == "delta" or abs(float(log_det)) > 0.1
    with torch.no_grad():
        q, _ = guide.draw(target.layout, (4,), seeded())
        several = guide.draws(case.x, 4, generator=seeded())
        for site, value in target.constrain(q, internal=True).items():
            found = several[site].reshape(value.shape)
            torch.testing.assert_close(found, value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_what_follows_a_fit_takes_such_a_guide(name: str) -> None:
    """Predictions, the density of observations, and chains that start at its draws."""
    case = CASES[name]
    model = case.model()
    guide = AutoNormalGuide(model, {"y"}).double()
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    SVI(model, guide, optim, ELBO(4), generator=seeded()).run(case.x, case.data, 20)
    data = {key: value for key, value in case.data.items() if key != "y"}
    made_up = Predictive(model, guide, 5, seeded())(case.x, data)
    assert made_up["y"].shape == (5, 3)
    with torch.no_grad():
        drawn = guide.at(case.x, case.data).rsample(case.x, generator=seeded())
        assert bool(model.log_joint(case.x, {**drawn, **case.data}).isfinite().all())
    known = log_likelihood(model, case.x, case.data, guide, num_draws=3, generator=seeded())
    assert bool(known["y"].isfinite().all())
    mcmc = MCMC(NUTSKernel(max_tree_depth=3), 5, 5, num_chains=1, seed=0)
    assert bool(mcmc.run(model, case.x, case.data, guide).start_log_densities.isfinite().all())


def test_a_point_is_the_mode_of_the_values() -> None:
    """-a²/2 - log(top) + log N(y | u, 0.5) with top = exp(a): a = -1, u = y; else a would be 0."""
    source = f"""{START}program p : 1 -> 1
    sample a <- Normal(0.0, 1.0)
    let top = exp(a)
    sample m <- Uniform(0.0, top)
{OBSERVED}"""
    model = loads(source).morphism.double()
    y = torch.full((3,), 0.2, dtype=F64)
    guide = AutoDelta(model, {"y"}).double()
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    result = SVI(model, guide, optim, ELBO(1), generator=seeded()).run(None, {"y": y}, 1500)
    assert float(result.sites["a"].mean) == pytest.approx(-1.0, abs=1e-3)
    assert float(result.sites["m"].mean) == pytest.approx(0.2, abs=1e-3)


def test_values_outside_a_support_have_no_density() -> None:
    case = CASES["a let of sites"]
    guide = scattered(AutoNormalGuide, case, case.model())
    one = torch.tensor(1.0, dtype=F64)
    inside = {"low": 0.0 * one, "w": one, "m": 0.5 * one}
    assert bool(guide.log_prob(None, inside).isfinite())
    for wrong in ({"m": 1.5 * one}, {"w": -one}):
        assert float(guide.log_prob(None, {**inside, **wrong}).detach()) == -torch.inf


def test_clamped_values_and_lifted_weights_make_supports_too() -> None:
    model = CASES["a let of sites"].model()
    clamped = condition(model, {"low": torch.tensor(7.0, dtype=F64)})
    drawn = AutoNormalGuide(clamped, {"y"}).double().rsample(None, generator=seeded())
    drawn = {name: value.detach() for name, value in drawn.items()}
    assert 7.0 < float(drawn["m"]) < 7.0 + float(drawn["w"])

    case = CASES["kernels over rows"]
    lifted, x, obs = bayesian_lift_parameters(case.model(), case.x, case.data)
    guide = AutoNormalGuide(lifted, set(obs), init_scale=1.0).double()
    target = lifted.target(x, obs, latents="declared", dtype=F64)
    with torch.no_grad():
        q, density = guide.draw(target.layout, (), seeded())
        drawn, wanted = guide.rsample(x, generator=seeded()), target.constrain(q)
        per_row = guide.log_prob(x, drawn)
    for site, value in wanted.items():
        torch.testing.assert_close(drawn[site].reshape(value.shape), value, rtol=0, atol=1e-12)
    assert density.row is not None
    log_det = (density.row + density.shared - per_row).sum()
    unlike = condition(case.model(), {})  # the weights that the model has are other ones
    other = AutoNormalGuide(unlike, {"y"}, init_scale=1.0).double()
    own = {site: drawn[site] for site in ("a", "b", "c")}
    assert not torch.allclose(log_det, -other.log_prob(x, own).sum(), atol=1.0)


SEEN = f"""{START}program p : 1 -> 1
    sample s <- HalfNormal(1.0)
    observe z <- HalfNormal(s)
    sample m <- Uniform(0.0, z)
{OBSERVED}"""


def test_a_bound_that_is_observed_needs_the_data() -> None:
    model = loads(SEEN).morphism.double()
    data = {"z": torch.tensor(3.0, dtype=F64), "y": Y}
    guide = AutoNormalGuide(model, {"y", "z"}).double()
    with pytest.raises(UserError, match=r"`m` depend on `z`, which is observed: bind the guide"):
        guide.rsample(None)
    with torch.no_grad():
        drawn = guide.at(None, data).rsample(None, generator=seeded())
    assert 0.0 < float(drawn["m"]) < 3.0
    made_up = Predictive(model, guide, 3, seeded())(None, {"z": data["z"]})
    assert bool((made_up["m"] < 3.0).all())
    with pytest.raises(UserError, match=r"bind the guide to its input and data first"):
        AutoDelta(model, {"y", "z"}).draw(model.target(None, data, latents="declared").layout, ())


def test_a_bound_made_of_a_middle_is_drawn_but_has_no_density() -> None:
    source = """object R : Real 1
morphism f : R -> R [role=kernel] ~ Normal
morphism g : R -> R [role=kernel] ~ Uniform
let fg = f >> g
program p : R -> R
    sample m <- fg
    observe y <- Normal(m, 0.5)
    return y
export p
"""
    model = loads(source).morphism.double()
    guide = AutoNormalGuide(model, {"y"}).double()
    drawn = guide.rsample(ROWS, generator=seeded())
    assert drawn["m"].shape == (3,)
    with pytest.raises(UserError, match=r"a middle that is drawn anew each time"):
        guide.log_prob(ROWS, drawn)
    with pytest.raises(UserError, match=r"a middle that is drawn anew each time"):
        AutoDelta(model, {"y"}).double().at(ROWS).rsample(ROWS)


def test_parts_of_a_list_see_each_other_where_a_density_needs_no_jacobian() -> None:
    case = CASES["a let of sites"]
    model = case.model()
    both = AutoGuideList(
        model, {"y"}, [(["low", "w"], AutoMultivariateNormal), (["m"], AutoNormalGuide)]
    ).double()
    drawn = both.rsample(None, generator=seeded())
    assert bool(model.log_joint(None, {**drawn, **case.data}).isfinite())
    point = AutoGuideList(model, {"y"}, [(["low", "w"], AutoNormalGuide), (["m"], AutoDelta)])
    with pytest.raises(UserError, match="has no value here: guide both by one guide"):
        point.double().rsample(None)


def test_a_laplace_approximation_draws_inside_the_bounds() -> None:
    case = CASES["a let of sites"]
    model = case.model()
    guide = AutoLaplaceApproximation(model, {"y"}).double()
    guide.fit(None, case.data)
    for seed in range(20):
        drawn = guide.rsample(None, generator=torch.Generator().manual_seed(seed))
        assert drawn["low"] < drawn["m"] < drawn["low"] + drawn["w"]
