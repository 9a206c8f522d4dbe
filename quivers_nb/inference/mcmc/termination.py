"""When a trajectory has gone far enough: the generalised U-turn criterion.

Betancourt (2017), "A Conceptual Introduction to Hamiltonian Monte Carlo", appendix A.4.2: a piece
of trajectory with momentum sum ρ goes on while the velocities at both its ends have a positive
product with ρ. Joining two pieces also checks each piece together with the nearest end of the
other; without these two checks a trajectory that turns between the pieces is missed
(stan-dev/stan pull request 2800).
"""

from typing import NamedTuple

from quivers_nb.inference.mcmc.integrator import Phase, dot
from quivers_nb.inference.mcmc.metric import Vector


class Subtree(NamedTuple):
    """2**level consecutive states, and one of them chosen by weight.

    ``first`` and ``last`` are the ends in the order of building, ``rho`` is the sum of momenta,
    ``log_weight`` the log of the summed weights exp(H₀ - H).
    """

    level: int
    first: Phase
    last: Phase
    rho: Vector
    log_weight: float
    proposal: Phase

    def flipped(self) -> "Subtree":
        return self._replace(first=self.last, last=self.first)


def leaf(state: Phase, log_weight: float) -> Subtree:
    """A subtree of one state."""
    return Subtree(0, state, state, state.p, log_weight, state)


def turns(a: Subtree, b: Subtree, rho: Vector) -> bool:
    """Whether ``a`` followed by ``b``, whose momenta sum to ``rho``, makes a U-turn."""
    if not _goes_on(a.first, b.last, rho):
        return True
    if a.level == 0 and b.level == 0:  # the other two checks would be the same
        return False
    return not (
        _goes_on(a.first, b.first, a.rho + b.first.p) and _goes_on(a.last, b.last, b.rho + a.last.p)
    )


def _goes_on(first: Phase, last: Phase, rho: Vector) -> bool:
    return dot(first.velocity, rho) > 0.0 and dot(last.velocity, rho) > 0.0
