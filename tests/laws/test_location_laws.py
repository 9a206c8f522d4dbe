"""Every family in the table of locations and scales is one: its noise is free of both.

At ``u = loc + scale · z`` in unconstrained space the density of ``z`` must not depend on the
parameters that are said to be location and scale.
"""

import pytest
import torch
from torch import Tensor

from quivers_nb.lower.centering import LOCATED, place_of
from quivers_nb.lower.dists import simple
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.support import REAL

NOISE = torch.tensor([-2.0, -0.5, 0.0, 0.3, 1.7], dtype=torch.float64)


def noise_density(name: str, given: dict[str, float], rest: float, *, off: float = 0.0) -> Tensor:
    """log density of `NOISE`; parameters that are neither location nor scale are ``rest``."""
    params = [
        torch.tensor(given.get(p.name, rest), dtype=torch.float64)
        for p in FAMILIES[name].parameters
    ]
    dist = simple(name, params, ())
    place = place_of(dist)
    assert place is not None
    loc, scale = place.loc, place.scale
    value, log_det = dist.constrain(loc + off + scale * NOISE)
    return dist.log_prob(value) + log_det + scale.log()


def two(name: str) -> list[dict[str, float]]:
    where, width = LOCATED[name]
    first, second = {width: 0.5}, {width: 2.0}
    return [first, second] if where is None else [{**first, where: -1.0}, {**second, where: 0.7}]


@pytest.mark.parametrize("name", LOCATED)
def test_the_noise_is_free_of_place_of(name: str) -> None:
    one, other = (noise_density(name, given, 3.0) for given in two(name))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", LOCATED)
def test_a_location_that_is_off_would_be_seen(name: str) -> None:
    one, other = two(name)
    off = noise_density(name, one, 3.0, off=0.01) - noise_density(name, other, 3.0)
    assert off.abs().max() > 1e-4


def test_a_family_that_is_not_one_would_be_seen() -> None:
    """A Gamma whose shape is taken for a location."""
    x = NOISE.exp()
    shapes = [torch.tensor(s, dtype=torch.float64) for s in (1.0, 3.0)]
    one, other = (
        simple("Gamma", (s, torch.ones_like(s)), ()).log_prob(x * s) + (x * s).log() for s in shapes
    )
    assert (one - other).abs().max() > 0.1


def test_every_family_with_a_location_and_a_scale_on_the_line_is_in_the_table() -> None:
    numbers = [f for f in FAMILIES.values() if f.support == REAL and not f.event_rank]
    wanted = {
        family.name
        for family in numbers
        if {p.name for p in family.parameters if not p.rank} >= {"loc", "scale"}
    }
    assert len(wanted) >= 5
    assert wanted <= set(LOCATED)


def test_others_have_none() -> None:
    one = torch.ones((), dtype=torch.float64)
    assert place_of(simple("Gamma", (one, one), ())) is None
