"""Objects of the language: finite sets, continuous spaces, and products that mix them.

Equality is the language's own (section 3.5): `FinSet`s are equal by size, enums by name and labels,
products by their flattened factors. Names of declarations are kept elsewhere, in the scope.

A size may be a `SizeVar`, fixed when a module is loaded or by the first data declared over it (R8).

Two numbers matter everywhere:
    dim    width of a value when written as one vector: a space's ``dim``, 1 for a finite set;
    shape  axes of a table over a finite set: ``(n,)``, one axis per factor of a product.
"""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class SizeVar:
    """A size that is not known yet."""

    name: str

    def __str__(self) -> str:
        return self.name


Size = int | SizeVar


@dataclass(frozen=True)
class FinSet:
    """``{0, …, size-1}``; ``FinSet(1)`` is the monoidal unit."""

    size: Size

    def __str__(self) -> str:
        return "1" if self.size == 1 else f"FinSet {self.size}"


@dataclass(frozen=True)
class EnumSet:
    """A finite set with labelled elements; nominal."""

    name: str
    labels: tuple[str, ...]

    @property
    def size(self) -> Size:
        return len(self.labels)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class FreeMonoid:
    """Words over a finite set of length at most ``max_length``, numbered as in section 3.1."""

    generators: FinSet
    max_length: int

    @cached_property
    def size(self) -> Size:
        g = self.generators.size
        if isinstance(g, SizeVar):
            return SizeVar(f"words({g})")
        return sum(int(g**k) for k in range(self.max_length + 1))

    def __str__(self) -> str:
        return f"FreeMonoid({self.generators}, max_length={self.max_length})"


@dataclass(frozen=True)
class FreeResiduated:
    """Categories over the labels of an enum, closed ``depth`` times under ``ops``."""

    generators: EnumSet
    depth: int = 1
    ops: tuple[str, ...] = ("slash",)

    @cached_property
    def size(self) -> Size:
        """Number of categories; the list itself lives in `quivers_nb.spaces.categories`."""
        from quivers_nb.spaces.categories import categories  # noqa: PLC0415  (lists are large)

        return len(categories(self))

    def __str__(self) -> str:
        return f"FreeResiduated({self.generators}, depth={self.depth})"


@dataclass(frozen=True)
class SumSet:
    """A coproduct of finite sets, flattened; component k has its offset."""

    terms: tuple["Finite", ...]

    @cached_property
    def size(self) -> Size:
        return _total([term.size for term in self.terms], times=False)

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))


@dataclass(frozen=True)
class ProductSet:
    """A product of at least two finite sets, flattened."""

    factors: tuple["Finite", ...]

    @cached_property
    def size(self) -> Size:
        return _total([factor.size for factor in self.factors], times=True)

    def __str__(self) -> str:
        return " * ".join(map(str, self.factors))


Finite = FinSet | EnumSet | FreeMonoid | FreeResiduated | SumSet | ProductSet


SQUARE_MATRICES = frozenset(
    {"Covariance", "Correlation", "CholeskyFactor", "LowerTriangular", "Orthogonal"}
)


@dataclass(frozen=True)
class Space:
    """A continuous space by constructor name and sizes (section 3.2), flat values of width ``dim``.

    ``low``/``high`` belong to Real; ``radius`` to Ball.
    """

    ctor: str
    sizes: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    radius: float = 1.0

    @cached_property
    def dim(self) -> int:
        """Length of the flat event vector."""
        n = self.sizes[0]
        if self.ctor in {"Real", "Stiefel"}:
            product = 1
            for size in self.sizes:
                product *= size
            return product
        return n if self.ctor in {"Simplex", "Sphere", "Ball", "Diagonal"} else n * n

    @property
    def matrix_size(self) -> int:
        """Rows of the matrix for matrix spaces; `dim` otherwise."""
        return self.sizes[0]

    @property
    def matrix_shape(self) -> tuple[int, int] | None:
        """Rows and columns where the values are matrices by nature; None for others."""
        if self.ctor == "Stiefel":
            return self.sizes[0], self.sizes[1]
        return (self.sizes[0],) * 2 if self.ctor in SQUARE_MATRICES else None

    @property
    def bounded(self) -> bool:
        return self.low is not None and self.high is not None

    def __str__(self) -> str:
        bounds = [f"{k}={v}" for k, v in (("low", self.low), ("high", self.high)) if v is not None]
        text = f"{self.ctor} {' '.join(map(str, self.sizes))}"
        return f"{text} [{', '.join(bounds)}]" if bounds else text


@dataclass(frozen=True)
class ProductSpace:
    """A product with at least one continuous factor, flattened."""

    factors: tuple["Finite | Space", ...]

    @cached_property
    def dim(self) -> int:
        return sum(width(factor) for factor in self.factors)

    def __str__(self) -> str:
        return " * ".join(map(str, self.factors))


Object = Finite | Space | ProductSpace

UNIT = FinSet(1)


def is_finite(obj: Object) -> bool:
    """Whether values of ``obj`` are indices."""
    return not isinstance(obj, Space | ProductSpace)


def factors(obj: Object) -> tuple["Finite | Space", ...]:
    """The flattened factors; a single object is its own only factor."""
    return obj.factors if isinstance(obj, ProductSet | ProductSpace) else (obj,)


def sizes_of(obj: Object) -> tuple[int, ...]:
    """The sizes of the factors of a product of finite sets whose sizes are known."""
    return tuple(int(factor.size) for factor in factors(obj))  # type: ignore[union-attr,arg-type]


def width(obj: Object) -> int:
    """Columns a value of ``obj`` takes in a program input or a concatenation (7.1, 5.2)."""
    if isinstance(obj, Space | ProductSpace):
        return obj.dim
    return len(obj.factors) if isinstance(obj, ProductSet) else 1


def product(parts: tuple[Object, ...]) -> Object:
    """The flattened product of at least one object."""
    flat = tuple(factor for part in parts for factor in factors(part))
    if len(flat) == 1:
        return flat[0]
    if all(is_finite(factor) for factor in flat):
        return ProductSet(flat)  # type: ignore[arg-type]
    return ProductSpace(flat)


def shape(obj: Finite) -> tuple[Size, ...]:
    """Axes of a table over ``obj``."""
    return tuple(factor.size for factor in factors(obj))  # type: ignore[union-attr]


def _total(sizes: list[Size], *, times: bool) -> Size:
    known = 1 if times else 0
    for size in sizes:
        if isinstance(size, SizeVar):
            return SizeVar(("*" if times else "+").join(map(str, sizes)))
        known = known * size if times else known + size
    return known
