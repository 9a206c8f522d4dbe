"""Counting what an evaluation costs, where torch dispatches it."""

from collections import Counter as Tally
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Counter(TorchDispatchMode):
    """Operations, the numbers in the largest tensor that one of them made, and in all by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.largest = 0, 0
        self.wide: Tally[str] = Tally()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, torch.Tensor):
                self.largest = max(self.largest, each.numel())
                self.wide[func.overloadpacket.__name__] += each.numel()
        return result
