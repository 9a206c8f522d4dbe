"""A run that fails is not silent: who has not heard of it is told once, where there is a place."""

from types import SimpleNamespace

import pytest

from quivers_magics import failures
from quivers_nb.session.run import Run
from tests.session.test_run import LONG, Stepped, ended
from tests.support.shells import Cells


def failing(at=2):
    job = Stepped(fails_at=at, model=SimpleNamespace(name="line"))
    job.let(at + 1)
    return Run(job)


def shown(cells, cell="1"):
    return [output.data["text/plain"] for output in cells.run(cell)]


def test_a_failure_is_told_after_the_next_cell_and_once(cells: Cells) -> None:
    run = ended(failing().start())
    (words,) = shown(cells, "pass")
    assert words.startswith(
        "stepped of line failed after 2 iterations: ZeroDivisionError: the model divided by nothing"
    )
    assert ".result raises this" in words
    assert shown(cells, "pass") == []
    with pytest.raises(ZeroDivisionError):
        run.result  # noqa: B018


def test_who_has_heard_is_not_told_again(cells: Cells) -> None:
    run = ended(failing().start())
    with pytest.raises(ZeroDivisionError):
        run.result  # noqa: B018
    with pytest.raises(ZeroDivisionError):
        failing().finish()
    assert shown(cells, "pass") == []


def test_runs_that_do_not_fail_are_not_mentioned(cells: Cells) -> None:
    job = Stepped(total=2)
    job.let(2)
    ended(Run(job).start())
    ended(Run(Stepped(total=2)).start().abort())
    assert shown(cells, "pass") == []


def test_a_failure_inside_the_cell_that_waits_is_told_when_it_has_ended(cells: Cells) -> None:
    cells.names["run"] = failing()
    (words,) = shown(cells, "run.start().wait(); print(1)")
    assert "after 2 iterations" in words


def test_a_cell_that_goes_on_before_the_listener_was_called_is_told_too(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures.Failures, "_ended", lambda *_: None)  # as late as can be
    cells.names["run"] = failing()
    (words,) = shown(cells, "run.start().wait(); print(1)")
    assert "after 2 iterations" in words


class Publisher:
    """Stands for a kernel's, which knows the cell that is at work."""

    topic = b"display"
    pub_socket = "socket"

    def __init__(self):
        self.parent_header = {"msg_id": "first"}
        self.sent = []
        self.session = SimpleNamespace(send=self.send)

    def send(self, socket, kind, content, *, parent, ident):
        self.sent.append((socket, kind, content["data"]["text/plain"], parent))


def test_in_a_notebook_that_rests_it_is_told_below_the_cell_that_began_the_run(
    cells: Cells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "PATIENCE", 0.05)
    publisher = Publisher()
    monkeypatch.setattr(cells.shell, "display_pub", publisher)
    monkeypatch.setattr(cells.shell, "kernel", object(), raising=False)
    job = Stepped(fails_at=1)
    run = Run(job).start()
    publisher.parent_header = {"msg_id": "second"}
    job.let(2)
    ended(run)
    left = Run(Stepped(total=1)).start()  # waits for leave that nobody gives: passes the time
    for _ in range(100):
        if publisher.sent:
            break
        left.wait(0.05)
    left.abort()
    left.job.let()
    ((_, kind, words, parent),) = publisher.sent
    assert (kind, parent) == ("display_data", {"msg_id": "first"})
    assert "failed after 1 iterations" in words
    assert run.unheard is not None


def test_without_the_extension_nobody_listens(cells: Cells) -> None:
    cells.run("%unload_ext quivers_nb")
    ended(failing().start())
    assert shown(cells, "pass") == []
    cells.run("%load_ext quivers_nb")
    assert Run(Stepped()).start().abort().wait(LONG)
