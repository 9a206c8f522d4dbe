"""Targets: the density over unconstrained coordinates is the density of values times a Jacobian.

The Jacobian is taken by central differences of `constrain`, so a bijector and its log-determinant
are checked against each other in place, whatever they are.
"""

from typing import Any

import numpy as np
import pytest
import torch

from quivers_nb.inference.model import OpenTarget
from tests.oracles.programs import CASES
from tests.support.oracles import Array, Case, compiled, tensor, tensors

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def opened(case: Case) -> tuple[Any, dict[str, torch.Tensor], OpenTarget, dict[str, Any]]:
    """The model, its latents' values, its target, and the rest of the values."""
    model = compiled(case.source, **({"sizes": case.sizes} if case.sizes else {}))
    values = tensors(case.values)
    lines = [line.strip() for line in case.source.splitlines()]
    names = {line.split()[1] for line in lines if line.startswith("sample ")}
    latent = {n: v for n, v in values.items() if n in names or "/" in n or "$" in n}
    data = {n: v for n, v in values.items() if n not in latent}
    x = None if case.x is None else tensor(case.x)
    return model, latent, model.target(x, data, dtype=torch.float64), data


def jacobian(target: OpenTarget, q: torch.Tensor) -> float:
    """log |det| of q -> values, simplices without their last component."""
    h, columns = 1e-5, []
    for k in range(q.numel()):
        step = torch.zeros_like(q)
        step[k] = h
        columns.append((flat_values(target, q + step) - flat_values(target, q - step)) / (2 * h))
    return float(np.linalg.slogdet(np.stack(columns, -1))[1]) if columns else 0.0


def flat_values(target: OpenTarget, q: torch.Tensor) -> Array:
    values = target.constrain(q, internal=True)
    parts = []
    for c in target.layout:
        value = values[c.name]
        short = value[..., :-1] if value.numel() != c.size else value
        parts.append(short.reshape(-1).double().numpy())
    return np.concatenate(parts) if parts else np.zeros(0)


@each_case
def test_the_target_is_the_density_of_values_with_the_log_jacobian(case: Case) -> None:
    _, latent, target, _ = opened(case)
    if any(c.standard_normal for c in target.layout):
        pytest.skip("noise coordinates have no value of their own")
    q = target.unconstrain(latent)
    assert q.shape == (target.layout.dim,)
    got = target.terms(q).total().item()
    assert got == pytest.approx(case.expected_total + jacobian(target, q), rel=1e-6, abs=1e-6)


@each_case
def test_values_survive_the_way_to_coordinates_and_back(case: Case) -> None:
    _, latent, target, _ = opened(case)
    back = target.constrain(target.unconstrain(latent), internal=True)
    assert set(back) == set(latent)
    for name, value in latent.items():
        assert tuple(back[name].shape) == tuple(value.shape), name
        np.testing.assert_allclose(back[name].numpy(), value.numpy(), rtol=1e-8, atol=1e-10)


@each_case
def test_stacked_points_give_the_stack_of_the_densities(case: Case) -> None:
    _, _, target, _ = opened(case)
    generator = torch.Generator().manual_seed(5)
    q = torch.randn(2, 3, target.layout.dim, generator=generator, dtype=torch.float64)
    stacked = target.terms(q).total()
    assert stacked.shape == (2, 3)
    single = torch.stack([torch.stack([target.terms(p).total() for p in row]) for row in q])
    torch.testing.assert_close(stacked, single, rtol=1e-12, atol=1e-10)


@each_case
def test_the_gradient_of_the_target_agrees_with_differences(case: Case) -> None:
    _, _, target, _ = opened(case)
    if not target.layout.dim:
        pytest.skip("every value of this program is data")
    generator = torch.Generator().manual_seed(6)
    q = 0.5 * torch.randn(target.layout.dim, generator=generator, dtype=torch.float64)
    q.requires_grad_()
    (slope,) = torch.autograd.grad(target.terms(q).total(), q)
    direction = torch.randn(q.shape, generator=generator, dtype=torch.float64)
    h, point = 1e-5, q.detach()
    ends = [target.terms(point + s * h * direction).total().item() for s in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * h)
    assert float(slope @ direction) == pytest.approx(expected, rel=1e-5, abs=1e-6)
