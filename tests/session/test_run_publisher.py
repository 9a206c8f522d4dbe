"""Messages: how many, how large, nothing lost, and what a bad subscriber does (nothing)."""

import io
import json
import threading
from time import monotonic

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quivers_nb.inference.mcmc.engine import Progress as Transition
from quivers_nb.inference.mcmc.kernel import Stats
from quivers_nb.session.log import DrawLog, LossLog, Progress
from quivers_nb.session.publisher import GREATEST_ROWS, Publisher, thinned
from quivers_nb.session.run import Run
from quivers_nb.session.state import State
from quivers_nb.session.text_progress import TextProgress
from tests.session.test_run import LONG, Stepped, ended


def size(message):
    return message.nbytes + len(json.dumps(message.header()))


def progress_of(log, state="running", total=100, elapsed=1.0):
    return Progress(state, total, elapsed, log, log.counts)


def transition(chain, number, log_density=0.0, *, warming=False, diverged=False):
    stats = Stats(0.8, 7, 3, diverged, log_density, 0.0, 0.123456789)
    return Transition(chain, number, warming, np.zeros(2), stats)


class Racing(Stepped):
    """Writes 10,000 events a second for a second, paced by the clock."""

    def work(self, control):
        start = monotonic()
        while (elapsed := monotonic() - start) < 1.0:
            while self.log.counts[0] < 10_000 * elapsed:
                self.log.add(float(self.log.counts[0]))
                if control.checkpoint():
                    break
            threading.Event().wait(0.001)
        return self.log.counts[0]


def test_ten_thousand_events_a_second_make_at_most_twelve_messages_of_four_kilobytes():
    messages = []
    run = Run(Racing(total=None))
    run.subscribe(messages.append)
    ended(run.start())
    assert run.flush(LONG)
    events = run.result
    assert events > 5000
    assert 3 <= len(messages) <= 12 * run.progress.elapsed + 1
    assert all(size(message) <= 4096 for message in messages)
    assert [message.sequence for message in messages] == list(range(len(messages)))
    assert [message.last for message in messages] == [False] * (len(messages) - 1) + [True]
    told = [m.first["loss"] + m.data["loss"][-1, 0] for m in messages if m.data]
    assert told[-1] == events - 1
    assert all(pairs.dtype == np.float32 for m in messages for pairs in m.data.values())


def test_messages_about_many_chains_are_as_small():
    log = DrawLog(16, 50, 10_000)
    for number in range(2000):
        for chain in range(16):
            log.add(transition(chain, number, -1234.5678 * number, diverged=number % 3 == 0))
    messages = []
    publisher = Publisher(lambda: progress_of(log, elapsed=1234.5678), pytest.fail)
    publisher._subscriptions.append(_subscription(messages.append))
    publisher.tick()
    (message,) = messages
    assert set(message.data) == set(log.columns)
    assert size(message) <= 4096


def _subscription(subscriber):
    from quivers_nb.session.publisher import _Subscription

    return _Subscription(subscriber)


def test_a_tick_tells_each_subscriber_what_is_new_to_it():
    log, one, two = LossLog(), [], []
    publisher = Publisher(lambda: progress_of(log), pytest.fail)
    publisher._subscriptions.append(_subscription(one.append))
    log.add(1.0)
    log.add(2.0)
    publisher.tick()
    publisher._subscriptions.append(_subscription(two.append))
    log.add(3.0)
    publisher.tick()
    publisher.tick()
    assert [m.first.get("loss") for m in one] == [0, 2, None]
    assert [m.data["loss"].tolist() for m in one[:2]] == [[[0, 1], [1, 2]], [[0, 3]]]
    assert two[0].data["loss"].tolist() == [[0, 1], [1, 2], [2, 3]]
    assert one[-1].progress.loss == 3.0


def test_more_columns_than_fit_wait_for_the_next_message():
    log, messages = DrawLog(200, 0, 10), []
    publisher = Publisher(lambda: progress_of(log), pytest.fail)
    publisher._subscriptions.append(_subscription(messages.append))
    for chain in range(200):
        log.add(transition(chain, 0, float(chain)))
    publisher.tick()
    publisher.tick()
    publisher.tick()
    assert [len(message.data) for message in messages] == [125, 75, 0]
    assert set(messages[0].data).isdisjoint(messages[1].data)


def test_a_subscriber_that_raises_is_told_no_more_and_costs_nobody_else_a_message():
    def bad(message):
        raise ValueError("no room")

    job, good = Stepped(total=3), threading.Event()
    run = Run(job)
    run.subscribe(bad)
    run.subscribe(lambda message: good.set() if message.last else None)
    run.start()
    job.let(3)
    assert ended(run).result == (3, False)
    assert good.wait(LONG)
    assert [e.note for e in run.events if "subscriber" in e.note] == [
        "a subscriber raised ValueError: no room"
    ]
    assert run.reason == ""


def test_a_subscriber_may_leave_and_one_that_comes_late_gets_the_whole_story():
    job, left, late = Stepped(total=3), [], []
    run = Run(job)
    leave = run.subscribe(left.append)
    leave()
    leave()
    run.start()
    job.let(3)
    ended(run)
    assert run.flush(LONG)
    run.subscribe(late.append)
    assert run.flush(LONG)
    assert left == []
    (message,) = late
    assert message.last
    assert message.progress.state is State.DONE
    assert message.data["loss"].tolist() == [[0, 0], [1, 1], [2, 2]]


# --- thinning


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300), st.integers(2, 40))
def test_thinning_keeps_every_extreme_in_order_within_the_limit(values, rows):
    pairs = thinned(values, rows)
    assert pairs.shape[1] == 2
    assert len(pairs) <= rows
    places = pairs[:, 0].astype(int)
    assert (np.diff(places) > 0).all()
    assert np.array_equal(pairs[:, 1], np.float32(values)[places])
    assert pairs[:, 1].min() == min(values)
    assert pairs[:, 1].max() == max(values)


def test_few_values_are_told_as_they_are_and_infinities_pass():
    assert thinned([1.0, float("inf"), 1e300], 10)[:, 1].tolist() == [1.0, np.inf, np.inf]
    assert len(thinned([0.0] * 100_000, GREATEST_ROWS)) <= GREATEST_ROWS


# --- text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def told(stream, ticks):
    """What is written when a subscriber hears of ``ticks`` (time, state)."""
    now, log = [0.0], LossLog()
    text = TextProgress("SVI", stream, clock=lambda: now[0])
    publisher = Publisher(lambda: progress_of(log, state, 40, now[0]), pytest.fail)
    publisher._subscriptions.append(_subscription(text))
    for at, state in ticks:
        now[0] = at
        log.add(at / 4)
        publisher.tick(last=state == "done")
    return stream.getvalue()


def test_a_log_gets_one_plain_line_per_five_seconds_and_one_at_the_end():
    ticks = [(k / 10, "running") for k in range(1, 120)] + [(12.0, "done")]
    lines = told(io.StringIO(), ticks).splitlines()
    assert [line.split(", ")[1] for line in lines] == ["5.0 s", "10.0 s", "12.0 s"]
    assert lines[0] == "SVI: running 50/40, 5.0 s, loss 1.25"
    assert lines[-1].startswith("SVI: done 120/40, ")


def test_a_terminal_gets_one_line_that_renews_itself():
    written = told(Terminal(), [(0.1, "running"), (0.2, "running"), (0.3, "done")])
    assert written.count("\r") == 3
    assert written.count("\n") == 1
    assert written.endswith("\n")
    assert "SVI: running 1/40, 0.1 s, 3.9 s to go, loss 0.025" in written
