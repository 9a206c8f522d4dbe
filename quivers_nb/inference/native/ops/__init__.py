"""One rule per aten operation, grouped by what they do. Importing this package registers them."""

from quivers_nb.inference.native.ops import (
    activations,
    arithmetic,
    factorizations,
    gathers,
    normalization,
    orders,
    piecewise,
    products,
    reductions,
    views,
)

__all__ = [
    "activations",
    "arithmetic",
    "factorizations",
    "gathers",
    "normalization",
    "orders",
    "piecewise",
    "products",
    "reductions",
    "views",
]
