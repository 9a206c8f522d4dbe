"""The laws of `quivers_nb.inference.vi.guide`, for every guide of the registry."""

import math

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import (
    ELBO,
    MCMC,
    SVI,
    AutoLaplaceApproximation,
    AutoNormalGuide,
    NUTSKernel,
    Predictive,
)
from quivers_nb.inference.vi.flows.bijector import Chain
from tests.inference.vi.conjugate import Conjugate, data
from tests.inference.vi.registry import GUIDES, prepared
from tests.stats.budget import alpha, critical_z
from tests.support.models import HandModel

ROWS = 5
X = torch.linspace(-1, 1, ROWS, dtype=torch.float64)[:, None]
OBS = {"y": torch.sin(3 * X[:, 0])}
DENSITIES = [name for name, entry in GUIDES.items() if entry.density and not entry.path]
PATHS = [name for name, entry in GUIDES.items() if entry.path]
KNOWN = [name for name in GUIDES if name not in PATHS]
NORMALS = [name for name, entry in GUIDES.items() if entry.entropy]
TRAINED = [name for name, entry in GUIDES.items() if entry.trained]
BOUND = critical_z(alpha("variational guides", 300))


class Hand(HandModel):
    """A plate, a positive site and a row-wise one; in float64 throughout."""

    def __init__(self) -> None:
        super().__init__(with_scale=True)
        self.double()

    def target(self, x, observations=None, *, latents="all", dtype=None, **_):
        return super().target(x, observations, latents=latents, dtype=torch.float64)


def hand(name: str):
    model = Hand()
    target = model.target(X, OBS, latents="declared")
    return model, target, prepared(name, model, X, OBS)


@pytest.mark.parametrize("stack", [(), (7,), (2, 3)])
@pytest.mark.parametrize("name", KNOWN)
def test_the_density_at_a_draw_is_what_the_draw_said(name, stack):
    _, target, guide = hand(name)
    q, said = guide.draw(target.layout, stack, torch.Generator().manual_seed(0))
    assert q.shape == (*stack, target.layout.dim)
    found = guide.log_density(target.layout, q)
    torch.testing.assert_close(found.total().expand(stack), said.total().expand(stack))
    torch.testing.assert_close(found.total(3.0).expand(stack), said.total(3.0).expand(stack))
    assert (said.row is None) == (found.row is None)
    if said.row is not None:
        shape = (*stack, ROWS)
        torch.testing.assert_close(found.row.expand(shape), said.row.expand(shape))
        assert said.row.shape[-1] == ROWS


@pytest.mark.parametrize("name", KNOWN)
def test_log_prob_of_constrained_values_is_the_density_less_the_log_jacobian(name):
    _, target, guide = hand(name)
    q, said = guide.draw(target.layout, (), torch.Generator().manual_seed(1))
    values = target.constrain(q)
    got = guide.log_prob(X, values)
    row = torch.zeros(ROWS, dtype=q.dtype) if said.row is None else said.row
    torch.testing.assert_close(got, row + said.shared - values["s"].log())


@pytest.mark.parametrize("name", PATHS)
def test_weights_of_paths_have_the_mass_of_any_density_as_their_mean(name):
    """Size: 50,000 paths; densities 3 % off in every scale are seen (`test_dais` has mutants)."""
    _, target, guide = hand(name)
    with torch.no_grad():
        q, said = guide.draw(target.layout, (50_000,), torch.Generator().manual_seed(8))
        centre, scale = q.mean(0), 0.5 * q.std(0)

        def z(factor: float) -> float:
            log_p = -0.5 * ((q - centre) / scale).square() - (factor * scale).log()
            log_p = log_p.sum(-1) - 0.5 * q.shape[-1] * math.log(2 * math.pi)
            weights = (log_p - said.total()).exp()
            return abs(float((weights.mean() - 1.0) / (weights.std() / math.sqrt(len(q)))))

        assert z(1.0) < BOUND
        assert z(1.03) > BOUND


@pytest.mark.parametrize("name", GUIDES)
def test_draws_have_the_shapes_and_supports_of_their_sites(name):
    model, _, guide = hand(name)
    sites = guide.rsample(X)
    assert {site: tuple(value.shape) for site, value in sites.items()} == {
        "m": (2,), "s": (), "z": (ROWS,),
    }  # fmt: skip
    assert bool(sites["s"] > 0)
    if GUIDES[name].trained:
        sum(value.sum() for value in guide.rsample(X).values()).backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in guide.parameters())
    ahead = Predictive(model, guide, num_samples=3)(X, {})
    assert ahead["y"].shape == (3, ROWS)


