"""The one near name worth proposing after a misspelling, if there is one."""

from collections.abc import Iterable


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to ``name``, or None if none is close enough to be meant.

    Close enough is an edit distance (insertion, deletion, substitution, transposition of
    neighbours, each 1) of at most a third of the longer name's length, and at least 1 is always
    allowed for names of two letters or more. Ties go to the candidate that comes first; one that
    differs in case alone is always meant.
    """
    best: str | None = None
    best_distance = len(name) + 1
    for candidate in candidates:
        if candidate == name:
            continue
        if candidate.casefold() == name.casefold():
            return candidate
        bound = min(_allowed(name, candidate), best_distance - 1)
        if abs(len(candidate) - len(name)) > bound:
            continue
        distance = _distance(name, candidate)
        if distance <= bound:
            best, best_distance = candidate, distance
    return best


def _allowed(name: str, candidate: str) -> int:
    longer = max(len(name), len(candidate))
    return max(longer // 3, int(longer >= 2))


def _distance(a: str, b: str) -> int:
    """Edit distance in which exchanging two neighbours counts 1 (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        above, before, row = before, row, [i]
        for j, y in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
