"""`log_joint` and `log_density` of varied programs against formulas in scipy (R1, R2, R4, R11)."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.oracles.programs import CASES
from tests.support.oracles import Case, compiled, tensor, tensors

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def model_of(case: Case) -> Any:
    return compiled(case.source, **({"sizes": case.sizes} if case.sizes else {}))


def input_of(case: Case) -> torch.Tensor | None:
    return None if case.x is None else tensor(case.x)


@each_case
def test_log_joint_has_the_value_and_the_batch_shape_of_the_formula(case: Case) -> None:
    got = model_of(case).log_joint(input_of(case), tensors(case.values))
    assert got.dtype == torch.float64
    assert tuple(got.shape) == np.shape(case.rows)
    np.testing.assert_allclose(got.detach().numpy(), case.rows, rtol=1e-10)


@each_case
def test_log_density_counts_row_independent_terms_once(case: Case) -> None:
    got = model_of(case).log_density(input_of(case), tensors(case.values))
    assert tuple(got.shape) == ()
    np.testing.assert_allclose(got.item(), case.expected_total, rtol=1e-10)


@each_case
def test_numpy_arrays_and_lists_serve_as_values(case: Case) -> None:
    plain = {name: np.asarray(value).tolist() for name, value in case.values.items()}
    arrays = {name: np.asarray(value) for name, value in case.values.items()}
    model, x = model_of(case), input_of(case)
    for values in (plain, arrays):
        np.testing.assert_allclose(
            model.log_density(x, values).item(), case.expected_total, rtol=1e-6
        )


@each_case
def test_the_gradient_agrees_with_a_central_difference_along_one_direction(case: Case) -> None:
    model, x = model_of(case), input_of(case)
    values = tensors(case.values)
    names = [n for n, v in values.items() if v.is_floating_point() and n in latent_names(case)]
    if not names:
        pytest.skip("every continuous value of this program is data")
    generator = torch.Generator().manual_seed(7)
    direction = {
        n: torch.randn(values[n].shape, generator=generator, dtype=torch.float64) for n in names
    }
    if case.name.startswith(("Dirichlet plate", "one Dirichlet")):  # stay on the simplex
        direction = {n: d - d.mean(-1, keepdim=True) for n, d in direction.items()}

    def along(step: torch.Tensor) -> torch.Tensor:
        moved = {n: values[n] + step * direction[n] for n in names}
        return model.log_density(x, values | moved)

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(along(step), step)
    h = 1e-5
    difference = (along(torch.tensor(h)) - along(torch.tensor(-h))).item() / (2 * h)
    np.testing.assert_allclose(slope.item(), difference, rtol=1e-5, atol=1e-7)


def latent_names(case: Case) -> set[str]:
    leaders = ("sample ",)
    lines = [line.strip() for line in case.source.splitlines()]
    return {line.split()[1] for line in lines if line.startswith(leaders)} | {
        name for name in case.values if "$" in name or "/" in name
    }


@each_case
def test_a_run_without_latents_given_draws_values_that_it_can_score(case: Case) -> None:
    if "Flat()" in case.source:
        pytest.skip("improper priors cannot be sampled; test_values has the error")
    model, x = model_of(case), input_of(case)
    latent = latent_names(case)
    data = {n: v for n, v in tensors(case.values).items() if n not in latent}
    run = model.trace(x, data, generator=torch.Generator().manual_seed(3))
    drawn = {
        name: site.value
        for sites in (run.sites, run.internal_sites)
        for name, site in sites.items()
        if not site.is_deterministic
    }
    for name, site in run.sites.items():
        if name in latent and name in case.values:
            assert tuple(site.value.shape) == np.shape(case.values[name]), name
    assert torch.isfinite(run.log_joint).all()
    torch.testing.assert_close(model.log_joint(x, data | drawn), run.log_joint)


def test_one_row_values_are_accepted_with_and_without_the_leading_axis() -> None:
    case = next(case for case in CASES if case.name.startswith("one dummy row"))
    model, values = model_of(case), tensors(case.values)
    bare = values | {"a": values["a"][0]}
    with_axis, without = (model.log_joint(tensor(case.x), v) for v in (values, bare))
    assert torch.equal(with_axis, without)
    assert model.log_joint(None, bare).shape == ()
    torch.testing.assert_close(model.log_joint(None, bare), with_axis[0])


def test_data_of_a_real_1_may_carry_its_unit_axis() -> None:
    case = next(case for case in CASES if case.name.startswith("declared data"))
    values = tensors(case.values)
    got = model_of(case).log_joint(None, values | {"se": values["se"][:, None]})
    np.testing.assert_allclose(got.item(), case.expected_total, rtol=1e-10)