@pytest.mark.parametrize("name", GUIDES)
def test_many_draws_at_once_are_those_of_the_flat_vector(name):
    _, target, guide = hand(name)
    q, _ = guide.draw(target.layout, (4,), torch.Generator().manual_seed(1))
    found = guide.draws(X, 4, generator=torch.Generator().manual_seed(1))
    wanted = target.constrain(q)
    assert set(found) == {"m", "s", "z"}
    for site, value in found.items():
        torch.testing.assert_close(value, wanted[site].reshape(value.shape))


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("sites", [(1, 0), (0, 1)], ids=["shared", "row"])
def test_the_density_of_one_coordinate_integrates_to_one(name, sites):
    if name == "amortized" and not sites[1]:
        with pytest.raises(UserError, match="nothing to amortize"):
            prepared(name, Conjugate(*sites), X, OBS)
        return
    model = Conjugate(*sites)
    x, y = data(model, 1)
    guide = prepared(name, model, x, {"y": y})
    grid = torch.linspace(-6, 6, 40_001, dtype=torch.float64)[:, None]
    layout = model.target(x, {"y": y}).layout
    with torch.no_grad():
        density = guide.log_density(layout, grid).total().exp()
    assert float(torch.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=2e-5)


def test_a_flow_that_forgets_its_log_determinant_does_not_integrate_to_one():
    model = Conjugate(1, 0)
    x, y = data(model, 1)
    guide = prepared("flow spline", model, x, {"y": y})
    assert isinstance(guide.shared_block.bijector, Chain)
    layer = guide.shared_block.bijector.parts[0]
    inverse = layer.inverse
    layer.inverse = lambda u: (inverse(u)[0], u.new_zeros(u.shape[:-1]))
    grid = torch.linspace(-6, 6, 40_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        density = guide.log_density(model.target(x, {"y": y}).layout, grid).total().exp()
    assert abs(float(torch.trapezoid(density, grid[:, 0])) - 1.0) > 1e-3


def entropy_z(guide, target, off: float = 0.0) -> float:
    q, said = guide.draw(target.layout, (20_000,), torch.Generator().manual_seed(2))
    minus = -said.total(2.0)
    gap = minus.mean() - (guide.entropy(target.layout).total(2.0) + off)
    return abs(float((gap / (minus.std() / math.sqrt(len(q)))).detach()))


@pytest.mark.parametrize("name", NORMALS)
def test_the_entropy_is_minus_the_mean_log_density(name):
    """Size: 20,000 draws; an error of 0.1 nats is seen (below)."""
    _, target, guide = hand(name)
    assert entropy_z(guide, target) < BOUND


def test_an_entropy_that_is_a_tenth_of_a_nat_off_is_seen():
    _, target, guide = hand("multivariate, rows")
    assert entropy_z(guide, target, off=0.1) > BOUND


@pytest.mark.parametrize("name", sorted(set(GUIDES) - set(NORMALS)))
def test_an_entropy_without_closed_form_is_refused(name):
    _, target, guide = hand(name)
    with pytest.raises(UserError, match="no closed form"):
        guide.entropy(target.layout)


@pytest.mark.parametrize("name", TRAINED)
def test_steps_are_traced_and_lower_the_loss(name):
    model = Hand()
    guide = GUIDES[name].make(model, {"y"}, ROWS)
    optim = torch.optim.Adam(guide.parameters(), lr=0.02)
    rng = torch.Generator().manual_seed(3)
    svi = SVI(model, guide, optim, ELBO(num_particles=4), generator=rng)
    result = svi.run(X, OBS, 40)
    assert svi.eager_reason == ""
    assert svi._traced is not None
    assert float(result.losses[-10:].mean()) < float(result.losses[:10].mean())


@pytest.mark.parametrize(
    "name", ["laplace", "multivariate, rows", "flow iaf", "amortized", "delta", "dais, rows"]
)
def test_chains_start_at_draws_of_a_guide(name):
    model, _, guide = hand(name)
    run = MCMC(NUTSKernel(), 5, 3, num_chains=1, seed=0, tier="eager")
    assert run.run(model, X, OBS, guide=guide).num_samples == 3


@pytest.mark.parametrize("name", [n for n, entry in GUIDES.items() if entry.rows])
def test_a_guide_for_other_rows_is_refused(name):
    model = Hand()
    guide = GUIDES[name].make(model, {"y"}, ROWS + 1)
    target = model.target(X, OBS, latents="declared")
    with pytest.raises(UserError, match=r"parameters for rows \(6,\), the data have rows \(5,\)"):
        guide.draw(target.layout, ())
    with pytest.raises(UserError, match=r"rows=0 must be a positive number"):
        GUIDES[name].make(model, {"y"}, 0)


def test_rows_give_every_row_its_own_parameters():
    guide = AutoNormalGuide(Hand(), {"y"}, rows=ROWS)
    assert guide.loc_z.shape == (ROWS, 1)
    assert guide.loc_m.shape == (2, 1)
    with torch.no_grad():
        guide.loc_z.copy_(torch.arange(ROWS)[:, None])
        guide.log_scale_z.fill_(-20.0)
    torch.testing.assert_close(guide.rsample(X)["z"].detach(), torch.arange(ROWS).double())


def test_an_unfitted_laplace_guide_says_so():
    model = Hand()
    guide = AutoLaplaceApproximation(model, {"y"})
    with pytest.raises(UserError, match="has not been fitted"):
        guide.draw(model.target(X, OBS, latents="declared").layout, ())
