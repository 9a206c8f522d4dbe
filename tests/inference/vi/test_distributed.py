"""Two processes with half of the rows each fit what one process fits with all of them."""

import os
from multiprocessing import get_context

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, SVI, AutoNormalGuide, DistributedSVI

SOURCE = """object R3 : Real 3
object R1 : Real 1
morphism f : R3 -> R1 [role=kernel, scale=0.3] ~ Normal
program line : R3 -> R3
    sample a : 1 <- Normal(0.0, 1.0)
    sample s : 1 <- HalfNormal(1.0)
    observe y <- Normal(a, s)
    observe w <- f
    return y
export line
"""
STEPS = 25
ROWS = 7  # shards of unequal size


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.linspace(-1, 1, 3 * ROWS).reshape(ROWS, 3)
    return x, 1.0 + torch.randn(ROWS, generator=generator)


def made(kind, **options):
    """A fit, and what it fits: the parameters of guide and model."""
    model = loads(SOURCE).morphism
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.linspace(-0.1, 0.1, parameter.numel()).reshape(parameter.shape))
    guide = AutoNormalGuide(model, model.observed_names)
    fitted = {**dict(guide.named_parameters()), **model.storage()}
    optim = torch.optim.Adam(fitted.values(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    return kind(model, guide, optim, ELBO(num_particles=4), generator=generator, **options), fitted


def fit(kind, x, y, **options):
    """Losses, and the parameters."""
    svi, fitted = made(kind, **options)
    obs = {"y": y, "w": -y[:, None]}
    losses = [svi.step(x, {"y": y, "w": -y[:, None]}) for _ in range(STEPS)]  # read anew
    losses += svi.run(x, obs, STEPS).losses.tolist()  # the same data
    return losses, {name: p.tolist() for name, p in fitted.items()}


def refuse(*_, **__):
    raise NotImplementedError  # without a word


def work(rank: int, port: int, results) -> None:
    """One of two processes: its share of the rows, and two of data that cannot be fitted."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    x, y = data()
    mine = slice(0, 3) if rank == 0 else slice(3, ROWS)
    found = fit(DistributedSVI, x[mine], y[mine], tier="native")  # not to be had
    messages = []
    for value in (3e38, float("inf")):  # the loss is not finite; the data are refused
        broken = y[mine].clone()
        if rank == 1:
            broken[0] = value
        try:
            fit(DistributedSVI, x[mine], broken)
        except UserError as error:
            messages.append(str(error))
    svi, _ = made(DistributedSVI)
    obs = {"y": y[mine], "w": -y[mine][:, None]}
    if rank == 0:  # alone
        messages.append(", ".join(svi.summarize(x[mine], obs)))
    else:
        svi.model.target = refuse
    try:
        svi.step(x[mine], obs)
    except (UserError, NotImplementedError) as error:
        messages.append(repr(error))
    results.put((rank, *found, messages))
    torch.distributed.destroy_process_group()


def test_two_processes_fit_the_union_of_their_rows():
    context = get_context("spawn")
    results = context.Queue()
    port = 29_500 + os.getpid() % 1000
    processes = [context.Process(target=work, args=(k, port, results)) for k in range(2)]
    for process in processes:
        process.start()
    found = {rank: rest for rank, *rest in (results.get(timeout=240) for _ in processes)}
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    losses, parameters = fit(SVI, *data())
    for rank in range(2):
        torch.testing.assert_close(found[rank][0], losses, rtol=1e-4, atol=1e-5)
        for name, values in parameters.items():
            torch.testing.assert_close(found[rank][1][name], values, rtol=1e-4, atol=1e-5)
    assert found[0][1] == found[1][1]  # bit for bit
    for rank in range(2):  # raised in both, though only one has the fault
        loss, refused, *_, unsaid = found[rank][2]
        assert "the loss is" in loss
        assert "`y` is infinite at [0]" in refused
        assert "NotImplementedError()" in unsaid
    assert "rank 1 refused its data" in found[0][2][1]
    assert found[0][2][2] == "a, s"
    assert losses[-1] < losses[0]


def test_without_a_process_group_it_says_so():
    with pytest.raises(UserError, match=r"there is no process group: .* use SVI"):
        fit(DistributedSVI, *data())
