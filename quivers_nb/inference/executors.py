"""Independent work on any `concurrent.futures.Executor`: chains, simulations, folds, restarts.

    ThreadPoolExecutor()                                    threads of this process
    ProcessPoolExecutor(mp_context=get_context("spawn"))    processes; forks and threads do not mix
    distributed.Client(...).get_executor()                  a Dask cluster

Jobs are plain data: a model, its data and the number of the job, from which its random stream is
made. So a job gives the same result wherever it runs, and can be run again: Dask does so by itself
when a worker dies (its documentation, "Resilience"); a process pool ends with an error.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, TypeVar

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.threads import one_of_many

Result = TypeVar("Result")


def refuse_no_executor(executor: object) -> None:
    """Raise `UserError` for what takes no jobs; None is no executor, and runs them here."""
    if executor is not None and (isinstance(executor, type) or not hasattr(executor, "submit")):
        raise UserError(
            f"executor={executor!r:.60}: a concurrent.futures.Executor is wanted, such as "
            "ThreadPoolExecutor(), or Client.get_executor() of a Dask cluster"
        )


def spread(
    executor: Executor | None,
    work: Callable[..., Result],
    jobs: Iterable[tuple[Any, ...]],
    finished: list[Result] | None = None,
) -> list[Result]:
    """``work(*job)`` for every job, in order; here and now if there is no executor.

    If one fails or the wait is interrupted, the jobs that have not begun are given up, and what has
    been finished by then is added to ``finished``.

    Raises what a job raised, and `UserError` if the workers themselves died.
    """
    refuse_no_executor(executor)
    if executor is None:
        done = [] if finished is None else finished
        for job in jobs:
            done.append(work(*job))
        return list(done)
    futures: list[Future[Result]] = []
    try:
        futures.extend(executor.submit(_one_of_many, work, *job) for job in jobs)
        return [future.result() for future in futures]
    except BrokenExecutor as error:
        raise UserError(
            f"a worker of the {type(executor).__name__} died ({error}): out of memory, killed, or "
            "unable to start. Make a new executor, with fewer workers if memory is short; in a "
            'script, start processes only below `if __name__ == "__main__":`'
        ) from error
    finally:
        for future in futures:
            future.cancel()
        if finished is not None:
            finished.extend(future.result() for future in futures if _succeeded(future))


def _one_of_many(work: Callable[..., Result], *job: Any) -> Result:
    with one_of_many():
        return work(*job)


def _succeeded(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
