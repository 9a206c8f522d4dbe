"""The mixture guide: its gradients against quadrature, and a posterior with two modes.

In one dimension everything is an integral over a grid; the target of the fits is itself a mixture
of two normals, so its evidence is known, and a guide of two components can be the posterior.
"""

import math
from dataclasses import dataclass

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    ELBO,
    IWAE,
    SVI,
    VRIWAE,
    AutoGuideList,
    AutoMixture,
    AutoNormalGuide,
    DoublyReparameterized,
    Predictive,
    Renyi,
    Reparameterized,
    ScoreFunction,
    StickingTheLanding,
    khat,
)
from quivers_nb.inference.model import Terms
from quivers_nb.inference.vi import estimators
from quivers_nb.inference.vi.guides.mixture import NormalMixture
from quivers_nb.inference.vi.khat import log_weights
from tests.inference.vi.conjugate import F64, Conjugate, OpenConjugate
from tests.stats.budget import alpha, critical_z
from tests.support.models import normal

BOUND = critical_z(alpha("variational guides", 300))
X = torch.zeros(3, 1, dtype=F64)
OBS = {"y": torch.zeros(3, dtype=F64)}
CENTRES = torch.tensor([[-3.0, -2.0], [3.0, 2.0]], dtype=F64)
SHARES = torch.tensor([0.3, 0.7], dtype=F64)
SCALE = 0.5
LOG_EVIDENCE = -1.25


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class OpenTwoModes(OpenConjugate):
    def terms(self, q, *, parameters=None, generator=None):
        centres = CENTRES[:, : q.shape[-1]]
        one = normal(q.unsqueeze(-2), centres, SCALE)
        return Terms(None, torch.logsumexp(SHARES.log() + one.sum(-1), -1) + LOG_EVIDENCE)


class TwoModes(Conjugate):
    """The posterior of ``a`` is a mixture of two normals far apart, with shares 0.3 and 0.7."""

    def target(self, x, observations=None, **_):
        opened = super().target(x, observations)
        return OpenTwoModes(self, opened.x, opened.y, opened.layout)


ONE, TWO = TwoModes(1, 0), TwoModes(2, 0)


def scattered(model=ONE, covariance: str = "diagonal", count: int = 3) -> AutoMixture:
    guide = AutoMixture(model, {"y"}, count, covariance, 0.8, generator=rng(3))
    with torch.no_grad():
        for k, parameter in enumerate(guide.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=F64, generator=rng(k)))
    return guide


def worst_z(found: torch.Tensor, exact: torch.Tensor) -> float:
    error = found.std(0) / math.sqrt(len(found)) + 1e-10
    return float(((found.mean(0) - exact) / error).abs().max())


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_the_density_is_torch_s(covariance):
    block = scattered(TWO, covariance).shared_block
    scale = block.log_scale.exp()
    tril = torch.diag_embed(scale)
    if covariance == "full":
        tril = tril + scale.unsqueeze(-1) * block.lower.tril(-1)
    reference = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=block.logits),
        torch.distributions.MultivariateNormal(block.loc, scale_tril=tril),
    )
    u, said = block.sample((500,), rng())
    torch.testing.assert_close(said, reference.log_prob(u))
    strata, there = block.sample_strata((50,), rng())
    torch.testing.assert_close(there, reference.log_prob(strata))
    assert worst_z(u.detach(), reference.mean.detach()) < BOUND


def moment(u: torch.Tensor) -> torch.Tensor:
    """Curved and not symmetric, so that every parameter matters; ``(*n, dim) -> (*n,)``."""
    total = u.sum(-1)
    return torch.sin(1.3 * total + 0.4) + 0.3 * total + 0.2 * u.square().sum(-1)


