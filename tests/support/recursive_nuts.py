"""NUTS as a recursion over explicit lists of states: slow, plain, an oracle for the real one.

Every subtree is the list of its states, so that momentum sums and weights are taken over the list
each time and nothing is carried along. Random numbers are drawn where the real sampler draws them.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    q: np.ndarray
    p: np.ndarray
    grad: np.ndarray
    energy: float


@dataclass
class Transition:
    q: np.ndarray
    depth: int = 0
    leapfrogs: int = 0
    diverged: bool = False
    acceptances: list[float] = field(default_factory=list)

    @property
    def acceptance(self) -> float:
        return float(np.mean(self.acceptances))


class Stop(Exception):
    """A subtree turned or diverged."""


def recursive_transition(  # noqa: C901  (one closure per line of the paper's pseudocode)
    evaluate, q, p, variance, step, max_depth, rng
) -> Transition:
    def energy_at(q, p):
        value, grad = evaluate(q[None])
        energy = 0.5 * np.sum(p * variance * p) - value[0]
        return State(q, p, grad[0], np.inf if np.isnan(energy) else energy)

    def leapfrog(state, sign):
        half = state.p + 0.5 * sign * step * state.grad
        q = state.q + sign * step * variance * half
        _, grad = evaluate(q[None])
        return energy_at(q, half + 0.5 * sign * step * grad[0])

    def goes_on(first, last, states):
        rho = np.sum([s.p for s in states], axis=0)
        return first.p @ (variance * rho) > 0 and last.p @ (variance * rho) > 0

    def turns(a, b):
        """Two neighbouring lists of states, in order of building."""
        return not (
            goes_on(a[0], b[-1], a + b)
            and goes_on(a[0], b[0], [*a, b[0]])
            and goes_on(a[-1], b[-1], [a[-1], *b])
        )

    start = energy_at(q, p)
    result = Transition(q)

    def weight(states):
        return np.logaddexp.reduce([start.energy - s.energy for s in states])

    def build(edge, sign, depth):
        """The states of a subtree of 2**depth leapfrogs beyond ``edge``, and its proposal."""
        if depth == 0:
            state = leapfrog(edge, sign)
            result.leapfrogs += 1
            result.acceptances.append(float(np.exp(min(0.0, start.energy - state.energy))))
            if start.energy - state.energy < -1000.0:
                result.diverged = True
                raise Stop
            return [state], state
        first, kept = build(edge, sign, depth - 1)
        second, new = build(first[-1], sign, depth - 1)
        if turns(first, second):
            raise Stop
        both = first + second
        if rng.random() < np.exp(weight(second) - weight(both)):
            kept = new
        return both, kept

    states = [start]  # from left to right
    forward = rng.random() < 0.5
    while result.depth < max_depth:
        try:
            edge = states[-1] if forward else states[0]
            new, proposal = build(edge, 1 if forward else -1, result.depth)
        except Stop:
            break
        inner = states if forward else states[::-1]
        difference = weight(new) - weight(inner)
        if difference >= 0 or rng.random() < np.exp(difference):
            result.q = proposal.q
        turned = turns(inner, new)
        states = inner + new if forward else (inner + new)[::-1]
        result.depth += 1
        forward = rng.random() < 0.5
        if turned:
            break
    return result
