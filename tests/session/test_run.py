"""Runs: every verb in every state, faults, interrupts and awaits; jobs step when the test says."""

import asyncio
import gc
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from itertools import pairwise
from queue import SimpleQueue

import pytest

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.session.live import live_runs
from quivers_nb.session.log import LossLog
from quivers_nb.session.rules import TimeBudget
from quivers_nb.session.run import Run
from quivers_nb.session.state import State

LONG = 30.0  # seconds that no test needs


@dataclass
class Stepped:
    """A job that makes one iteration for every `let`, and says when it has made it."""

    total: int = 10
    model: object = None
    name: str = "stepped"
    fails_at: int | None = None
    log: LossLog = field(default_factory=LossLog)
    allowed: SimpleQueue = field(default_factory=SimpleQueue)
    made: SimpleQueue = field(default_factory=SimpleQueue)

    def work(self, control):
        for step in range(self.total):
            self.allowed.get(timeout=LONG)
            if step == self.fails_at:
                raise ZeroDivisionError("the model divided by nothing")
            self.log.add(float(step))
            control.warmed_up()
            self.made.put(step)
            if control.checkpoint():
                break
        return self.log.counts[0], control.cut_short

    def partial(self):
        return self.log.counts[0]

    def let(self, steps=1):
        """Allow iterations without waiting for them."""
        for _ in range(steps):
            self.allowed.put(None)

    def make(self, steps=1):
        """Allow iterations and wait until they are made."""
        for _ in range(steps):
            self.let()
            self.made.get(timeout=LONG)


def states(run):
    return [event.state.value for event in run.events]


def ended(run):
    assert run.wait(LONG)
    return run


def test_a_run_goes_from_created_to_done_and_gives_its_result():
    job = Stepped(total=3)
    run = Run(job)
    assert run.state is State.CREATED
    run.start()
    assert run.state is State.WARMING
    job.make(3)
    assert ended(run).result == (3, False)
    assert states(run) == ["created", "warming", "running", "done"]
    assert [event.time for event in run.events] == sorted(event.time for event in run.events)
    assert run.reason == ""
    assert "done, 3 of 3 iterations" in repr(run)


def test_a_stopped_run_keeps_what_there_is():
    job = Stepped()
    run = Run(job).start()
    job.make(4)
    run.stop("enough of it")
    assert run.state is State.STOPPING
    job.let()
    assert ended(run).result == (5, True)
    assert states(run)[-2:] == ["stopping", "stopped"]
    assert run.reason == "enough of it"


def test_a_paused_run_makes_no_iteration_until_it_is_resumed():
    job = Stepped(total=6)
    run = Run(job).start()
    job.make(2)
    run.pause()
    assert run.state is State.PAUSED
    job.make()  # the iteration under way
    job.let(3)
    assert job.made.empty()
    assert run.progress.iteration == 3
    run.resume()
    assert run.state is State.RUNNING
    assert ended(run).result == (6, False)
    assert states(run) == ["created", "warming", "running", "paused", "running", "done"]


def test_a_pause_while_warming_ends_in_the_state_that_the_work_has_reached():
    job = Stepped(total=2)
    run = Run(job).start().pause()
    job.make()
    run.resume()
    assert run.state is State.RUNNING
    job.let()
    ended(run)


def test_a_paused_run_can_be_stopped():
    job = Stepped()
    run = Run(job).start()
    job.make()
    run.pause()
    job.make()
    run.stop()
    assert ended(run).result == (2, True)


def test_pauses_do_not_count_as_time_of_work():
    now = [0.0]
    job = Stepped(total=4)
    run = Run(job, clock=lambda: now[0]).start()
    job.make(2)
    now[0] = 10.0
    assert run.progress.elapsed == 10.0
    assert run.progress.eta == 10.0
    run.pause()
    now[0] = 500.0
    assert run.progress.elapsed == 10.0
    run.resume()
    now[0] = 501.0
    assert run.progress.elapsed == 11.0
    job.let(2)
    ended(run)
    now[0] = 900.0
    assert run.progress.elapsed == 11.0


