"""The bound against its closed form, minibatch weights, and the loop that lowers it."""

import math

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import ELBO, SVI, AutoNormalGuide
from quivers_nb.inference.vi.fused import use_fused
from tests.stats.budget import alpha, critical_z
from tests.support.models import HandModel

ROWS = 8
X = torch.linspace(-1, 1, ROWS, dtype=torch.float64)[:, None]
Y = torch.sin(3 * X[:, 0]) + 0.3
OBS = {"y": Y}
NOISE = 0.5
BOUND = critical_z(alpha("variational bound", 23))


class Double(HandModel):
    """In float64 throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.double()

    def target(self, x, observations=None, *, latents="all", dtype=None, **_):
        return super().target(x, observations, latents=latents, dtype=torch.float64)


def scattered_guide(model) -> AutoNormalGuide:
    guide = AutoNormalGuide(model, {"y"}, init_scale=0.4)
    with torch.no_grad():
        guide.loc_m.copy_(torch.tensor([[0.2], [0.9]]))
        guide.loc_z.fill_(-0.3)
        guide.log_scale_m.copy_(torch.tensor([[-1.0], [-0.5]]))
    return guide


def closed_form_loss(model, guide, x, y, total_rows=None) -> torch.Tensor:
    """Minus the bound per row: everything is normal and linear, so expectations are exact."""
    w, b = model.halves.sum(), model.offset.sum()
    m, z = guide.loc_m[:, 0], guide.loc_z[0]
    var_m, var_z = (2 * guide.log_scale_m[:, 0]).exp(), (2 * guide.log_scale_z[0]).exp()
    half = 0.5 * math.log(2 * math.pi)
    residual = y - (w * z + m[0] + m[1] * x[:, 0] + b)
    spread = w**2 * var_z + var_m[0] + var_m[1] * x[:, 0] ** 2
    row = -(residual**2 + spread) / (2 * NOISE**2) - math.log(NOISE) - half
    row = row - 0.5 * (z**2 + var_z) - half + (guide.log_scale_z[0] + 0.5 + half)
    shared = (-0.5 * (m**2 + var_m) - half + (guide.log_scale_m[:, 0] + 0.5 + half)).sum()
    total = len(y) if total_rows is None else total_rows
    return -(total / len(y) * row.sum() + shared) / total


@pytest.mark.parametrize("total_rows", [None, 100])
def test_the_bound_and_its_gradient_are_those_of_the_closed_form(total_rows):
    """Size: 200,000 particles; the value and each of 10 gradients (z of 20 rounds)."""
    model = Double()
    guide = scattered_guide(model)
    parameters = [*model.parameters(), *guide.parameters()]
    wanted = closed_form_loss(model, guide, X, Y, total_rows)
    wanted_grads = torch.autograd.grad(wanted, parameters)
    target = model.target(X, OBS, latents="declared")
    objective = ELBO(num_particles=10_000)
    generator = torch.Generator().manual_seed(0)
    rounds = [
        objective.loss(target, guide, total_rows=total_rows, generator=generator) for _ in range(20)
    ]
    losses = torch.stack(rounds)
    error = losses.std() / math.sqrt(20)
    assert abs(float(((losses.mean() - wanted) / error).detach())) < BOUND
    grads = [torch.autograd.grad(loss, parameters) for loss in rounds]
    for k, exact in enumerate(wanted_grads):
        found = torch.stack([grad[k] for grad in grads])
        z = (found.mean(0) - exact) / (found.std(0) / math.sqrt(20) + 1e-12)
        assert float(z.abs().max()) < BOUND


def test_one_particle_is_the_same_estimator():
    model = Double()
    guide = scattered_guide(model)
    target = model.target(X, OBS, latents="declared")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        singles = [float(ELBO().loss(target, guide, generator=generator)) for _ in range(4000)]
    exact = float(closed_form_loss(model, guide, X, Y).detach())
    losses = torch.tensor(singles)
    assert abs(float((losses.mean() - exact) / (losses.std() / math.sqrt(4000)))) < BOUND


def test_fitting_reaches_the_best_mean_field_bound():
    """Model weights fixed: the optimum over the guide, found by exact gradients, is reached."""
    model = Double()
    best = AutoNormalGuide(model, {"y"})
    exact = torch.optim.LBFGS(best.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        exact.zero_grad()
        loss = closed_form_loss(model, best, X, Y)
        loss.backward()
        return loss

    exact.step(closure)
    optimum = float(closed_form_loss(model, best, X, Y).detach())
    guide = AutoNormalGuide(model, {"y"})
    optimiser = torch.optim.Adam(guide.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(1)
    svi = SVI(model, guide, optimiser, ELBO(num_particles=16), generator=generator)
    for _ in range(400):
        svi.step(X, OBS)
    reached = float(closed_form_loss(model, guide, X, Y).detach())
    assert optimum - 1e-6 <= reached < optimum + 0.02
    torch.testing.assert_close(guide.loc_m, best.loc_m, atol=0.1, rtol=0.1)


def test_a_step_returns_the_loss_and_moves_model_and_guide():
    model = Double()
    guide = AutoNormalGuide(model, {"y"})
    parameters = [*model.parameters(), *guide.parameters()]
    before = [p.detach().clone() for p in parameters]
    svi = SVI(model, guide, torch.optim.Adam(parameters, lr=0.01), ELBO())
    loss = svi.step(X, OBS)
    assert type(loss) is float
    assert math.isfinite(loss)
    assert all(not torch.equal(p, b) for p, b in zip(parameters, before, strict=True))


def test_the_target_is_opened_once_for_the_same_tensors_and_again_for_changed_ones():
    model = Double()
    guide = AutoNormalGuide(model, {"y"})
    svi = SVI(model, guide, torch.optim.SGD(guide.parameters(), lr=0.0), ELBO(), tier="eager")
    y = Y.clone()
    for _ in range(3):
        svi.step(X, {"y": y})
    assert model.opened == 1
    y += 1.0  # in place: same object, other data
    svi.step(X, {"y": y})
    assert model.opened == 2
    svi.step(X, {"y": y.clone()})
    assert model.opened == 3
    for _ in range(2):
        svi.step(X, {"y": y.numpy()})  # writes to an array cannot be seen
    assert model.opened == 5


def test_a_generator_makes_steps_repeatable():
    losses = []
    for _ in range(2):
        model = Double()
        guide = AutoNormalGuide(model, {"y"})
        svi = SVI(model, guide, torch.optim.Adam(guide.parameters()), ELBO(),
                  generator=torch.Generator().manual_seed(3))  # fmt: skip
        losses.append([svi.step(X, OBS) for _ in range(3)])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_fused_optimisers_make_the_same_steps(kind):
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2)]
    plain, fused = kind([weights[0]], lr=0.1), kind([weights[1]], lr=0.1)
    assert use_fused(fused)
    for step in range(5):
        for weight, optimiser in zip(weights, (plain, fused), strict=True):
            weight.grad = torch.cos(weight.detach() + step)
            optimiser.step()
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-6)


def test_an_optimiser_that_chose_is_left_alone():
    p = [torch.nn.Parameter(torch.zeros(2))]
    for options in ({"foreach": True}, {"fused": False}, {"differentiable": True}):
        optimiser = torch.optim.Adam(p, **options)
        assert not use_fused(optimiser)
        assert optimiser.param_groups[0]["fused"] in (None, False)
    assert not use_fused(torch.optim.RMSprop(p))
    assert not use_fused(torch.optim.LBFGS(p))


def test_counts_below_one_are_refused():
    with pytest.raises(UserError, match="`num_particles` of `ELBO` is 0"):
        ELBO(num_particles=0)
    model = Double()
    guide = AutoNormalGuide(model, {"y"})
    with pytest.raises(UserError, match="`total_rows` of `SVI` is 0"):
        SVI(model, guide, torch.optim.SGD(guide.parameters(), lr=0.1), ELBO(), total_rows=0)
