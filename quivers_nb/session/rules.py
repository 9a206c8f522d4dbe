"""Stop rules: when a run has done enough.

A rule looks at a `Progress` and gives the reason to end, or None. Rules are looked at every
``every`` iterations, never by the clock alone, so where a run ends is reproducible (but for a
budget of time). ``a | b`` ends when either is met, ``a & b`` when both are.
"""

from dataclasses import dataclass
from typing import Annotated, Protocol

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count, Positive, Range, Seconds
from quivers_nb.inference.vi.result import settled
from quivers_nb.session.log import Progress


class StopRule(Protocol):
    """``every``: iterations between two looks."""

    @property
    def every(self) -> int: ...
    def met(self, progress: Progress) -> str | None: ...


def refuse_no_rule(rule: object) -> None:
    """Raise `UserError` for what is no stop rule, such as a class of them."""
    if isinstance(rule, type) or not callable(getattr(rule, "met", None)):
        raise UserError(
            f"{rule!r:.60} ({type(rule).__name__}) is no stop rule: until= takes one of "
            "quivers_nb.session.rules, such as RHatBelow(1.01) | TimeBudget(seconds=60)"
        )


class _Combined:
    def __or__(self, other: StopRule) -> "AnyOf":
        return AnyOf((self, other))  # type: ignore[arg-type]  # every subclass is a rule

    def __and__(self, other: StopRule) -> "AllOf":
        return AllOf((self, other))  # type: ignore[arg-type]


@known_options
@dataclass(frozen=True)
class RHatBelow(_Combined):
    """The largest R-hat is below ``limit``, over at least ``draws`` draws per chain."""

    limit: Annotated[float, Range(above=1.0, why="R-hat hardly falls below 1")] = 1.01
    draws: Count = 100
    every: Count = 100

    def met(self, progress: Progress) -> str | None:
        if progress.num_draws < self.draws or progress.r_hat is None:
            return None
        if not progress.r_hat < self.limit:
            return None
        return f"R-hat {progress.r_hat:.4f} is below {self.limit:g}"


@known_options
@dataclass(frozen=True)
class EssAbove(_Combined):
    """The smallest bulk effective sample size, of all chains together, is above ``limit``."""

    limit: Positive = 400.0
    every: Count = 100

    def met(self, progress: Progress) -> str | None:
        if progress.ess is None or not progress.ess > self.limit:
            return None
        return f"the effective sample size {progress.ess:.0f} is above {self.limit:g}"


@known_options
@dataclass(frozen=True)
class ElboPlateau(_Combined):
    """The mean loss changed by at most ``tolerance`` (relative) over two windows: `settled`."""

    window: Count = 100
    tolerance: Positive = 1e-3

    @property
    def every(self) -> int:
        return self.window

    def met(self, progress: Progress) -> str | None:
        losses = progress.log.losses(progress.counts, 2 * self.window)
        if not settled(losses.tolist(), self.window, self.tolerance):
            return None
        return f"the loss changed by at most {self.tolerance:g} over {2 * self.window} steps"


@known_options
@dataclass(frozen=True)
class TimeBudget(_Combined):
    """``seconds`` of work are spent, pauses not counted."""

    seconds: Seconds
    every: Count = 1

    def met(self, progress: Progress) -> str | None:
        if progress.elapsed < self.seconds:
            return None
        return f"the time budget of {self.seconds:g} s is spent"


@dataclass(frozen=True)
class AnyOf(_Combined):
    """One of the rules is met."""

    rules: tuple[StopRule, ...]

    def __post_init__(self) -> None:
        for rule in self.rules:
            refuse_no_rule(rule)

    @property
    def every(self) -> int:
        return min(rule.every for rule in self.rules)

    def met(self, progress: Progress) -> str | None:
        due = (rule for rule in self.rules if progress.iteration % rule.every == 0)
        return next((reason for rule in due if (reason := rule.met(progress))), None)


@dataclass(frozen=True)
class AllOf(_Combined):
    """All rules are met at once."""

    rules: tuple[StopRule, ...]

    def __post_init__(self) -> None:
        for rule in self.rules:
            refuse_no_rule(rule)

    @property
    def every(self) -> int:
        return max(rule.every for rule in self.rules)

    def met(self, progress: Progress) -> str | None:
        reasons = [rule.met(progress) for rule in self.rules]
        return None if None in reasons else " and ".join(map(str, reasons))
