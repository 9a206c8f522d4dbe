"""Recorded gradients have memory of their own for every entry."""

import torch

from quivers_nb.inference import ELBO, SVI, AutoNormalGuide
from tests.support.models import HandModel


def test_a_gradient_that_is_one_number_for_many_weights_moves_them_all_alike():
    """The fused optimiser once read the second of two equal entries beyond the tensor's end."""
    model = HandModel()  # its loss reads the sum of two halves: their gradients are one number
    guide = AutoNormalGuide(model, {"y"})
    optim = torch.optim.Adam([*guide.parameters(), *model.parameters()], lr=0.01)
    svi = SVI(model, guide, optim, ELBO(), generator=torch.Generator().manual_seed(0))
    x = torch.linspace(-1, 1, 8)[:, None]
    data = {"y": torch.sin(3 * x[:, 0])}  # the same tensors every time, or nothing is recorded
    for _ in range(20):
        svi.step(x, data)
    assert svi.eager_reason == ""
    first, second = model.halves.detach().flatten().tolist()
    assert abs((first - second) - 0.25) < 1e-5
    assert model.halves.grad is not None
    assert model.halves.grad.is_contiguous()
