"""The hand-written peers of `benchmarks.programs` compute the programs' densities; costs count.

A time in a test would say something of the machine; the number of tensor operations does not, and
must not grow with rows, classes, groups or elements.
"""

from collections.abc import Callable

import pytest
import torch

from benchmarks.programs import Pair, by_hand, irt, lda, start, tiers
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


@pytest.mark.parametrize("name", SMALL)
def test_sizes_do_not_change_the_number_of_operations(name: str) -> None:
    counts = []
    for pair in (SMALL[name](), LARGER[name]()):
        target = pair.target()
        counts.append(len(record_value_and_grad(target, start(target)).nodes))
    assert counts[0] == counts[1]
