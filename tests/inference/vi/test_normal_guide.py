"""The mean-field normal guide: parameters, shapes, densities."""

import math

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import AutoNormalGuide
from quivers_nb.inference.model import DeclaredLatent, Placed
from quivers_nb.kernels.bijectors.scalar import Interval
from quivers_nb.spaces.support import POSITIVE
from tests.support.models import HandModel, normal

X = torch.zeros(6, 1)


def guide_of(with_scale: bool = True, **options) -> AutoNormalGuide:
    guide = AutoNormalGuide(HandModel(with_scale), {"y"}, **options)
    with torch.no_grad():
        for k, (name, parameter) in enumerate(guide.named_parameters()):
            if name.startswith("loc"):
                parameter.add_(0.3 * (k + 1))
    return guide


def test_parameters_exist_before_any_input_with_names_and_shapes_of_their_sites():
    guide = AutoNormalGuide(HandModel(with_scale=True), {"y"}, init_scale=0.2)
    assert {name: tuple(p.shape) for name, p in guide.named_parameters()} == {
        "loc_m": (2, 1), "log_scale_m": (2, 1),
        "loc_s": (1,), "log_scale_s": (1,),
        "loc_z": (1,), "log_scale_z": (1,),
    }  # fmt: skip
    assert not guide.loc_m.any()
    torch.testing.assert_close(guide.log_scale_z, torch.tensor([math.log(0.2)]))


def test_the_dtype_is_that_of_the_weights():
    assert AutoNormalGuide(HandModel().double(), {"y"}).loc_z.dtype is torch.float64


def test_draws_have_the_shapes_of_their_sites_and_lie_in_their_supports():
    sites = guide_of().rsample(X)
    assert {name: tuple(value.shape) for name, value in sites.items()} == {
        "m": (2,), "s": (), "z": (6,),
    }  # fmt: skip
    assert sites["s"] > 0
    assert sites["z"].unique().numel() == 6


def test_draws_carry_gradients_to_every_parameter():
    guide = guide_of()
    sum(value.sum() for value in guide.rsample(X).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in guide.parameters())


def test_log_prob_is_the_density_of_constrained_values_per_row():
    guide = guide_of()
    z, s, m = torch.randn(6), torch.tensor(0.7), torch.tensor([0.4, -0.2])
    got = guide.log_prob(X, {"z": z, "s": s, "m": m})
    shared = normal(m, guide.loc_m[:, 0], guide.log_scale_m[:, 0].exp()).sum()
    shared = shared + torch.distributions.LogNormal(
        guide.loc_s[0], guide.log_scale_s[0].exp()
    ).log_prob(s)
    wanted = normal(z, guide.loc_z, guide.log_scale_z.exp()) + shared
    torch.testing.assert_close(got, wanted)


def test_the_density_of_a_positive_site_integrates_to_one():
    guide = AutoNormalGuide(HandModel(with_scale=True), {"y", "m", "z"}, init_scale=0.8)
    grid = torch.linspace(0.01, 30, 3000)
    with torch.no_grad():
        density = torch.stack([guide.log_prob(X, {"s": s})[0] for s in grid]).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("stack", [(), (7,)])
def test_flat_draws_are_in_the_target_s_layout_with_their_density(stack):
    guide = guide_of()
    target = HandModel(with_scale=True).target(X, {"y": torch.zeros(6)}, latents="declared")
    q, terms = guide.draw(target.layout, stack)
    assert q.shape == (*stack, target.layout.dim)
    sites = target.layout.split(q)
    assert terms.row.shape == (*stack, 6)
    torch.testing.assert_close(terms.row, normal(sites["z"], guide.loc_z, guide.log_scale_z.exp()))
    shared = normal(sites["m"], guide.loc_m[:, 0], guide.log_scale_m[:, 0].exp()).sum(-1)
    shared = shared + normal(sites["s"], guide.loc_s[0], guide.log_scale_s[0].exp())
    torch.testing.assert_close(terms.shared, shared)


def test_observations_that_do_not_fit_the_guide_are_named():
    guide = guide_of(with_scale=False)
    layout = HandModel().target(X, {"y": torch.zeros(6), "z": torch.zeros(6)}).layout
    with pytest.raises(UserError, match=r"\['z'\] are observed, but the guide covers them"):
        guide.draw(layout, ())
    partial = AutoNormalGuide(HandModel(), {"y", "z"})
    layout = HandModel().target(X, {"y": torch.zeros(6)}).layout
    with pytest.raises(UserError, match=r"\['z'\] need a value or a guide"):
        partial.draw(layout, ())


def test_nothing_to_guide_and_a_scale_of_zero_are_refused():
    with pytest.raises(UserError, match="nothing is left to guide: m, y, z observed"):
        AutoNormalGuide(HandModel(), {"m", "y", "z"})
    with pytest.raises(UserError, match=r"`init_scale` of `AutoNormalGuide` is 0\.0"):
        AutoNormalGuide(HandModel(), {"y"}, init_scale=0.0)
    with pytest.raises(UserError, match="needs a value of `m`"):
        guide_of().log_prob(X, {"z": torch.zeros(6)})


class _Supports:
    """``b`` between 0 and ``a``."""

    def constrain(self, free, names, *, stack=(), parameters=None, generator=None, fresh=False):
        assert names == {"b"}
        value, log_det = Interval(0.0, free["a"].exp()).forward_and_log_det(free["b"])
        return {"b": Placed(value, log_det)}

    def unconstrain(self, values, names, *, parameters=None):
        interval = Interval(0.0, values["a"])
        u = interval.inverse(values["b"])
        return {"b": Placed(u, interval.forward_and_log_det(u)[1])}


class Bounded(HandModel):
    """``a`` positive, ``b`` between 0 and ``a``."""

    def declared_latents(self, observed_names):
        return (
            DeclaredLatent("a", (), (), POSITIVE, False),
            DeclaredLatent("b", (), (), None, True),
        )

    def supports(self, x, observations=None, *, dtype=None):
        return _Supports()


def test_a_bound_may_be_an_earlier_site():
    guide = AutoNormalGuide(Bounded(), {"y"}, init_scale=1.0)
    for _ in range(20):
        sites = guide.rsample(X)
        assert sites["b"].shape == (6,)
        assert ((sites["b"] > 0) & (sites["b"] < sites["a"])).all()
    a, grid = torch.tensor(1.7), torch.linspace(0.001, 1.699, 600)
    with torch.no_grad():
        given_a = [guide.log_prob(X[:1], {"a": a, "b": b})[0] for b in grid]
        alone = AutoNormalGuide(HandModel(True), {"y", "m", "z"}, init_scale=1.0)
        density_of_a = alone.log_prob(X[:1], {"s": a})[0]
    density = (torch.stack(given_a) - density_of_a).exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, abs=1e-2)
