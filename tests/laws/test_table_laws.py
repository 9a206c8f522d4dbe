"""Finite kernels obey the laws of Markov matrices, whatever says what their tables are.

Each example draws sizes, kinds (data, a Markov table, a latent with a prior) and matrices, of data
with zeros in them; expressions are compared with products of the matrices. 1e-7 is the least
probability of a given value (5.10), so results agree to a few times that.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.finite_kernels import KINDS, Arrow, Matrix, matrices, random_matrix

EXAMPLES = 30  # of each law: 120 in all
CLOSE = {"atol": 4e-7, "rtol": 1e-9}
SIZES = st.lists(st.integers(2, 4), min_size=4, max_size=4)
KINDS_OF = st.lists(st.sampled_from(KINDS), min_size=4, max_size=4)
SEEDS = st.integers(0, 2**20)


def setting(sizes: list[int], kinds: list[str], seed: int, types: str) -> tuple[str, list[Arrow]]:
    """Objects A to D of these sizes, and arrows f, g, h, k of ``types``, such as ``AB BC CD``."""
    size = dict(zip("ABCD", sizes, strict=True))
    rng = np.random.default_rng(seed)
    arrows = [
        Arrow(name, kind, dom, cod, random_matrix(rng, size[dom], size[cod], kind))
        for name, kind, (dom, cod) in zip("fghk", kinds, types.split(), strict=False)
    ]
    return "".join(f"object {name} : FinSet {n}\n" for name, n in size.items()), arrows


def fanned(left: Matrix, right: Matrix) -> Matrix:
    """Row x of the fan: the product of both rows x."""
    return np.einsum("xa,xb->xab", left, right).reshape(len(left), -1)


@settings(max_examples=EXAMPLES, deadline=None)
@given(SIZES, KINDS_OF, SEEDS)
def test_composition_is_associative_and_identities_are_units(
    sizes: list[int], kinds: list[str], seed: int
) -> None:
    objects, arrows = setting(sizes, kinds, seed, "AB BC CD")
    f, g, h = (arrow.matrix for arrow in arrows)
    exprs = [
        "f >> g >> h", "(f >> g) >> h", "f >> (g >> h)", "h << g << f",
        "identity(A) >> f >> g >> h", "f >> identity(B) >> g >> h",
    ]  # fmt: skip
    for found in matrices(objects, arrows, "A -> D", exprs):
        np.testing.assert_allclose(found, f @ g @ h, **CLOSE)


@settings(max_examples=EXAMPLES, deadline=None)
@given(SIZES, KINDS_OF, SEEDS)
def test_side_by_side_and_in_sequence_interchange(
    sizes: list[int], kinds: list[str], seed: int
) -> None:
    objects, arrows = setting(sizes, kinds, seed, "AB BC BD DA")
    f, g, h, k = (arrow.matrix for arrow in arrows)
    exprs = ["(f @ h) >> (g @ k)", "(f >> g) @ (h >> k)"]
    for found in matrices(objects, arrows, "A * B -> C * A", exprs):
        np.testing.assert_allclose(found, np.kron(f @ g, h @ k), **CLOSE)


@settings(max_examples=EXAMPLES, deadline=None)
@given(SIZES, KINDS_OF, SEEDS)
def test_fans_read_one_input(sizes: list[int], kinds: list[str], seed: int) -> None:
    objects, arrows = setting(sizes, kinds, seed, "AB BC BD")
    f, g, h = (arrow.matrix for arrow in arrows)
    expected = f @ fanned(g, h)
    (found,) = matrices(objects, arrows, "A -> C * D", ["f >> fan(g, h)"])
    np.testing.assert_allclose(found, expected, **CLOSE)


@settings(max_examples=EXAMPLES, deadline=None)
@given(SIZES, KINDS_OF, SEEDS, st.integers(1, 4))
def test_repeats_are_powers(sizes: list[int], kinds: list[str], seed: int, count: int) -> None:
    objects, arrows = setting(sizes, kinds, seed, "AA AB")
    f, g = (arrow.matrix for arrow in arrows)
    exprs = [f"repeat(f, {count}) >> g", " >> ".join(["f"] * count + ["g"])]
    for found in matrices(objects, arrows, "A -> B", exprs):
        np.testing.assert_allclose(found, np.linalg.matrix_power(f, count) @ g, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_matrix_read_the_wrong_way_is_seen(kind: str) -> None:
    """The power of these laws: transposed, or not divided by its sums, it is another kernel."""
    objects, arrows = setting([3, 3, 3, 3], [kind] * 4, 1, "AB BC")
    f, g = (arrow.matrix for arrow in arrows)
    (found,) = matrices(objects, arrows, "A -> C", ["f >> g"])
    for mutant in (f.T @ g, g @ f, (f @ g) / (f @ g).sum(0)):
        assert np.abs(found - mutant).max() > 1e-3
