"""Tables given as data: non-negative weights, one row per element of a domain (5.9, 5.10).

A row holds the weights of the outcomes; divided by its sum it is a distribution. Rows that already
sum to one make a Markov table, which composes with other tables. `quivers_nb.spaces.table_data`
makes them of what people have.
"""

from dataclasses import dataclass

TOLERANCE = 1e-4  # by which a row may miss the sum 1: that of probabilities given as data (R7)


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of a table before it is used. ``uneven``: a row that misses 1, with its sum."""

    shape: tuple[int, ...]
    uneven: tuple[int, float] | None = None
