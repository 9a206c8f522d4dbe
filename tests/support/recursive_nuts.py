"""NUTS as a recursion over explicit lists of states: slow, plain, an oracle for the real one.

Every subtree is the list of its states, so that momentum sums and weights are taken over the list
each time and nothing is carried along. Random numbers are drawn where the real sampler draws them.
"""

from collections.abc import Callable
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


@dataclass
class Recursion:
    """One transition under way: the density, the settings, the start, what is found so far."""

    evaluate: Callable
    variance: np.ndarray
    step: float
    rng: np.random.Generator
    start: State
    result: Transition

    def leapfrog(self, state: State, sign: int) -> State:
        half = state.p + 0.5 * sign * self.step * state.grad
        q = state.q + sign * self.step * self.variance * half
        _, grad = self.evaluate(q[None])
        p = half + 0.5 * sign * self.step * grad[0]
        return state_at(self.evaluate, q, p, self.variance)

    def goes_on(self, first: State, last: State, states: list[State]) -> bool:
        rho = self.variance * np.sum([s.p for s in states], axis=0)
        return first.p @ rho > 0 and last.p @ rho > 0

    def turns(self, a: list[State], b: list[State]) -> bool:
        """Whether two neighbouring lists of states, in order of building, make a U-turn."""
        return not (
            self.goes_on(a[0], b[-1], a + b)
            and self.goes_on(a[0], b[0], [*a, b[0]])
            and self.goes_on(a[-1], b[-1], [a[-1], *b])
        )

    def weight(self, states: list[State]) -> float:
        return np.logaddexp.reduce([self.start.energy - s.energy for s in states])

    def leaf(self, edge: State, sign: int) -> State:
        state = self.leapfrog(edge, sign)
        error = state.energy - self.start.energy
        self.result.leapfrogs += 1
        self.result.acceptances.append(float(np.exp(min(0.0, -error))))
        if error > 1000.0:
            self.result.diverged = True
            raise Stop
        return state

    def build(self, edge: State, sign: int, depth: int) -> tuple[list[State], State]:
        """The states of a subtree of 2**depth leapfrogs beyond ``edge``, and its proposal."""
        if depth == 0:
            state = self.leaf(edge, sign)
            return [state], state
        first, kept = self.build(edge, sign, depth - 1)
        second, new = self.build(first[-1], sign, depth - 1)
        if self.turns(first, second):
            raise Stop
        both = first + second
        if self.rng.random() < np.exp(self.weight(second) - self.weight(both)):
            kept = new
        return both, kept

    def run(self, max_depth: int) -> Transition:
        result, states = self.result, [self.start]  # from left to right
        forward = self.rng.random() < 0.5
        turned = False
        while result.depth < max_depth and not turned:
            edge = states[-1] if forward else states[0]
            try:
                new, proposal = self.build(edge, 1 if forward else -1, result.depth)
            except Stop:
                break
            inner = states if forward else states[::-1]
            difference = self.weight(new) - self.weight(inner)
            if difference >= 0 or self.rng.random() < np.exp(difference):
                result.q = proposal.q
            turned = self.turns(inner, new)
            states = inner + new if forward else (inner + new)[::-1]
            result.depth += 1
            forward = self.rng.random() < 0.5
        return result


def state_at(evaluate, q, p, variance) -> State:
    value, grad = evaluate(q[None])
    energy = 0.5 * np.sum(p * variance * p) - value[0]
    return State(q, p, grad[0], np.inf if np.isnan(energy) else energy)


def recursive_transition(evaluate, q, p, variance, step, max_depth, rng) -> Transition:
    start = state_at(evaluate, q, p, variance)
    return Recursion(evaluate, variance, step, rng, start, Transition(q)).run(max_depth)
