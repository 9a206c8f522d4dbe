"""What a run of chains is given, looked at before it begins."""

from typing import Any

import torch

from quivers_nb.diagnostics.errors import UserError


def refuse_unfit(kernel: Any, executor: Any, dtype: Any) -> None:
    """Raise `UserError` for what would fail somewhere inside, at its first use."""
    if isinstance(kernel, type) or not hasattr(kernel, "begin"):
        raise UserError(f"kernel={kernel!r:.60}: a kernel is wanted, such as NUTSKernel()")
    if executor is not None and not hasattr(executor, "submit"):
        raise UserError(
            f"executor={executor!r:.60}: a concurrent.futures.Executor is wanted, such as "
            "ThreadPoolExecutor(), or Client.get_executor() of a Dask cluster"
        )
    if dtype not in (torch.float64, torch.float32):
        raise UserError(f"dtype={dtype!r:.60} is neither torch.float64 nor torch.float32")
