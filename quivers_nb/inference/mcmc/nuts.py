"""The No-U-Turn sampler with multinomial sampling, one leapfrog per call.

Hoffman & Gelman (2014), "The No-U-Turn Sampler"; Betancourt (2017), appendix A for multinomial
weights. The recursion of doubling is kept as a stack of finished subtrees: a new state is a
subtree of level 0, and two neighbours of one level merge, as carries do in a binary counter. The
stack holds references to immutable states, so a trajectory of 2**d states needs O(d) memory and
`NUTSKernel.extend` is a pure function without copying.
"""

from dataclasses import dataclass
from math import exp, inf, log1p
from typing import NamedTuple, cast

from numpy.random import Generator

from quivers_nb.inference.mcmc.integrator import Phase
from quivers_nb.inference.mcmc.kernel import (
    AdaptFrom,
    EnergyError,
    MassMatrix,
    Stats,
    Trajectory,
)
from quivers_nb.inference.mcmc.termination import Subtree, leaf, turns
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Positive, Share, TreeDepth


class NutsTrajectory(NamedTuple):
    """A growing trajectory. ``whole`` runs from its left end to its right end.

    ``stack`` holds the finished parts of the subtree being built in direction ``forward``; it is
    complete when one part of level ``depth`` remains.
    """

    whole: Subtree
    stack: tuple[Subtree, ...]
    forward: bool
    depth: int
    energy: float  # at the start
    sum_acceptance: float
    leapfrogs: int
    diverged: bool
    done: bool

    @property
    def front(self) -> Phase:
        if self.stack:
            return self.stack[-1].last
        return self.whole.last if self.forward else self.whole.first

    @property
    def chosen(self) -> Phase:
        return self.whole.proposal

    def stats(self, step_size: float) -> Stats:
        return Stats(
            self.sum_acceptance / max(self.leapfrogs, 1),
            self.leapfrogs,
            self.depth,
            self.diverged,
            self.chosen.log_density,
            self.energy,
            step_size,
        )


@known_options
@dataclass(frozen=True)
class NUTSKernel:
    """Multinomial NUTS. See `MCMC` for running it.

    ``step_size`` is where the search for the first step size starts (and the step size itself if
    ``adapt_step_size`` is off); ``mass_matrix`` is "diagonal", "dense" or "identity";
    ``divergence_threshold`` is the energy error from which a trajectory counts as divergent.
    """

    step_size: Positive = 0.1
    max_tree_depth: TreeDepth = 10
    mass_matrix: MassMatrix = "diagonal"
    target_accept: Share = 0.8
    divergence_threshold: EnergyError = 1000.0
    adapt_step_size: bool = True
    adapt_mass_matrix: bool = True
    adapt_from: AdaptFrom = "draws"

    def begin(self, start: Phase, rng: Generator) -> NutsTrajectory:
        """A trajectory of one state, about to grow in a random direction."""
        whole = leaf(start, 0.0)
        return NutsTrajectory(whole, (), _coin(rng), 0, start.energy, 0.0, 0, False, False)

    def extend(self, trajectory: Trajectory, state: Phase, rng: Generator) -> NutsTrajectory:
        """The trajectory with one more ``state``, a leapfrog beyond its front."""
        old = cast(NutsTrajectory, trajectory)
        log_weight = old.energy - state.energy
        grown = old._replace(
            sum_acceptance=old.sum_acceptance + exp(min(0.0, log_weight)),
            leapfrogs=old.leapfrogs + 1,
        )
        if not log_weight >= -self.divergence_threshold:
            return grown._replace(diverged=True, done=True)
        return self._merge(grown, leaf(state, log_weight), rng)

    def _merge(self, old: NutsTrajectory, part: Subtree, rng: Generator) -> NutsTrajectory:
        stack = old.stack
        while stack and stack[-1].level == part.level:
            rho = stack[-1].rho + part.rho
            if turns(stack[-1], part, rho):
                return old._replace(done=True)
            log_weight = log_add(stack[-1].log_weight, part.log_weight)
            keep_new = rng.random() < exp(part.log_weight - log_weight)
            proposal = part.proposal if keep_new else stack[-1].proposal
            part = Subtree(part.level + 1, stack[-1].first, part.last, rho, log_weight, proposal)
            stack = stack[:-1]
        if part.level < old.depth:
            return old._replace(stack=(*stack, part))
        return self._double(old, part, rng)

    def _double(self, old: NutsTrajectory, new: Subtree, rng: Generator) -> NutsTrajectory:
        """Join a finished subtree; it is preferred, in proportion to its weight (biased)."""
        inner = old.whole if old.forward else old.whole.flipped()
        rho = inner.rho + new.rho
        difference = new.log_weight - inner.log_weight
        take = difference >= 0.0 or rng.random() < exp(difference)
        whole = Subtree(
            new.level + 1,
            inner.first,
            new.last,
            rho,
            log_add(inner.log_weight, new.log_weight),
            new.proposal if take else inner.proposal,
        )
        depth = old.depth + 1
        return old._replace(
            whole=whole if old.forward else whole.flipped(),
            stack=(),
            forward=_coin(rng),
            depth=depth,
            done=depth >= self.max_tree_depth or turns(inner, new, rho),
        )


def log_add(a: float, b: float) -> float:
    """log(exp a + exp b) for numbers or -inf."""
    high, low = (a, b) if a > b else (b, a)
    return high if high == -inf else high + log1p(exp(low - high))


def _coin(rng: Generator) -> bool:
    return rng.random() < 0.5
