"""Stop rules: when each is met, how they combine, and what is refused."""

import numpy as np
import pytest

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import diagnose
from quivers_nb.inference.mcmc.engine import Progress as Transition
from quivers_nb.inference.mcmc.kernel import Stats
from quivers_nb.session.log import DrawLog, LossLog, Progress
from quivers_nb.session.rules import ElboPlateau, EssAbove, RHatBelow, TimeBudget

STATS = Stats(0.8, 7, 3, False, -1.0, 0.0, 0.5)


def progress_of(log, elapsed=0.0):
    return Progress("running", None, elapsed, log, log.counts)


def losses(*values):
    log = LossLog()
    for value in values:
        log.add(value)
    return progress_of(log)


def draws(shift=0.0, number=200, warmup=5, dim=2):
    """Two chains of independent normal draws, the second moved by ``shift``."""
    noise = np.random.default_rng(0).standard_normal((2, number, dim))
    noise[1] += shift
    log = DrawLog(2, warmup, number)
    for k in range(warmup + number):
        for chain in range(2):
            q = noise[chain, max(k - warmup, 0)]
            log.add(Transition(chain, k, k < warmup, q, STATS))
    return progress_of(log), noise


def test_diagnostics_of_a_snapshot_are_those_of_the_draws_after_warm_up():
    progress, noise = draws(shift=0.5)
    assert progress.r_hat == diagnose.r_hat(noise).max()
    assert progress.ess == diagnose.ess(noise).min()
    assert (progress.iteration, progress.num_draws) == (205, 200)


def test_a_snapshot_does_not_see_what_comes_after_it():
    log = LossLog()
    log.add(1.0)
    progress = progress_of(log)
    log.add(2.0)
    assert (progress.iteration, progress.loss, progress.losses.tolist()) == (1, 1.0, [1.0])


def test_r_hat_ends_chains_that_agree_and_only_those():
    reason = RHatBelow(1.05).met(draws()[0])
    assert reason == "R-hat 0.9988 is below 1.05"
    assert RHatBelow(1.05).met(draws(shift=1.0)[0]) is None
    assert RHatBelow(1.05, draws=201).met(draws()[0]) is None
    assert RHatBelow().met(draws(number=3)[0]) is None


def test_a_coordinate_that_does_not_move_never_satisfies_r_hat():
    log = DrawLog(2, 0, 100)
    for k in range(100):
        for chain in range(2):
            log.add(Transition(chain, k, False, np.zeros(1), STATS))
    assert RHatBelow(2.0).met(progress_of(log)) is None


def test_effective_draws_end_a_run_when_there_are_enough():
    assert EssAbove(200).met(draws()[0]) is not None
    assert EssAbove(4000).met(draws()[0]) is None
    assert EssAbove(1).met(losses(1.0)) is None


def test_a_loss_that_has_settled_ends_a_run():
    rule = ElboPlateau(window=4, tolerance=0.01)
    assert rule.every == 4
    assert rule.met(losses(*[5.0] * 4, *[1.0] * 8)) is not None
    assert rule.met(losses(*[1.0] * 4, *[1.05] * 4)) is None
    assert rule.met(losses(*[1.0] * 7)) is None


def test_rules_combine():
    now, early = draws()[0], losses(1.0)
    both = TimeBudget(0.5) & EssAbove(200)
    either = TimeBudget(0.5) | EssAbove(200, every=5)
    assert both.met(now) is None  # no time has passed
    late = Progress("running", None, 1.0, now.log, now.counts)
    assert both.met(late) == "the time budget of 0.5 s is spent and " + EssAbove(200).met(now)
    assert either.met(now) == EssAbove(200).met(now)
    assert either.met(late) == "the time budget of 0.5 s is spent"
    assert either.met(early) is None
    assert (both.every, either.every) == (100, 1)
    assert (either | RHatBelow()).met(late) == either.met(late)


def test_a_rule_of_several_looks_at_each_when_it_is_due():
    now = draws()[0]  # 205 iterations
    assert (TimeBudget(1e9) | EssAbove(200, every=100)).met(now) is None
    assert (TimeBudget(1e9) | EssAbove(200, every=41)).met(now) is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda: RHatBelow(1.0),
        lambda: RHatBelow(every=0),
        lambda: EssAbove(0),
        lambda: ElboPlateau(window=0),
        lambda: ElboPlateau(tolerance=0.0),
        lambda: TimeBudget(0.0),
        lambda: TimeBudget(float("nan")),
    ],
)
def test_rules_that_can_never_or_always_be_met_are_refused(make):
    with pytest.raises(UserError, match="must be"):
        make()
