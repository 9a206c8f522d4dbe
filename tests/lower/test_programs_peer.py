"""The hand-written peers of `benchmarks.programs` compute the programs' densities; costs count.

A time in a test would say something of the machine; the number of tensor operations does not, and
must not grow with rows, classes, groups or elements.
"""

from collections.abc import Callable

import pytest
import torch

from benchmarks.programs import Pair, by_hand, irt, lda, start, tiers
from quivers_nb.dsl import loads
from quivers_nb.inference import flat
from quivers_nb.inference.gradient import record_value_and_grad

SMALL: dict[str, Callable[[], Pair]] = {
    "lda": lambda: lda(docs=7, words=5, topics=3, vocabulary=11),
    "irt": lambda: irt(persons=9, items=4),
}
LARGER: dict[str, Callable[[], Pair]] = {
    "lda": lambda: lda(docs=12, words=9, topics=6, vocabulary=23),
    "irt": lambda: irt(persons=30, items=11),
}


@pytest.mark.parametrize("name", SMALL)
def test_programs_and_peers_have_one_density_and_one_gradient(name: str) -> None:
    pair = SMALL[name]()
    target = pair.target()
    q = start(target)
    value, gradient = by_hand(pair.peer)(q)
    found = dict(tiers(target, q))
    assert set(found) >= {"eager", "traced"}
    for evaluate in found.values():
        got, slope = evaluate(q)
        torch.testing.assert_close(got, value, rtol=1e-11, atol=1e-10)
        torch.testing.assert_close(slope, gradient, rtol=1e-9, atol=1e-10)


NESTED = """object G : FinSet {groups}
object H : FinSet {subgroups}
object N : FinSet {rows}
object K : FinSet {classes}
program p : N -> N
    sample mu : K <- Normal(0.0, 1.0)
    sample nu : K <- Normal(0.0, 1.0)
    let first = softmax(mu)
    marginalize c : K <- CategoricalProbs(first) [over=G]
        let second = softmax(mu[c] * nu)
        marginalize d : K <- CategoricalProbs(second) [over=H, via=up]
            let m = mu[c] + nu[d] * x
            observe y : N <- Normal(m, 1.0) [via=down]
    marginalize z : N <- Binomial({trials}, 0.4)
        let q = z + mu[0]
        observe v : N <- PoissonLog(q)
    return mu
export p
"""


def operations(groups: int, subgroups: int, rows: int, classes: int, trials: int) -> int:
    """How many tensor operations one value and gradient of the nested program takes."""
    model = loads(NESTED.format(**locals())).morphism
    data = {"up": torch.arange(subgroups) % groups, "down": torch.arange(rows) % subgroups,
            "x": torch.randn(rows), "y": torch.randn(rows), "v": torch.ones(rows)}  # fmt: skip
    target = flat(model.target(None, data, dtype=torch.float64))
    return len(record_value_and_grad(target, start(target)).nodes)


def test_groups_classes_rows_and_values_are_axes_and_never_loops() -> None:
    assert operations(2, 3, 5, 2, 2) == operations(5, 11, 40, 4, 9)


@pytest.mark.parametrize("name", SMALL)
def test_sizes_do_not_change_the_number_of_operations(name: str) -> None:
    counts = []
    for pair in (SMALL[name](), LARGER[name]()):
        target = pair.target()
        counts.append(len(record_value_and_grad(target, start(target)).nodes))
    assert counts[0] == counts[1]