def exact_gradient(block: NormalMixture) -> list[torch.Tensor]:
    """Of the mean of ``moment``, by the density on a grid of one or two dimensions."""
    dim = block.loc.shape[-1]
    line = torch.linspace(-9, 9, 3001 if dim == 1 else 401, dtype=F64)
    grid = torch.cartesian_prod(*[line] * dim).reshape(-1, dim)
    cell = float(line[1] - line[0]) ** dim
    mean = (block.density(grid).exp() * moment(grid)).sum() * cell
    return list(torch.autograd.grad(mean, list(block.parameters())))


def pathwise(block: NormalMixture, rounds: int = 60, size: int = 2000) -> torch.Tensor:
    """Gradients through draws, ``(rounds, parameters)``."""
    generator, found = rng(7), []
    for _ in range(rounds):
        value = moment(block.sample((size,), generator)[0]).mean()
        parts = torch.autograd.grad(value, list(block.parameters()), allow_unused=True)
        pairs = zip(parts, block.parameters(), strict=True)
        found.append(
            torch.cat([torch.zeros(p.numel()) if g is None else g.flatten() for g, p in pairs])
        )
    return torch.stack(found)


CASES = [(ONE, "diagonal"), (TWO, "diagonal"), (TWO, "full")]


@pytest.mark.parametrize(("model", "covariance"), CASES)
def test_draws_move_with_the_parameters_as_the_density_does(model, covariance):
    """Size: 60 rounds of 2,000 draws; the mutants below are seen."""
    block = scattered(model, covariance).shared_block
    exact = torch.cat([g.flatten() for g in exact_gradient(block)])
    assert worst_z(pathwise(block), exact) < BOUND


MUTANTS = {
    "shares do not move draws": ("_flow", lambda self, noise, each, log_q: noise[..., 1:, :] * 0.0),
    "a draw is all of one component": (
        "_carried",
        lambda self, u: self._moved(self._noise(u).detach()).select(-2, 0),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_draws_that_move_otherwise_are_seen(mutant, monkeypatch):
    block = scattered(TWO, "full").shared_block
    exact = torch.cat([g.flatten() for g in exact_gradient(block)])
    monkeypatch.setattr(NormalMixture, *MUTANTS[mutant])
    assert worst_z(pathwise(block), exact) > BOUND


def elbo_gradient(guide: AutoMixture) -> torch.Tensor:
    """Of the loss, by quadrature."""
    grid = torch.linspace(-12, 12, 6001, dtype=F64)[:, None]
    target = ONE.target(X, OBS)
    log_q = guide.shared_block.density(grid)
    bound = (log_q.exp() * (target.terms(grid).total() - log_q)).sum() * float(grid[1] - grid[0])
    loss = -bound / len(X)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(guide.parameters()))])


def gradients(objective, guide, rounds: int = 200) -> torch.Tensor:
    target, generator, found = ONE.target(X, OBS), rng(5), []
    for _ in range(rounds):
        loss = objective.loss(target, guide, generator=generator)
        parts = torch.autograd.grad(loss, list(guide.parameters()))
        found.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(found)


ESTIMATORS = [Reparameterized(), StickingTheLanding(), ScoreFunction()]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_every_estimator_has_the_gradient_of_the_bound(estimator):
    guide = scattered()
    assert worst_z(gradients(ELBO(40, estimator), guide), elbo_gradient(guide)) < BOUND


def test_strata_that_count_alike_are_biased(monkeypatch):
    monkeypatch.setattr(estimators.Particles, "mean", lambda self, values: values.mean())
    guide = scattered()
    assert worst_z(gradients(ELBO(40), guide), elbo_gradient(guide)) > BOUND


def test_doubly_reparameterized_gradients_of_a_mixture_are_unbiased():
    """Plain draws of the mixture under both rules: the bounds are then the same one."""
    guide = scattered()
    target, generator = ONE.target(X, OBS), rng(9)
    weights = list(guide.parameters())

    def plain() -> torch.Tensor:
        q, terms = guide.draw(target.layout, (6,), generator)
        log_w = target.terms(q).total() - terms.total()
        loss = -(torch.logsumexp(log_w, 0) - math.log(6)) / len(X)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    one = torch.stack([plain() for _ in range(600)])
    doubly = gradients(IWAE(6, estimator=DoublyReparameterized()), guide, 600)
    error = (one.var(0) / len(one) + doubly.var(0) / len(doubly)).sqrt()
    assert float(((one.mean(0) - doubly.mean(0)) / error).abs().max()) < BOUND


