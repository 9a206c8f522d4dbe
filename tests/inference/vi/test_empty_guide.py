"""A model whose sites are all observed or hidden in composites: the weights alone are fitted."""

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, SVI, AutoNormalGuide, EmptyGuide

SOURCE = """\
object X : FinSet 3
object M : FinSet 2
morphism a : X -> M [role=kernel]
morphism b : M -> Real 1 [role=kernel] ~ Normal
let f = a >> b
program p : X -> Real 1
    observe y <- f
    return y
export p
"""
X = torch.tensor([0, 1, 2, 0, 1, 2])
Y = torch.tensor([[-2.0], [2.0], [2.1], [-1.9], [1.8], [2.2]])


def test_a_fit_climbs_the_density_itself() -> None:
    torch.manual_seed(0)
    model = loads(SOURCE).morphism
    guide = EmptyGuide(model, {"y"})
    assert not list(guide.parameters())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    svi = SVI(model, guide, optimizer, ELBO())
    before = -model.log_density(X, {"y": Y}).item() / 6
    assert svi.step(X, {"y": Y}) == pytest.approx(before, rel=1e-5)
    losses = [svi.step(X, {"y": Y}) for _ in range(100)]
    assert losses[-1] < 0.5 * before
    after = -model.log_density(X, {"y": Y}).item() / 6
    assert after <= losses[-1] + 1e-3


def test_it_says_nothing_about_nothing() -> None:
    guide = EmptyGuide(loads(SOURCE).morphism, {"y"})
    target = loads(SOURCE).morphism.target(X, {"y": Y}, latents="declared")
    q, terms = guide.draw(target.layout, (4,))
    assert q.shape == (4, 0)
    assert terms.total().tolist() == [0.0] * 4
    assert guide.log_density(target.layout, q).total().tolist() == [0.0] * 4
    assert guide.entropy(target.layout).total().item() == 0.0
    assert guide.rsample(X) == {}
    assert guide.log_prob(X, {}).shape == (6,)


def test_a_latent_needs_another_guide_and_the_other_way_round() -> None:
    latent = loads(SOURCE.replace("observe y", "sample y")).morphism
    with pytest.raises(UserError, match="`y` need a guide"):
        EmptyGuide(latent)
    with pytest.raises(UserError, match="use EmptyGuide"):
        AutoNormalGuide(loads(SOURCE).morphism, {"y"})