def test_an_abort_ends_the_run_though_its_iteration_goes_on():
    job = Stepped(model=object())
    run = Run(job).start()
    job.make(2)
    run.abort()  # the worker waits for leave to make the third
    assert run.state is State.STOPPED
    assert run.wait(0.0)
    assert run.partial == 2
    with pytest.raises(UserError, match=r"it was aborted: `\.partial` has"):
        run.result  # noqa: B018
    assert run in live_runs()  # its model is not free yet
    job.let()
    left = threading.Event()
    while run in live_runs():
        left.wait(0.005)
    assert run.state is State.STOPPED


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("verb", ["start", "pause", "resume", "stop", "abort"])
def test_every_verb_is_legal_in_every_state_and_twice_is_once(verb, state):
    job = Stepped(total=3)
    run = in_state(job, state)
    assert run.state is state
    assert getattr(run, verb)() is run
    after = (run.state, run.events)
    getattr(run, verb)()
    assert (run.state, run.events) == after
    job.let(5)
    if run.state is State.PAUSED:
        run.resume()
    if run.state is State.CREATED:
        run.start()
    assert ended(run).state.over
    assert sum(event.state.over for event in run.events) == 1


def in_state(job, state):
    run = Run(job)
    if state is State.CREATED:
        return run
    job.fails_at = 1 if state is State.FAILED else None
    run.start()
    if state is State.WARMING:
        return run
    job.make()
    if state is State.PAUSED:
        run.pause()
    if state is State.STOPPING:
        run.stop()
    if state is State.STOPPED:
        run.stop()
    if state.over:
        job.let(2)
        ended(run)
    return run


def test_a_run_stopped_before_its_start_never_works():
    run = Run(Stepped()).stop().start()
    assert run.state is State.STOPPED
    assert run.wait(0.0)
    with pytest.raises(UserError, match="stopped before the start"):
        run.result  # noqa: B018
    assert live_runs() == ()


def test_what_a_wait_comes_to_reads_as_what_became_of_the_run():
    job = Stepped(total=2, fails_at=1)
    run = Run(job).start()
    assert repr(run.wait(0.0)) == "warming, not over yet"
    job.let(2)
    seen = run.wait(LONG)
    assert seen
    assert repr(seen) == "failed: .result raises what went wrong"
    job = Stepped(total=1)
    run = Run(job).start()
    job.let()
    assert repr(run.wait()) == "done"
    assert repr(Run(Stepped()).stop().wait()) == "stopped"


def test_the_result_of_a_live_run_is_a_clear_error():
    job = Stepped(total=1)
    run = Run(job).start()
    with pytest.raises(UserError, match="the run is warming and has no result yet"):
        run.result  # noqa: B018
    assert not run.wait(0.0)
    job.let()
    ended(run)


def test_what_the_work_raises_is_raised_by_the_result_every_time():
    job = Stepped(total=1000, fails_at=700)
    run = Run(job).start()
    job.let(701)
    ended(run)
    assert run.state is State.FAILED
    assert run.reason == "ZeroDivisionError: the model divided by nothing"
    assert run.partial == 700
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="divided by nothing") as caught:
            run.result  # noqa: B018
        assert caught.value.__notes__ == ["in run stepped, after 700 iterations"]
        frames = [entry.name for entry in caught.traceback]
        assert frames[-1] == "work"
        assert len(frames) < 8  # they do not pile up
    with pytest.raises(ZeroDivisionError):
        run.finish()


def test_a_second_run_of_a_model_is_refused_while_the_first_is_live():
    model = object()
    job = Stepped(total=1, model=model)
    first, second = Run(job).start(), Run(Stepped(total=0, model=model))
    with pytest.raises(UserError, match=r"in another run, which is warming \(stepped\)"):
        second.start()
    assert second.state is State.CREATED
    other = Run(Stepped(total=0, model=object())).start()
    ended(other)
    job.let()
    ended(first)
    assert ended(second.start()).result == (0, False)


def test_a_run_outlives_the_variable_that_named_it():
    job = Stepped(total=2)
    run = Run(job).start()
    job.make()
    del run
    gc.collect()
    (found,) = live_runs()
    job.let()
    assert ended(found).result == (2, False)
    assert live_runs() == ()


