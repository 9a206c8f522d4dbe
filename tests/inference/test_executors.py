"""The same draws on every executor, also when workers die."""

import os
import pickle
import signal
import time
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    MCMC,
    AutoNormalGuide,
    FitGuide,
    HMCKernel,
    NUTSKernel,
    RunFailed,
    bayesian_lift_parameters,
    calibrate,
    condition,
)
from quivers_nb.inference.executors import spread
from tests.support.posteriordb import NAMES, posterior

SOURCE = """object Obs : FinSet 6
object G : FinSet 2
object R2 : Real 2
morphism f : R2 -> R2 [role=kernel, scale=0.3] ~ Normal
program plates : R2 -> R2
    sample mu : G <- Normal(0.0, 2.0)
    sample s : 1 <- HalfNormal(1.0)
    sample h <- f
    let m = sum(h)
    observe y <- Normal(m, s)
    observe w : G <- Normal(mu, 1.0)
    return mu
export plates
"""
X = torch.linspace(-1.0, 1.0, 8).reshape(4, 2)
OBS = {"y": torch.linspace(-1.0, 1.0, 4), "w": torch.tensor([0.5, 1.0])}


def run(executor=None, model=None, guide=None, **options):
    options = {"num_warmup": 30, "num_samples": 20, "num_chains": 3, "seed": 5, **options}
    model = loads(SOURCE).morphism if model is None else model
    kernel = options.pop("kernel", NUTSKernel())
    return MCMC(kernel, executor=executor, **options).run(model, X, OBS, guide)


def same(a, b) -> bool:
    return a.num_chains == b.num_chains and all(
        torch.equal(x[k], y[k]) for x, y in ((a.samples, b.samples), (a.stats, b.stats)) for k in x
    )


# --- jobs


def test_results_come_in_the_order_of_the_jobs():
    with ThreadPoolExecutor(3) as pool:
        found = spread(pool, lambda k: (time.sleep(0.02 * (3 - k)), k)[1], [(k,) for k in range(4)])
    assert found == [0, 1, 2, 3]
    assert spread(None, pow, [(2, 3), (3, 2)]) == [8, 9]


@pytest.mark.parametrize("executor", ["dask", ThreadPoolExecutor])
def test_what_takes_no_jobs_is_refused(executor):
    with pytest.raises(UserError, match=r"executor=.*such as ThreadPoolExecutor\(\)"):
        spread(executor, pow, [(2, 3)])


def test_a_failure_is_raised_and_what_has_not_begun_is_given_up():
    began = []

    def work(k):
        began.append(k)
        if k == 0:
            raise UserError("job 0 cannot be done")
        time.sleep(0.05)

    with ThreadPoolExecutor(1) as pool, pytest.raises(UserError, match="job 0 cannot be done"):
        spread(pool, work, [(k,) for k in range(20)])
    assert len(began) < 20


def test_dead_workers_are_an_error_with_a_way_out():
    class Dead(ThreadPoolExecutor):
        def submit(self, *_args, **_options):
            future = Future()
            future.set_exception(BrokenExecutor("a process ended abruptly"))
            return future

    with pytest.raises(UserError, match=r"worker of the Dead died .*Make a new executor"):
        run(Dead(1))


class Uneven(ThreadPoolExecutor):
    """Runs the first jobs; then one ends with ``error``, as where its worker dies."""

    def __init__(self, whole: int, error: BaseException) -> None:
        super().__init__(1)
        self.whole, self.error, self.count = whole, error, 0

    def submit(self, *job, **options):
        self.count += 1
        if self.count <= self.whole:
            return super().submit(*job, **options)
        future = Future()
        future.set_exception(self.error)
        return future


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BrokenExecutor("a process ended abruptly"), "a worker of the Uneven died"),
        (UserError("no start was found"), "no start was found"),
    ],
)
def test_chains_that_had_finished_are_kept_when_another_fails(error, words):
    model = loads(SOURCE).morphism
    with Uneven(2, error) as pool, pytest.raises(RunFailed, match=words) as caught:
        run(pool, model)
    assert "The 20 draws of 2 chains" in str(caught.value)
    whole = run(None, model)
    assert torch.equal(caught.value.result.samples["mu"], whole.samples["mu"][:2])


def test_an_interrupt_keeps_the_chains_that_had_finished():
    with Uneven(2, KeyboardInterrupt()) as pool:
        result = run(pool)
    assert (result.interrupted, result.num_chains, result.num_samples) == (True, 2, 20)
    words = "before the first of 3 chains was finished.*Without executor="
    with Uneven(0, KeyboardInterrupt()) as pool, pytest.raises(KeyboardInterrupt, match=words):
        run(pool)


