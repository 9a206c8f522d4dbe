"""What an option takes besides its type: numbers within limits, or one of some words.

Both stand in the annotation of an option, where `quivers_nb.inference.options` looks them up, and a
form that has a field for it:

    warmup: Whole = 1000          at least 0
    tier: Tier = "auto"           one of four words
"""

from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

_LONGEST = 2**63  # what no length can be
_MOST = 2**31  # of what lies in memory at once
_SEEDS = 2**64  # of torch's generators, and of compiled chains
_POWERS = {_LONGEST: "2^63", _MOST: "2^31", _SEEDS: "2^64"}


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, or between ``above`` and ``below``, which are outside.

    ``why`` is a clause, where the limits need one.
    """

    low: float | None = None
    above: float | None = None
    below: float | None = None
    high: float | None = None
    why: str = ""

    def holds(self, number: float) -> bool:
        """Whether a number is inside; NaN never is."""
        return (
            number == number  # noqa: PLR0124  (NaN is not)
            and (self.low is None or number >= self.low)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
            and (self.high is None or number <= self.high)
        )

    def __str__(self) -> str:
        return self._said(self.below)

    def __repr__(self) -> str:
        """As a signature shows it; that no count is endless goes without saying."""
        return self._said(None if self.below in _POWERS else self.below)

    def _said(self, below: float | None) -> str:
        limits = (
            ("at least", self.low),
            ("above", self.above),
            ("below", below),
            ("at most", self.high),
        )
        said = [_limit(word, limit) for word, limit in limits if limit is not None]
        return " and ".join(dict.fromkeys(said)) or "any number"


@dataclass(frozen=True, slots=True)
class Words:
    """Some words, in the order in which they are named."""

    words: tuple[str, ...]

    def holds(self, word: Any) -> bool:
        """Whether it is one of them."""
        return word in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.words))}"

    __repr__ = __str__


def _limit(word: str, limit: float) -> str:
    """In words; a limit at infinity is that of finite numbers."""
    if abs(limit) == inf:
        return "finite"
    return f"{word} {_POWERS.get(int(limit)) or f'{limit:g}'}"


ANY = Range()
TREE_DEPTH = Range(
    low=1, high=63, why="a trajectory has up to 2^depth - 1 leapfrogs, counted in 64 bits"
)
THREADS = Range(low=1, high=1024)
COUNTED = Range(low=1, below=_LONGEST)
WHOLE = Range(low=0, below=_LONGEST)
PARTICLES = Range(low=1, below=_MOST, why="they are evaluated at once")
SEEDS = Range(low=0, below=_SEEDS, why="a seed has 64 bits and no sign")
POSITIVE = Range(above=0.0, below=inf)
SHARE = Range(above=0.0, below=1.0)
TIERS = ("eager", "traced", "native")  # that a run can be made in
TIER = Words(("auto", *TIERS))

Count = Annotated[int, COUNTED]  # of things of which there is one at least
Whole = Annotated[int, WHOLE]
Particles = Annotated[int, PARTICLES]
Seed = Annotated[int, SEEDS]
Threads = Annotated[int, THREADS]
TreeDepth = Annotated[int, TREE_DEPTH]
Positive = Annotated[float, POSITIVE]
NotNegative = Annotated[float, Range(low=0.0, below=inf)]
Share = Annotated[float, SHARE]  # of a whole, neither nothing nor all
Seconds = Annotated[float, Range(above=0.0)]
Interval = Annotated[float, Range(low=0.0)]  # in seconds; 0 is at every chance, infinity never
Tier = Annotated[str, TIER]