def test_verbs_from_many_threads_at_once_leave_one_orderly_history():
    job = Stepped(total=400)
    run = Run(job).start()
    job.let(400)

    def meddle():
        for _ in range(100):
            run.pause().resume()

    threads = [threading.Thread(target=meddle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    run.resume()
    assert ended(run).result == (400, False)
    follows = {
        "created": {"warming"},
        "warming": {"running", "paused"},
        "running": {"paused", "done"},
        "paused": {"running", "warming"},
    }
    history = states(run)
    assert all(b in follows[a] for a, b in pairwise(history))


# --- interrupts


class Interrupting(Stepped):
    """Interrupts the main thread, as Ctrl-C does, after its fourth iteration."""

    times = 1

    def work(self, control):
        for step in range(self.total):
            self.log.add(float(step))
            if step == 3:
                for _ in range(self.times):
                    interrupt_main()
                    self.allowed.get(timeout=LONG)
            if control.checkpoint():
                break
        return self.log.counts[0], control.cut_short


def interrupt_main():
    import _thread

    _thread.interrupt_main()


def test_the_first_interrupt_stops_the_run_and_keeps_what_there_is():
    job = Interrupting(total=10**9)
    run = Run(job)
    stop, run.stop = run.stop, lambda reason: (stop(reason), job.let())[0]
    assert run.finish() is run
    assert run.result == (4, True)
    assert (run.state, run.reason) == (State.STOPPED, "interrupted")


def test_the_second_interrupt_is_raised():
    job = Interrupting(total=10**9)
    job.times = 2
    run = Run(job)
    stop, run.stop = run.stop, lambda reason: (stop(reason), job.let())[0]
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    assert run.state is State.STOPPING
    job.let()
    assert ended(run).result == (4, True)


def test_an_interrupt_at_the_start_leaves_no_live_run(monkeypatch):
    def start(thread):
        raise KeyboardInterrupt

    run = Run(Stepped(model=object()))
    with monkeypatch.context() as patched:
        patched.setattr("quivers_nb.session.run.Thread.start", start)
        with pytest.raises(KeyboardInterrupt):
            run.start()
    assert (run.state, run.reason) == (State.STOPPED, "interrupted at the start")
    assert live_runs() == ()


def test_an_interpreter_that_ends_stops_its_runs_in_peace():
    code = """
from tests.session.test_run import Stepped
from quivers_nb.session.run import Run
job = Stepped(total=10**9)
run = Run(job).start()
job.make()
job.let(2)
run.call_at_end(lambda: print(run.state, run.reason, flush=True))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "stopped the interpreter ended\n"
    assert ran.stderr == ""


# --- awaits


def test_awaiting_a_run_gives_its_result_and_leaves_the_loop_free():
    async def main():
        job = Stepped(total=2)
        run = Run(job).start()
        asyncio.get_running_loop().call_soon(job.let, 2)  # runs only while the await waits
        return await run

    assert asyncio.run(main()) == (2, False)


def test_awaiting_raises_what_the_work_raised():
    async def main():
        job = Stepped(fails_at=0)
        job.let()
        await Run(job).start()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())


def test_a_cancelled_await_stops_the_run_and_keeps_what_there_is():
    job = Stepped()
    run = Run(job).start()
    job.make()

    async def wait():
        return await run

    async def main():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    job.let()
    assert ended(run).result == (2, True)
    assert run.reason == "interrupted"


# --- stop rules


def test_a_met_rule_ends_the_run_as_done_with_its_reason():
    now = [0.0]
    job = Stepped(total=100)
    run = Run(job, until=TimeBudget(5.0), clock=lambda: now[0]).start()
    job.make(3)
    now[0] = 5.0
    job.let()
    assert ended(run).result == (4, False)
    assert (run.state, run.reason) == (State.DONE, "the time budget of 5 s is spent")
    assert states(run)[-2:] == ["stopping", "done"]


def test_a_rule_that_raises_fails_the_run():
    class Broken:
        every = 2

        def met(self, progress):
            raise RuntimeError("no rule")

    job = Stepped()
    run = Run(job, until=Broken()).start()
    job.let(2)
    assert ended(run).state is State.FAILED
    assert run.partial == 2
