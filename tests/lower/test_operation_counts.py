"""Evaluation is vectorized: the number of tensor operations does not grow with sizes.

Every operation of a density and its gradient is counted where torch dispatches it. Rows, classes,
plate elements, particles and states may change their shapes and never their number; time changes it
by a few per doubling where the steps can be joined, and by a constant per step where a state is
known only when the step before is done. (Sizes of 1 are left out: torch spares itself the sums over
axes that are broadcast from 1 to 1.)
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from benchmarks.programs import IRT, LDA
from quivers_nb.dsl import loads
from tests.support.operations import Counter


def operations(
    source: str,
    x: Any,
    values: dict[str, Any],
    stack: tuple[int, ...] = (),
    sizes: dict[str, int] | None = None,
) -> int:
    """Of the density at a stack of points of everything not given, and its gradient."""
    model = loads(source, sizes=sizes).morphism.double()
    target = model.target(x, values, dtype=torch.float64)
    q = torch.full((*stack, target.layout.dim), 0.1, dtype=torch.float64, requires_grad=True)
    wanted = [p for p in (q, *model.parameters()) if p.numel()]
    with Counter() as counter:
        total = target.terms(q).total().sum()
        torch.autograd.grad(total, wanted, allow_unused=True)
    return counter.count


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def whole(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int64)


# --- sizes that must not matter -------------------------------------------------------------------


def plates(groups: int, rows: int) -> int:
    source = f"""\
object G : FinSet {groups}
object N : FinSet {rows}
program p : N -> N
    sample s <- HalfNormal(1.0)
    sample a : G <- Normal(0.0, s)
    let mu = a[g]
    observe y : N <- Normal(mu, s)
    return s
export p
"""
    return operations(source, None, {"y": zeros(rows), "g": whole(rows)})


def mixture(classes: int, rows: int) -> int:
    source = f"""\
object K : FinSet {classes}
object N : FinSet {rows}
program p : N -> K
    sample w <- Dirichlet(1.0) [over=K]
    sample mu : K <- Normal(0.0, 5.0)
    marginalize z : N <- Categorical(w)
        let m = mu[z]
        observe y : N <- Normal(m, 1.0)
    return w
export p
"""
    return operations(source, None, {"y": zeros(rows)})


def hidden_chain(states: int, rows: int, length: int = 20) -> int:
    source = f"""\
object K : FinSet {states}
morphism trans : K -> K [role=kernel]
morphism emit : K -> Real 2 [role=kernel] ~ Normal
program step(u, z) : Real 1 * K -> K
    sample s <- trans(z)
    observe y <- emit(s)
    return s
let chain = scan(step, init=learned)
program p : Real 1 -> K
    sample last <- chain
    return last
export p
"""
    return operations(
        source, zeros(rows, length, 1), {"last/chain/[t]/step/y": zeros(rows, length, 2)}
    )


def hidden_chain_over_time(length: int) -> int:
    return hidden_chain(3, 2, length)


def trend(length: int, rows: int = 2) -> int:
    source = """\
program step(u, z) : Real 1 * Real 1 -> Real 1
    sample s <- Normal(z, 0.5)
    let m = s * u
    observe y <- Normal(m, 0.5)
    return s
let chain = scan(step, init=learned)
program p(u) : Real 1 -> Real 1
    sample last <- chain(u)
    return last
export p
"""
    return operations(
        source, zeros(rows, length, 1), {"last/chain/[t]/step/y": zeros(rows, length)}
    )


def recurrent(length: int, rows: int = 2, particles: int = 1) -> int:
    source = """\
morphism cell : Real 2 * Real 3 -> Real 3 [role=kernel] ~ Normal
morphism read : Real 3 -> Real 1 [role=kernel] ~ Normal
let f = scan(cell) >> read
program p : Real 2 -> Real 1
    observe h <- f
    return h
export p
"""
    return operations(source, zeros(rows, length, 2), {"h": zeros(rows, 1)}, (particles,))


def groups(classes: int, rows: int, over: int) -> int:
    """Classes of groups, sub-classes of sub-groups, whose probabilities depend on the class."""
    source = f"""\
object K : FinSet {classes}
object G : FinSet {over}
object H : FinSet {2 * over}
object N : FinSet {rows}
program p : N -> K
    sample mu : K <- Normal(0.0, 5.0)
    sample w : K <- Dirichlet(1.0) [over=K]
    let first = w[0]
    marginalize c : K <- Categorical(first) [over=G]
        let second = w[c]
        marginalize d : K <- Categorical(second) [over=H, via=up]
            let m = mu[c] + mu[d]
            observe y : N <- Normal(m, 1.0) [via=down]
    return mu
export p
"""
    given = {"y": zeros(rows), "up": whole(2 * over), "down": whole(rows)}
    return operations(source, None, given)


def chain_per_element(classes: int, rows: int) -> int:
    source = f"""\
object K : FinSet {classes}
object N : FinSet {rows}
program p : N -> K
    sample mu : K <- Normal(0.0, 5.0)
    sample w : K <- Dirichlet(1.0) [over=K]
    let first = w[0]
    marginalize a : N <- Categorical(first)
        let second = w[a]
        marginalize b : N <- Categorical(second)
            let third = w[b]
            marginalize c : N <- Categorical(third)
                let m = mu[a] + mu[c]
                observe y : N <- Normal(m, 1.0)
                let k = mu[b]
                observe z : N <- Normal(k, 1.0)
    return mu
