"""Steps of a fused Adam without torch's surroundings: bit for bit torch's own."""

import pytest
import torch
from torch.optim import optimizer

from quivers_nb.inference.vi import fused


def weights() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(n, generator=generator)) for n in (3, 40, 1)]


MAKERS = {
    "Adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3, fused=True),
    "decay and maximize": lambda p: torch.optim.Adam(
        p, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.2, maximize=True, fused=True
    ),
    "groups": lambda p: torch.optim.Adam(
        [{"params": p[:1], "lr": 0.5}, {"params": p[1:]}], lr=0.1, fused=True
    ),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, fused=True),
    "tensor rate": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1), fused=True),
    "not fused": lambda p: torch.optim.Adam(p, lr=0.1),
    "two dtypes": lambda p: torch.optim.Adam(
        [*p, torch.nn.Parameter(torch.ones(2, dtype=torch.float64))], lr=0.1, fused=True
    ),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
}


def steps(make, step, count: int = 6, *, gap: bool = False) -> list[torch.Tensor]:
    """Weights and state after steps on the same gradients, the rate halved on the way."""
    optim = make(weights())
    found = [p for group in optim.param_groups for p in group["params"]]
    generator = torch.Generator().manual_seed(1)
    for k in range(count):
        for p in found:
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        if gap and k % 2:
            found[1].grad = None
        if k == 3:
            optim.param_groups[0]["lr"] = optim.param_groups[0]["lr"] * 0.5
        step(optim)
    state = [t for p in found for _, t in sorted(optim.state[p].items()) if t is not None]
    return [p.detach() for p in found] + state


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_weights_and_state_are_torchs_to_the_last_bit(name, gap):
    found = steps(MAKERS[name], fused.step, gap=gap)
    wanted = steps(MAKERS[name], lambda optim: optim.step(), gap=gap)
    assert len(found) == len(wanted)
    assert all(map(torch.equal, found, wanted))


def test_an_adam_that_is_made_without_the_compiler_is_torchs():
    made, torchs = fused.adam(iter(weights()), 0.1), torch.optim.Adam(weights(), lr=0.1)
    assert type(made) is torch.optim.Adam
    assert vars(made).keys() == vars(torchs).keys()
    assert made.defaults == torchs.defaults
    assert made.state_dict() == torchs.state_dict()
    assert made.param_groups[0].keys() == torchs.param_groups[0].keys()
    assert made._zero_grad_profile_name == torchs._zero_grad_profile_name
    assert type(made).step.hooked
    found = steps(lambda p: fused.adam(p, 0.1), lambda optim: optim.step())
    assert all(map(torch.equal, found, steps(MAKERS["not fused"], lambda optim: optim.step())))
    with pytest.raises(ValueError, match="empty parameter list"):
        fused.adam([], 0.1)


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_are_cleared(name):
    optim = MAKERS[name](weights())
    found = [p for group in optim.param_groups for p in group["params"]]
    for p in found:
        p.grad = torch.ones_like(p)
    fused.clear(optim)
    assert all(p.grad is None for p in found)


def test_an_optimiser_of_ones_own_clears_gradients_itself():
    class Counted(torch.optim.SGD):
        cleared = 0

        def zero_grad(self, set_to_none=True):
            self.cleared += 1

    optim = Counted(weights(), lr=0.1)
    fused.clear(optim)
    assert optim.cleared == 1


def prepared() -> torch.optim.Adam:
    """After a step, which makes the state."""
    optim = MAKERS["Adam"](weights())
    for p in optim.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    optim.step()
    return optim


def test_the_usual_step_does_not_go_through_torch(monkeypatch):
    optim = prepared()
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *_: pytest.fail("torch's step"))
    fused.step(optim)
    assert int(optim.state[optim.param_groups[0]["params"][0]]["step"]) == 2


def test_hooks_are_called():
    seen = []
    optim = prepared()
    optim.register_step_post_hook(lambda *_: seen.append("own"))
    fused.step(optim)
    handle = optimizer.register_optimizer_step_pre_hook(lambda *_: seen.append("global"))
    fused.step(prepared())
    handle.remove()
    assert seen == ["own", "global", "global"]


def test_a_scheduler_sees_the_step():
    optim = prepared()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optim, lambda k: 0.5**k)
    fused.step(optim)
    scheduler.step()  # warns, which is an error here, if it saw no step
    assert optim.param_groups[0]["lr"] == pytest.approx(0.05)
