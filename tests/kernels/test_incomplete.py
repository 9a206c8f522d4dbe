"""Functions that scipy computes are seen by whoever records tensor operations."""

import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, SVI, AutoNormalGuide
from quivers_nb.inference.graph import RecordingError, record
from quivers_nb.kernels.incomplete import inverse, log_beta_inc, log_gamma_inc

HALF = torch.tensor(0.5, dtype=torch.float64)
PROGRAM = """\
object N : FinSet 3
program p : 1 -> 1
    sample s <- LogNormal(0.0, 1.0)
    observe y : N <- Restrict(Gamma(s, 1.0), 1.0)
    return s
export p
"""


@pytest.mark.parametrize(
    "function",
    [
        lambda a: (log_gamma_inc(a, HALF),),
        lambda a: (log_beta_inc(HALF, a, HALF),),
        lambda a: (inverse("gammaincinv", HALF, a),),
    ],
)
def test_a_value_from_scipy_is_not_recorded_as_a_constant(function) -> None:
    with pytest.raises(RecordingError, match="reads a number out of a tensor"):
        record(function, torch.tensor(1.5, dtype=torch.float64))


def test_a_value_of_constants_is_a_constant() -> None:
    graph = record(lambda a: (a + log_gamma_inc(HALF, HALF),), torch.tensor(1.0).double())
    assert len(graph.nodes) == 1


def test_variational_steps_follow_a_mass_that_moves() -> None:
    """Losses over twenty steps are those of a guide at the weights of each step."""
    model = loads(PROGRAM).morphism.double()
    data = {"y": torch.tensor([2.0, 1.5, 4.0], dtype=torch.float64)}
    guide = AutoNormalGuide(model, observed_names={"y"}).double()
    generator = torch.Generator().manual_seed(0)
    optim = torch.optim.Adam(guide.parameters(), lr=0.1)
    svi = SVI(model, guide, optim, ELBO(num_particles=50), generator=generator)
    losses = [float(svi.step(None, data)) for _ in range(20)]
    fresh = torch.Generator()
    fresh.set_state(generator.get_state())
    still = torch.optim.SGD(guide.parameters(), lr=0.0)
    eager = SVI(model, guide, still, ELBO(num_particles=50), generator=fresh)
    want = float(eager.step(None, data))
    assert float(svi.step(None, data)) == pytest.approx(want, rel=1e-6)
    assert losses[-1] < losses[0]
