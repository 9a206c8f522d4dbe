"""Variational fits on several devices or machines, through torch's DistributedDataParallel.

Every process holds the model, the guide and a shard of the rows; gradients are averaged (Li et al.
2020, "PyTorch Distributed: experiences on accelerating data parallel training"). Start one process
per device with ``torchrun --nproc-per-node=2 fit.py``, where ``fit.py`` is

    torch.distributed.init_process_group("gloo")             # "nccl" on GPUs
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    model = qn.load("model.qvr").morphism
    guide = AutoNormalGuide(model, model.observed_names)
    optim = torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=0.01)
    generator = torch.Generator().manual_seed(0)             # the same in every process
    svi = DistributedSVI(model, guide, optim, ELBO(), generator=generator)
    for _ in range(1000):
        svi.step(x[rank::size], {"y": y[rank::size]})
    if rank == 0:
        save("guide.safetensors", guide)

Counting (R4). The average over K processes of ``-(K rows_k + shared) / N`` is the loss on the union
of the shards, however large each of them is. With equal generators the draws of shared sites are
equal in all processes, and a fit of shared sites is that of a single process on the union, up to
the order of sums; the noise of a row-wise site is then that of its place in the shard.
"""

from math import prod

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import OpenTarget, Values
from quivers_nb.inference.vi.svi import SVI

EXCHANGED = "gradients are exchanged by DistributedDataParallel"


class DistributedSVI(SVI):
    """`SVI` in every process of a group, on a shard of the rows each.

    Takes what `SVI` takes. ``total_rows`` is the number of rows of this process's shard when steps
    see minibatches of it. Parameters start as those of rank 0 and stay equal. Losses are those of
    all rows; one that is not finite is raised in every process at once, and so are data that one
    process cannot fit. Every fitted parameter must be in use, and every process must make the same
    number of steps. Steps are not traced.

    Raises `UserError` if there is no process group.
    """

    _parallel: DistributedDataParallel | None = None

    def _step(self, x: Tensor | None, obs: Values | None) -> float:
        """One step on this shard. Whoever has no target there tells the others, who would wait."""
        if not (dist.is_available() and dist.is_initialized()):
            raise UserError(
                "there is no process group: call torch.distributed.init_process_group(...) first, "
                "in a script started by torchrun, or use SVI in a single process"
            )
        refused: Exception | None = None
        try:
            self._target(x, obs)
        except Exception as error:  # noqa: BLE001  (raised below, once the others know)
            refused = error
        count = torch.tensor([float(refused is not None)], device=self._device)
        dist.all_reduce(count)
        if not count:
            return super()._step(x, obs)
        said: list[str | None] = [None] * dist.get_world_size()
        dist.all_gather_object(said, refused and (str(refused) or repr(refused)))
        if refused is not None:
            raise refused
        rank, reason = next((rank, text) for rank, text in enumerate(said) if text)
        raise UserError(f"no step was made, for rank {rank} refused its data: {reason}")

    @property
    def _device(self) -> torch.device:
        """Where what is exchanged lies."""
        device: torch.device = self.optim.param_groups[0]["params"][0].device
        return device

    def _loss(self, target: OpenTarget) -> Tensor:
        """The local loss, with the value that it has over all processes."""
        if self._parallel is None:
            self._parallel = DistributedDataParallel(_Shard(self))
        local: Tensor = self._parallel(target)
        total = local.detach().clone()
        dist.all_reduce(total)
        return local + (total / dist.get_world_size() - local.detach())

    def _streamed(self, _x: Tensor | None, _obs: Values | None) -> None:
        """No step is replayed: a replay would know of its own shard alone."""
        self.eager_reason = EXCHANGED

    def _compiled(self, _x: Tensor | None, _obs: Values | None, _steps: int) -> str:
        return EXCHANGED

    def _trace(self, target: OpenTarget) -> Tensor:
        loss = self._loss(target)
        loss.backward()
        return loss


class _Shard(nn.Module):
    """The loss of one shard, as a module with the fitted parameters."""

    def __init__(self, svi: SVI) -> None:
        super().__init__()
        self._svi = [svi]  # in a list: its modules are not parts of this one
        fitted = [p for group in svi.optim.param_groups for p in group["params"]]
        self.fitted = nn.ParameterList([p for p in fitted if p.requires_grad])

    def forward(self, target: OpenTarget) -> Tensor:
        (svi,) = self._svi
        processes = dist.get_world_size()
        own = prod(target.batch_shape)
        if target.batch_shape and svi.total_rows is not None:
            own = svi.total_rows
        rows = torch.tensor([float(own)], dtype=torch.float64, device=self.fitted[0].device)
        dist.all_reduce(rows)
        loss = svi.objective.loss(
            target, svi._bound, total_rows=processes * own, generator=svi.generator
        )
        return loss * (processes * own / float(rows)) if target.batch_shape else loss