def test_bounds_with_strata_are_ordered():
    guide, target = scattered(), ONE.target(X, OBS)
    values = []
    for objective in (ELBO(50), VRIWAE(0.5, 50), IWAE(50)):
        with torch.no_grad():
            losses = [objective.loss(target, guide, generator=rng(k)) for k in range(60)]
        values.append(-len(X) * float(torch.stack(losses).mean()))
    assert values == sorted(values)
    assert values[-1] < LOG_EVIDENCE + 0.05
    assert values[0] < LOG_EVIDENCE - 0.3
    one = [o.loss(target, guide, generator=rng()) for o in (Renyi(1.0, 9), ELBO(9))]
    torch.testing.assert_close(one[0], one[1])


def fitted(model, guide, steps: int = 1500, objective=None):
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    schedule = lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))  # noqa: E731
    objective = objective or ELBO(4, StickingTheLanding())
    svi = SVI(model, guide, optim, objective, generator=rng(1), scheduler=schedule)
    svi.run(X, OBS, steps)
    assert svi.eager_reason == ""


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("objective", [None, VRIWAE(0.5, 4)], ids=str)
def test_two_modes_are_found_with_their_shares(covariance, objective):
    guide = AutoMixture(TWO, {"y"}, 2, covariance, spread=2.0, generator=rng(4))
    fitted(TWO, guide, objective=objective)
    block = guide.shared_block
    order = block.loc[:, 0].argsort()
    torch.testing.assert_close(block.log_shares.exp()[order], SHARES, atol=0.02, rtol=0.0)
    torch.testing.assert_close(block.loc[order], CENTRES, atol=0.05, rtol=0.0)
    weights = log_weights(TWO, guide, X, OBS, 2000, generator=rng(2))
    assert float(weights.mean()) == pytest.approx(LOG_EVIDENCE, abs=0.02)
    if objective is None:  # no noise is left in its gradient: the fit is exact
        torch.testing.assert_close(
            weights, torch.full_like(weights, LOG_EVIDENCE), atol=0.02, rtol=0
        )


def test_the_bound_of_importance_weights_on_strata_does_not_tell_their_shares():
    """Where components do not overlap, a share cancels in ``share * p / q``."""
    guide, target = AutoMixture(TWO, {"y"}, 2, generator=rng()), TWO.target(X, OBS)
    with torch.no_grad():
        guide.shared_block.loc.copy_(CENTRES)
        guide.shared_block.log_scale.fill_(math.log(SCALE))
        bounds = [
            float(-len(X) * o.loss(target, guide, generator=rng())) for o in (IWAE(4), ELBO(4))
        ]
    assert bounds[0] == pytest.approx(LOG_EVIDENCE, abs=1e-3)
    assert bounds[1] < LOG_EVIDENCE - 0.05


def test_one_normal_misses_a_mode():
    """The power of the test above: it stays in one mode, and is short by the log of its share."""
    guide = AutoNormalGuide(TWO, {"y"})
    with torch.no_grad():
        guide.loc_a.add_(1.0)
    fitted(TWO, guide)
    weights = log_weights(TWO, guide, X, OBS, 2000, generator=rng(2))
    assert float(weights.mean()) == pytest.approx(LOG_EVIDENCE + math.log(0.7), abs=0.02)


def test_khat_tells_a_mixture_that_covers_the_modes_from_one_that_is_too_narrow():
    guide = AutoMixture(TWO, {"y"}, 2, generator=rng())
    with torch.no_grad():
        guide.shared_block.loc.copy_(CENTRES)
        guide.shared_block.logits.copy_(SHARES.flip(0).log())
        guide.shared_block.log_scale.fill_(math.log(1.2 * SCALE))
    assert khat(TWO, guide, X, OBS, 2000, generator=rng()) < 0.5
    with torch.no_grad():
        guide.shared_block.log_scale.fill_(math.log(0.3 * SCALE))
    assert khat(TWO, guide, X, OBS, 2000, generator=rng()) > 0.7