export p
"""
    return operations(source, None, {"y": zeros(rows), "z": zeros(rows)})


def topics(classes: int, rows: int, documents: int, words: int) -> int:
    sizes = {"n_docs": documents, "n_topics": classes, "n_words": words, "n_tokens": rows}
    return operations(LDA, None, {"w": whole(rows), "doc_of": whole(rows)}, sizes=sizes)


def answers(persons: int, items: int) -> int:
    sizes = {"n_persons": persons, "n_items": items}
    return operations(IRT, None, {"y": zeros(persons, items)}, sizes=sizes)


def row_classes(classes: int, rows: int) -> int:
    source = f"""\
object K : FinSet {classes}
program p(a) : Real 1 -> Real 1
    sample mu : K <- Normal(0.0, 5.0)
    let w = softmax(mu)
    marginalize z <- Categorical(w)
        marginalize g <- Beta(2.0, 2.0)
            let m = mu[z] * a + g
            observe y <- Normal(m, 1.0)
    return mu
export p
"""
    return operations(source, zeros(rows, 1), {"y": zeros(rows)})


def composite(middle: int, rows: int, particles: int) -> int:
    source = f"""\
object M : FinSet {middle}
morphism e : Real 2 -> Real 3 [role=kernel] ~ Normal
morphism f : Real 2 -> M [role=kernel] ~ Categorical
morphism g : M -> Real 3 [role=kernel] ~ Normal
morphism h : Real 3 -> Real 3 [role=kernel] ~ Normal
let both = fan(e, f >> g) >> ((h >> stack(h, 2)) @ h)
program p : Real 2 -> Real 6
    observe y <- both
    return y
export p
"""
    return operations(source, zeros(rows, 2), {"y": zeros(rows, 6)}, (particles,))


SIZES: dict[str, tuple[Callable[..., int], list[dict[str, int]]]] = {
    "elements of a plate and rows of data": (
        plates, [{"groups": 3, "rows": 5}, {"groups": 30, "rows": 200}]),
    "classes and elements of a mixture": (
        mixture, [{"classes": 3, "rows": 5}, {"classes": 9, "rows": 200}]),
    "classes, groups and rows of nested groups": (
        groups, [{"classes": 3, "rows": 8, "over": 2}, {"classes": 6, "rows": 90, "over": 20}]),
    "classes and elements of a chain in each element": (
        chain_per_element, [{"classes": 3, "rows": 5}, {"classes": 7, "rows": 80}]),
    "topics, documents, words and tokens": (
        topics, [{"classes": 3, "rows": 9, "documents": 2, "words": 4},
                 {"classes": 6, "rows": 200, "documents": 20, "words": 30}]),
    "persons and items": (answers, [{"persons": 4, "items": 3}, {"persons": 90, "items": 20}]),
    "classes and rows of a mixture in each row": (
        row_classes, [{"classes": 3, "rows": 4}, {"classes": 8, "rows": 60}]),
    "elements of a middle, rows and particles of a composite": (
        composite, [{"middle": 3, "rows": 4, "particles": 2},
                    {"middle": 9, "rows": 50, "particles": 7}]),
    "states and rows of a hidden chain": (
        hidden_chain, [{"states": 3, "rows": 2}, {"states": 6, "rows": 50}]),
    "rows of a linear Gaussian chain": (
        trend, [{"length": 12, "rows": 2}, {"length": 12, "rows": 50}]),
    "rows and particles of a recurrence": (
        recurrent, [{"length": 6, "rows": 2, "particles": 3},
                    {"length": 6, "rows": 40, "particles": 8}]),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_the_number_of_operations_does_not_grow(name: str) -> None:
    count, sizes = SIZES[name]
    small, large = (count(**size) for size in sizes)
    assert small == large
    assert small > 10, "operations were counted"


@pytest.mark.parametrize("count", [hidden_chain_over_time, trend], ids=["hidden", "linear"])
def test_time_costs_one_round_per_doubling(count: Callable[[int], int]) -> None:
    rounds = [count(length) for length in (32, 64, 128, 256)]
    steps = {after - before for before, after in pairwise(rounds)}
    assert len(steps) == 1, "each doubling adds the same"
    assert 0 < steps.pop() < 250


def test_a_recurrence_costs_the_same_at_every_step() -> None:
    counts = [recurrent(length) for length in (4, 5, 6, 12)]
    step = counts[1] - counts[0]
    assert [counts[2] - counts[1], counts[3] - counts[2]] == [step, 6 * step]
    assert step < 120


def test_known_states_are_scored_at_once() -> None:
    def count(length: int) -> int:
        model = loads(
            "morphism cell : Real 2 * Real 3 -> Real 3 [role=kernel] ~ Normal\n"
            "let f = scan(cell)\nprogram p : Real 2 -> Real 3\n    sample h <- f\n    return h\n"
            "export p\n"
        ).morphism.double()
        given = {"h": zeros(2, 3), "h/f/[t]/cell": zeros(2, length - 1, 3)}
        with Counter() as counter:
            model.log_joint(zeros(2, length, 2), given)
        return counter.count

    assert count(3) == count(80)


def test_a_loop_would_be_seen() -> None:
    """The mutant: a density that goes through its rows one by one."""

    def count(rows: int) -> int:
        y = zeros(rows)
        with Counter() as counter:
            sum(torch.distributions.Normal(0.0, 1.0).log_prob(one) for one in y)
        return counter.count

    assert count(40) > count(5)
