"""Recorded steps follow the weights wherever they go, and draw anew every time."""

import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, SVI, AutoNormalGuide

MODEL = """object A : Real 2
object B : Real 3
morphism f : A -> B [role=kernel, replicate=2] ~ Normal
morphism g : Real 6 -> A [role=kernel] ~ Normal
let h = fan(f) >> g
program p : A -> A
    sample z <- h
    observe y <- Normal(z, 1.0)
    return z
export p
"""
X = torch.linspace(-1.0, 1.0, 10).reshape(5, 2)
OBS = {"y": torch.linspace(0.0, 1.0, 10).reshape(5, 2)}


def fitted(steps: int) -> tuple[SVI, torch.nn.Module]:
    torch.manual_seed(0)
    model = loads(MODEL).morphism
    guide = AutoNormalGuide(model, {"y"})
    optimizer = torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=0.01)
    svi = SVI(model, guide, optimizer, ELBO())
    for _ in range(steps):
        svi.step(X, OBS)
    return svi, model


def test_a_written_weight_is_seen_by_the_recorded_step() -> None:
    svi, model = fitted(5)
    assert svi._traced is not None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    traced = svi._traced
    torch.manual_seed(1)
    replayed = float(traced())
    torch.manual_seed(1)
    eager = float(svi._loss(svi._target(X, OBS)).detach())
    assert abs(replayed - eager) < 1e-5 * abs(eager)


def test_a_replaced_weight_ends_the_recording() -> None:
    svi, model = fitted(5)
    parameter = next(model.parameters())
    parameter.data = parameter.data.clone() + 5.0
    torch.manual_seed(1)
    loss = svi.step(X, OBS)
    assert svi._traced is None
    same, twin = fitted(5)
    with torch.no_grad():
        next(twin.parameters()).add_(5.0)
    torch.manual_seed(1)
    assert abs(same.step(X, OBS) - loss) < 1e-5 * abs(loss)


def test_every_replay_draws_anew_from_torch_s_generator() -> None:
    svi, _ = fitted(5)
    assert svi._traced is not None
    torch.manual_seed(3)
    first, second = float(svi._traced()), float(svi._traced())
    torch.manual_seed(3)
    assert float(svi._traced()) == first != second