def test_minus_the_mean_log_density_is_the_entropy_by_quadrature():
    guide, layout = scattered(), ONE.target(X, OBS).layout
    grid = torch.linspace(-12, 12, 6001, dtype=F64)[:, None]
    with torch.no_grad():
        _, said = guide.draw(layout, (20_000,), rng())
        log_q = guide.log_density(layout, grid).total()
    exact = -(log_q.exp() * log_q).sum() * float(grid[1] - grid[0])
    assert abs(worst_z(-said.total()[:, None], exact)) < BOUND
    with pytest.raises(UserError, match="no closed form"):
        guide.entropy(layout)


def test_a_start_without_spread_is_refused_since_components_would_stay_alike():
    guide = AutoMixture(TWO, {"y"}, 2, generator=rng())
    assert not torch.equal(*guide.shared_block.loc)
    again = AutoMixture(TWO, {"y"}, 2, generator=rng())
    assert torch.equal(guide.shared_block.loc, again.shared_block.loc)
    with torch.no_grad():
        guide.shared_block.loc.copy_(guide.shared_block.loc[:1].expand(2, -1).clone())
    target = TWO.target(X, OBS)
    for generator in (rng(1), rng(2)):
        guide.zero_grad()
        ELBO(4000).loss(target, guide, generator=generator).backward()
        assert float(guide.shared_block.logits.grad.abs().max()) < 0.05  # nothing tells them apart
    for options, said in (
        ({"spread": 0.0}, r"`spread` of `AutoMixture` is 0\.0"),
        ({"num_components": 0}, "`num_components` of `AutoMixture` is 0"),
        ({"covariance": "round"}, "`covariance` of `AutoMixture` is 'round'"),
        ({"init_scale": 0.0}, r"`init_scale` of `AutoMixture` is 0\.0"),
    ):
        with pytest.raises(UserError, match=said):
            AutoMixture(TWO, {"y"}, **options)


def test_one_component_is_a_normal():
    guide, target = AutoMixture(TWO, {"y"}, 1, generator=rng()), TWO.target(X, OBS)
    loss = ELBO(3).loss(target, guide, generator=rng())
    loss.backward()
    u, said = guide.draw(target.layout, (50,), rng())
    assert u.requires_grad
    block = guide.shared_block
    normal = torch.distributions.Normal(block.loc[0], block.log_scale[0].exp())
    torch.testing.assert_close(said.total(), normal.log_prob(u).sum(-1))


PROGRAM = """object Coin : FinSet 2
program signs : Coin -> Coin
    sample a <- Normal(0.0, 2.0)
    sample s <- HalfNormal(1.0)
    let loc = a * a
    observe y : Coin <- Normal(loc, s)
    return a
export signs
"""


def test_a_list_takes_the_strata_of_its_mixture():
    """A square does not tell the sign: half of the draws are below zero."""
    model = loads(PROGRAM).morphism
    data = {"y": torch.tensor([4.1, 3.9])}
    parts = [
        (["a"], lambda m, names: AutoMixture(m, names, 2, spread=2.0, generator=rng(0))),
        (["s"], AutoNormalGuide),
    ]
    guide = AutoGuideList(model, {"y"}, parts)
    optim = torch.optim.Adam(guide.parameters(), lr=0.03)
    svi = SVI(model, guide, optim, ELBO(4), generator=rng(1))
    svi.run(None, data, 800)
    assert svi.eager_reason == ""
    ahead = Predictive(model, guide, 400, generator=rng())(None, {})
    assert 0.35 < float((ahead["a"] < 0).double().mean()) < 0.65
    assert float((ahead["a"].abs() - 2.0).abs().median()) < 0.1