# --- what is sent


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_programs_can_be_sent(name):
    case = posterior(name)
    target = loads(case.program).morphism.target(None, case.data, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    q = 0.1 * torch.randn(2, target.layout.dim, dtype=torch.float64, generator=generator)
    sent = pickle.loads(pickle.dumps(target))
    assert torch.equal(sent.terms(q).total(), target.terms(q).total())
    values, back = target.constrain(q), sent.constrain(q)
    assert all(torch.equal(values[k], back[k]) for k in values)


def test_targets_of_wrapped_models_can_be_sent():
    model = loads(SOURCE).morphism
    lifted, x, obs = bayesian_lift_parameters(model, X, OBS)
    for wrapped in (lifted, condition(model, {"s": torch.ones(1)})):
        target = wrapped.target(x, obs, dtype=torch.float64)
        q = torch.full((target.layout.dim,), 0.1, dtype=torch.float64)
        sent = pickle.loads(pickle.dumps(target))
        assert torch.equal(sent.terms(q).total(), target.terms(q).total())


def test_models_and_guides_can_be_sent_after_use():
    model = loads(SOURCE).morphism
    guide = AutoNormalGuide(model, model.observed_names)
    run(model=model, num_warmup=2, num_samples=2)
    sent_model, sent_guide = pickle.loads(pickle.dumps((model, guide)))
    values = guide.rsample(X, generator=torch.Generator().manual_seed(1))
    back = sent_guide.rsample(X, generator=torch.Generator().manual_seed(1))
    assert all(torch.equal(values[k], back[k]) for k in values)
    at = {**OBS, **values}
    assert torch.equal(model.log_joint(X, at), sent_model.log_joint(X, at))


# --- chains


@pytest.mark.parametrize("strategy", ["uniform", "prior", "value", "guide"])
def test_threads_give_the_draws_of_a_run_without_them(strategy):
    model = loads(SOURCE).morphism
    guide = AutoNormalGuide(model, model.observed_names) if strategy == "guide" else None
    options = {"init_strategy": "uniform" if strategy == "guide" else strategy}
    if strategy == "value":
        options["init_values"] = {"mu": torch.zeros(2), "s": torch.ones(1)}
    with ThreadPoolExecutor(2) as pool:
        spread_out = run(pool, model, guide, **options)
    assert same(spread_out, run(None, model, guide, **options))


def processes(workers: int = 2) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


@pytest.mark.slow
def test_processes_give_the_draws_of_a_run_without_them():
    model = loads(SOURCE).morphism
    guide = AutoNormalGuide(model, model.observed_names)
    with processes() as pool:
        for options in ({}, {"init_strategy": "prior"}, {"kernel": HMCKernel(num_steps=5)}):
            assert same(run(pool, model, **options), run(None, model, **options))
        assert same(run(pool, model, guide), run(None, model, guide))


@pytest.mark.slow
def test_processes_give_the_ranks_of_a_calibration_without_them():
    model = loads(SOURCE).morphism
    options = {"num_simulations": 6, "num_draws": 7, "sites": {"mu", "s"}}
    with processes() as pool:
        for fit in (MCMC(NUTSKernel(), 20, 10, num_chains=2), FitGuide(num_steps=20)):
            found = calibrate(model, X, fit, executor=pool, **options)
            alone = calibrate(model, X, fit, **options)
            for a, b in zip(found.quantities, alone.quantities, strict=True):
                assert (a.name, a.ranks.tolist()) == (b.name, b.ranks.tolist())


@pytest.mark.slow
def test_a_killed_process_of_a_pool_is_an_error_with_a_way_out():
    with processes(1) as pool:
        pid = pool.submit(os.getpid).result()
        with ThreadPoolExecutor(1) as killer:
            killer.submit(lambda: (time.sleep(1.0), os.kill(pid, signal.SIGKILL)))
            with pytest.raises(UserError, match="worker of the ProcessPoolExecutor died"):
                run(pool, tier="eager", num_samples=100_000, num_chains=1)


# --- Dask


@contextmanager
def cluster(workers: int = 2):
    """A Dask cluster on this machine, with no dashboard and nothing left behind."""
    distributed = pytest.importorskip("distributed", reason="needs the extra [distributed]")
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1",
            dashboard_address=None, silence_logs=50,
        ) as local,
        local.get_client() as client,
    ):  # fmt: skip
        yield client


@pytest.mark.slow
def test_dask_gives_the_draws_of_a_run_without_it():
    model = loads(SOURCE).morphism
    guide = AutoNormalGuide(model, model.observed_names)
    with cluster() as client:
        pool = client.get_executor()
        assert same(run(pool, model), run(None, model))
        assert same(run(pool, model, guide), run(None, model, guide))


@pytest.mark.slow
def test_chains_of_a_killed_dask_worker_are_run_elsewhere():
    options = {"tier": "eager", "num_warmup": 50, "num_samples": 50, "num_chains": 3}
    options["model"] = loads(SOURCE).morphism
    with ThreadPoolExecutor(1) as pool:
        whole = run(pool, **options)
    with cluster() as client, ThreadPoolExecutor(1) as waiting:
        pids = client.run(os.getpid)
        result = waiting.submit(run, client.get_executor(), **options)
        while not any(client.processing().values()):
            time.sleep(0.01)
        time.sleep(0.5)
        busy = [address for address, tasks in client.processing().items() if tasks]
        assert busy
        assert not result.done()
        os.kill(pids[busy[0]], signal.SIGKILL)
        assert same(result.result(timeout=300), whole)
        assert busy[0] not in client.processing()
