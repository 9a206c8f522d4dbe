"""Objects: sizes, widths, flattening and equality (sections 3.1 to 3.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quivers_nb.spaces.categories import MAX_CATEGORIES, at_most, categories
from quivers_nb.spaces.space import (
    UNIT,
    EnumSet,
    FinSet,
    FreeMonoid,
    FreeResiduated,
    Object,
    ProductSet,
    ProductSpace,
    SizeVar,
    Space,
    SumSet,
    factors,
    is_finite,
    product,
    shape,
    width,
)

ENUM = EnumSet("Letter", ("a", "b"))
SINGLE = st.one_of(
    st.builds(FinSet, st.integers(1, 5)),
    st.just(ENUM),
    st.builds(Space, st.just("Real"), st.tuples(st.integers(1, 4))),
)


@pytest.mark.parametrize(
    ("space", "dim"),
    [
        (Space("Real", (3,)), 3),
        (Space("Real", (2, 3)), 6),
        (Space("Simplex", (4,)), 4),
        (Space("Sphere", (3,)), 3),
        (Space("Ball", (2,)), 2),
        (Space("CholeskyFactor", (3,)), 9),
        (Space("Covariance", (3,)), 9),
        (Space("Correlation", (3,)), 9),
        (Space("Orthogonal", (3,)), 9),
        (Space("Stiefel", (4, 2)), 8),
        (Space("LowerTriangular", (3,)), 9),
        (Space("Diagonal", (3,)), 3),
    ],
)
def test_a_space_has_the_dimension_of_the_table(space: Space, dim: int) -> None:
    assert space.dim == width(space) == dim


def test_a_space_is_bounded_when_both_ends_are_given() -> None:
    assert Space("Real", (1,), low=0.0, high=1.0).bounded
    assert not Space("Real", (1,), low=0.0).bounded
    assert str(Space("Real", (2, 3), low=0.0)) == "Real 2 3 [low=0.0]"


@pytest.mark.parametrize(
    ("obj", "size", "axes"),
    [
        (FinSet(3), 3, (3,)),
        (ENUM, 2, (2,)),
        (ProductSet((FinSet(3), ENUM)), 6, (3, 2)),
        (SumSet((FinSet(3), ENUM)), 5, (5,)),
        (FreeMonoid(FinSet(2), 2), 7, (7,)),
        (FreeResiduated(ENUM), 10, (10,)),
        (FreeResiduated(ENUM, depth=2), 202, (202,)),
        (UNIT, 1, (1,)),
    ],
)
def test_a_finite_set_has_a_size_and_a_shape(obj: Object, size: int, axes: tuple[int, ...]) -> None:
    assert obj.size == size  # type: ignore[union-attr]
    assert shape(obj) == axes  # type: ignore[arg-type]


def test_sizes_that_are_not_known_stay_symbolic() -> None:
    n = FinSet(SizeVar("n"))
    assert str(ProductSet((n, FinSet(2))).size) == "n*2"
    assert str(SumSet((n, FinSet(2))).size) == "n+2"
    assert str(FreeMonoid(n, 2).size) == "words(n)"


@given(st.lists(SINGLE, min_size=1, max_size=4), st.lists(SINGLE, min_size=1, max_size=4))
def test_products_flatten_and_associate(left: list[Object], right: list[Object]) -> None:
    nested = product((product(tuple(left)), product(tuple(right))))
    flat = product((*left, *right))
    assert nested == flat
    assert factors(flat) == (*left, *right)
    assert width(flat) == sum(map(width, (*left, *right)))
    assert is_finite(flat) == all(map(is_finite, (*left, *right)))


def test_names_do_not_matter_to_sets_of_numbers_and_do_to_enums() -> None:
    assert FinSet(2) == FinSet(2)
    assert EnumSet("A", ("a", "b")) != EnumSet("B", ("a", "b"))
    assert product((FinSet(2), FinSet(3))) != FinSet(6)
    assert isinstance(product((FinSet(2), Space("Real", (1,)))), ProductSpace)


def test_categories_come_in_the_order_of_their_making() -> None:
    found = categories(FreeResiduated(ENUM, ops=("slash", "product", "unit", "diamond", "box")))
    assert found[:6] == (
        "a",
        "b",
        ("/", "a", "a"),
        ("\\", "a", "a"),
        ("/", "a", "b"),
        ("\\", "a", "b"),
    )
    assert found[10:] == (
        ("product", "a", "a"), ("product", "a", "b"), ("product", "b", "a"), ("product", "b", "b"),
        ("unit",), ("diamond", "a"), ("diamond", "b"), ("box", "a"), ("box", "b"),
    )  # fmt: skip
    assert len(set(found)) == len(found)


@given(
    st.integers(1, 3),
    st.integers(0, 2),
    st.lists(st.sampled_from(("slash", "product", "unit", "diamond", "box")), unique=True),
)
def test_the_bound_on_categories_is_a_bound(atoms: int, depth: int, ops: list[str]) -> None:
    bound = at_most(atoms, depth, tuple(ops))
    if bound <= 5_000:
        labels = tuple("abc"[:atoms])
        assert len(categories(FreeResiduated(EnumSet("E", labels), depth, tuple(ops)))) <= bound
    assert at_most(5, 30, ("slash",)) > MAX_CATEGORIES
