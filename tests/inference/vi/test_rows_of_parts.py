"""Bounds per row of a guide in parts, against the sums written out by hand at the same draws.

u <- N(x, 1),  z <- N(u, 0.5),  y <- N(u + z, 0.7),      all one per row
"""

import math
from functools import partial

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    IWAE,
    VRIWAE,
    AmortizedNormalGuide,
    AutoGuideList,
    AutoMixture,
    AutoMultivariateNormal,
    AutoNormalGuide,
    Renyi,
)

MODEL = loads("""object R1 : Real 1
program pair(x) : R1 -> R1
    sample u <- Normal(x, 1.0)
    sample z <- Normal(u, 0.5)
    let m = u + z
    observe y <- Normal(m, 0.7)
    return z
export pair
""").morphism
ROWS, PARTICLES = 5, 7
X = torch.linspace(-1.0, 1.0, ROWS).unsqueeze(-1)
OBS = {"y": torch.tensor([0.3, -1.2, 0.1, 2.0, 0.6])}
TARGET = MODEL.target(X, OBS, latents="declared")
AMORTIZED = partial(AmortizedNormalGuide, in_features=1, hidden=(3,))
JOINT = partial(AutoMultivariateNormal, rows=ROWS)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def guide_of(u, z) -> AutoGuideList:
    """Parts for `u` and `z`, with scattered parameters."""
    guide = AutoGuideList(MODEL, {"y"}, [(["u"], u), (["z"], z)])
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=rng()))
    return guide.at(X, OBS)


def drawn(guide) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The particles of the objectives, ``(K, B)`` each, and the model's log density of each row."""
    q, _ = guide.draw(TARGET.layout, (PARTICLES,), rng())
    sites = TARGET.layout.split(q)
    u, z = (sites[name].reshape(PARTICLES, ROWS) for name in ("u", "z"))
    model = Normal(X.squeeze(-1), 1.0).log_prob(u) + Normal(u, 0.5).log_prob(z)
    return u, z, model + Normal(u + z, 0.7).log_prob(OBS["y"])


def log_q(part, name: str, value: torch.Tensor) -> torch.Tensor:  # (K, B) -> (K, B)
    loc, log_scale = part.moments(name)
    return Normal(loc.reshape(-1), log_scale.exp().reshape(-1)).log_prob(value)


@torch.no_grad()
@pytest.mark.parametrize(
    ("u", "z", "total_rows"),
    [
        (AutoNormalGuide, AMORTIZED, None),
        (AutoNormalGuide, AMORTIZED, 3 * ROWS),
        (AMORTIZED, AutoNormalGuide, None),
        (AMORTIZED, AutoNormalGuide, 3 * ROWS),
        (partial(AutoNormalGuide, rows=ROWS), AMORTIZED, None),
    ],
)
def test_each_row_is_weighted_by_the_densities_of_all_its_parts(u, z, total_rows):
    """The mutant: leaving one part's density out of the weights moves the bound by far more."""
    guide = guide_of(u, z)
    values = drawn(guide)
    parts = [log_q(p, n, v) for p, n, v in zip(guide.parts, "uz", values[:2], strict=True)]
    weights = values[2] - sum(parts)
    for objective, alpha in (
        (IWAE(PARTICLES, per_row=True), 0.0),
        (VRIWAE(0.5, PARTICLES, per_row=True), 0.5),
        (Renyi(-1.0, PARTICLES, per_row=True), -1.0),
    ):
        mean = torch.logsumexp((1.0 - alpha) * weights, 0) - math.log(PARTICLES)
        wanted = -(mean / (1.0 - alpha)).mean()
        found = objective.loss(TARGET, guide, total_rows=total_rows, generator=rng())
        torch.testing.assert_close(found, wanted)
        for part in parts:
            wrong = torch.logsumexp((1.0 - alpha) * (weights + part), 0) - math.log(PARTICLES)
            assert abs(float((wrong / (1.0 - alpha)).mean() + wanted)) > 1e-2


@torch.no_grad()
def test_a_part_that_joins_all_rows_counts_as_a_whole_and_weights_no_single_row():
    guide = guide_of(AutoNormalGuide, JOINT)
    u, z, model = drawn(guide)
    block = guide.parts[1].shared_block
    joint = MultivariateNormal(block.loc, scale_tril=block.scale_tril).log_prob(z)
    weights = (model - log_q(guide.parts[0], "u", u)).sum(-1) - joint
    wanted = -(torch.logsumexp(weights, 0) - math.log(PARTICLES)) / ROWS
    torch.testing.assert_close(IWAE(PARTICLES).loss(TARGET, guide, generator=rng()), wanted)
    for objective in (IWAE, partial(VRIWAE, 0.5), partial(Renyi, 0.5)):
        with pytest.raises(UserError, match=r"single density for all rows together.*per_row=False"):
            objective(PARTICLES, per_row=True).loss(TARGET, guide, generator=rng())


@pytest.mark.parametrize("joint", [JOINT, partial(AutoMixture, rows=ROWS)])
@pytest.mark.parametrize("first", [True, False])
def test_whatever_the_order_and_the_kind_of_the_part_that_joins_rows(joint, first):
    guide = guide_of(joint, AMORTIZED) if first else guide_of(AMORTIZED, joint)
    with pytest.raises(UserError, match="per_row=False"):
        IWAE(PARTICLES, per_row=True).loss(TARGET, guide, generator=rng())
    assert bool(IWAE(PARTICLES).loss(TARGET, guide, generator=rng()).isfinite())
