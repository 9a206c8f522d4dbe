"""Stock optimisers in the implementation that moves all weights in one pass.

torch's methods around that pass import its compiler when they are first called, to keep themselves
out of compiled code. The import takes more than a second of CPU time, and a fit has no use for it:
`adam`, `clear`, `step` and `unwrapped` do what those methods do without calling them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import optimizer

_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)


def unwrapped(optim: torch.optim.Optimizer, method: str, *arguments: Any) -> Any:
    """``optim.method(*arguments)``, by what torch has wrapped."""
    wrapped = getattr(type(optim), method)
    return getattr(wrapped, "__wrapped__", wrapped)(optim, *arguments)


class _Made(torch.optim.Adam):
    """An Adam that takes its parameters by what torch has wrapped."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        wrapped = torch.optim.Adam.add_param_group
        getattr(wrapped, "__wrapped__", wrapped)(self, param_group)


def adam(parameters: Iterable[Parameter], lr: float) -> torch.optim.Adam:
    """``torch.optim.Adam(parameters, lr=lr)``."""
    made: torch.optim.Adam = _Made(parameters, lr=lr)
    made.__class__ = torch.optim.Adam
    made._patch_step_function()  # anew: it goes by the class
    return made


def clear(optim: torch.optim.Optimizer) -> None:
    """``optim.zero_grad()``."""
    if type(optim) not in _FUSED:
        optim.zero_grad(set_to_none=True)
        return
    for group in optim.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def use_fused(optim: torch.optim.Optimizer) -> bool:
    """Switch a stock optimiser to its fused implementation unless it has chosen one.

    With a hundred small tensors a step is four times as fast. Returns whether it was switched.
    """
    if type(optim) not in _FUSED:
        return False
    groups = optim.param_groups
    if any(_chosen(group) for group in groups):
        return False
    tensors = [p for group in groups for p in group["params"]]
    if not all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in tensors):
        return False
    for group in groups:
        group["fused"] = True
    return True


def _chosen(group: Mapping[str, Any]) -> bool:
    return group.get("fused", False) is not None or any(
        group.get(name) for name in ("foreach", "differentiable", "capturable")
    )


def step(optim: torch.optim.Optimizer) -> None:
    """``optim.step()``; of a fused Adam or AdamW the arithmetic alone, where that is all of it.

    Around its one operation torch sorts and checks tensors each time, which takes as long as a
    hundred thousand weights. Hooks, schedulers and whatever is not usual are left to torch.
    """
    calls = [_call(optim, group) for group in optim.param_groups] if _bare(optim) else [None]
    if any(call is None for call in calls):
        optim.step()
        return
    with torch.no_grad():
        for call in calls:
            if call is not None:
                call()


def _bare(optim: torch.optim.Optimizer) -> bool:
    """Whether nothing but its own arithmetic hangs on a step. A scheduler replaces ``step``."""
    hooks = (
        optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks,
        optim._optimizer_step_pre_hooks, optim._optimizer_step_post_hooks,
    )  # fmt: skip
    usual = type(optim) in (torch.optim.Adam, torch.optim.AdamW) and "step" not in vars(optim)
    scaled = getattr(optim, "grad_scale", None), getattr(optim, "found_inf", None)
    return usual and not any(hooks) and scaled == (None, None)


def _call(optim: torch.optim.Optimizer, group: Mapping[str, Any]) -> Callable[[], None] | None:
    """The arithmetic of one group; None if it is for torch to sort out."""
    found = [(p, p.grad) for p in group["params"] if p.grad is not None]
    kinds = {(t.dtype, t.device, t.layout) for pair in found for t in pair}
    unusual = group["amsgrad"] or group["capturable"] or group["differentiable"]
    numbers = all(isinstance(v, float) for v in (group["lr"], *group["betas"]))
    if not group["fused"] or unusual or not numbers or len(kinds) != 1:
        return None
    states = [_state(optim, p) for p, _ in found]
    steps, mean, square = (
        [state[key] for state in states] for key in ("step", "exp_avg", "exp_avg_sq")
    )
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    beta1, beta2 = group["betas"]

    def make() -> None:
        torch._foreach_add_(steps, 1)
        kernel(
            [p for p, _ in found], [g for _, g in found], mean, square, [], steps,
            lr=group["lr"], beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"],
            eps=group["eps"], amsgrad=False, maximize=group["maximize"],
        )  # fmt: skip

    return make


def _state(optim: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    """What a fused Adam remembers of a parameter, from its first step on."""
    state: dict[str, Any] = optim.state[parameter]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        for key in ("exp_avg", "exp_avg_sq"):
            state[key] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return state
