"""Values given to a model: accepted shapes (R2), refusals that name the fact (R10), draws (R6)."""

from typing import Any

import numpy as np
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from tests.support.oracles import compiled, tensor, tensors

REGRESSION = """\
object Obs : FinSet 4
object K : FinSet 3
program regression : Obs -> Obs
    sample alpha <- Normal(0.0, 10.0)
    sample level : K <- Normal(alpha, 1.0)
    sample sigma <- HalfNormal(1.0)
    let mu = level[group] * slope
    observe y : Obs <- Normal(mu, sigma)
    return alpha
export regression
"""
VALUES = tensors(
    {
        "alpha": 0.1,
        "level": [0.3, -0.2, 0.9],
        "sigma": 0.7,
        "group": [0, 2, 1, 0],
        "slope": [1.0, 2.0, -1.0, 0.5],
        "y": [0.3, 0.1, -0.4, 0.0],
    }
)
ROWS = """\
object R1 : Real 1
program rows(a) : R1 -> R1
    sample u <- Normal(a, 1.0)
    observe y <- Normal(u, 0.5)
    return u
export rows
"""
A = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]


def refusal(model: Any, x: Any, values: Any, method: str = "log_joint") -> str:
    with pytest.raises(UserError) as caught:
        getattr(model, method)(x, values)
    return str(caught.value)


def test_a_scalar_site_accepts_a_trailing_unit_axis() -> None:
    model = compiled(ROWS)
    values = {"u": torch.arange(5.0).double(), "y": torch.ones(5).double()}
    wide = {name: value[:, None] for name, value in values.items()}
    assert torch.equal(model.log_joint(A, wide), model.log_joint(A, values))


def test_a_scalar_site_without_rows_accepts_a_trailing_unit_axis() -> None:
    model = compiled(REGRESSION)
    wide = VALUES | {"alpha": VALUES["alpha"][None], "sigma": VALUES["sigma"][None]}
    assert torch.equal(model.log_joint(None, wide), model.log_joint(None, VALUES))
    assert model.log_joint(None, wide).shape == ()


@pytest.mark.parametrize(
    ("site", "shape", "wanted"),
    [("alpha", (3,), "()"), ("level", (2,), "(3,)"), ("level", (3, 2), "(3,)")],
)
def test_a_value_that_fits_neither_is_refused_with_site_given_and_wanted(
    site: str, shape: tuple[int, ...], wanted: str
) -> None:
    message = refusal(compiled(REGRESSION), None, VALUES | {site: torch.zeros(shape)})
    assert site in message
    assert str(shape) in message
    assert wanted in message


def test_a_row_value_of_the_wrong_length_is_refused() -> None:
    values = {"u": torch.zeros(4).double(), "y": torch.zeros(5).double()}
    message = refusal(compiled(ROWS), A, values)
    assert "u" in message
    assert "(4,)" in message
    assert "(5,)" in message


def test_a_response_without_the_batch_axes_is_refused_naming_both_shapes() -> None:
    source = """\
object R1 : Real 1
object Time : FinSet 3
program curves(a) : R1 -> R1
    let mu = a * t
    observe y : Time <- Normal(mu, 0.6)
    return mu
export curves
"""
    values = tensors({"t": [0.0, 1.0, 2.0], "y": [0.0, 0.0, 0.0]})
    message = refusal(compiled(source), A, values)
    assert "y" in message
    assert "(3,)" in message
    assert "(5, 3)" in message


def test_an_observation_that_nothing_uses_is_refused_with_the_nearest_name() -> None:
    message = refusal(compiled(REGRESSION), None, VALUES | {"sigmaa": VALUES["sigma"]})
    assert "sigmaa" in message
    assert "sigma" in message.replace("sigmaa", "")


@pytest.mark.parametrize("name", ["y", "slope", "group"])
def test_missing_host_data_and_responses_are_named(name: str) -> None:
    values = {key: value for key, value in VALUES.items() if key != name}
    assert f"{name}" in refusal(compiled(REGRESSION), None, values)


def test_a_missing_latent_of_log_joint_is_named() -> None:
    values = {key: value for key, value in VALUES.items() if key != "alpha"}
    assert "alpha" in refusal(compiled(REGRESSION), None, values)


@pytest.mark.parametrize("name", ["y", "slope"])
@pytest.mark.parametrize("bad", [np.nan])
def test_nan_in_data_is_named_with_its_place(name: str, bad: float) -> None:
    poisoned = VALUES[name].clone()
    poisoned[2] = bad
    data = {k: v for k, v in VALUES.items() if k in {"group", "slope", "y"}} | {name: poisoned}
    with pytest.raises(UserError) as caught:
        compiled(REGRESSION).target(None, data)
    assert name in str(caught.value)
    assert "nan" in str(caught.value).lower()
    assert "2" in str(caught.value)


def test_a_fit_without_a_response_names_it() -> None:
    data = {k: v for k, v in VALUES.items() if k in {"group", "slope"}}
    with pytest.raises(UserError) as caught:
        compiled(REGRESSION).target(None, data)
    assert "y" in str(caught.value)


@pytest.mark.parametrize(("index", "shown"), [(3, "3"), (-1, "-1")])
def test_an_index_out_of_range_is_named_with_the_range(index: int, shown: str) -> None:
    group = VALUES["group"].clone()
    group[1] = index
    message = refusal(compiled(REGRESSION), None, VALUES | {"group": group})
    assert "group" in message
    assert shown in message


def test_an_index_that_is_not_whole_is_refused() -> None:
    message = refusal(compiled(REGRESSION), None, VALUES | {"group": VALUES["group"] + 0.5})
    assert "group" in message


def test_whole_floats_serve_as_indices() -> None:
    model = compiled(REGRESSION)
    floats = VALUES | {"group": VALUES["group"].double()}
    assert torch.equal(model.log_joint(None, floats), model.log_joint(None, VALUES))


@pytest.mark.parametrize("bad", ["text", np.array(["a", "b"]), None, object()])
def test_a_value_that_is_no_number_is_refused(bad: Any) -> None:
    message = refusal(compiled(REGRESSION), None, VALUES | {"slope": bad})
    assert "slope" in message


def test_complex_numbers_are_refused() -> None:
    message = refusal(compiled(REGRESSION), None, VALUES | {"y": np.ones(4) * 1j})
    assert "y" in message


def test_a_category_out_of_range_is_refused() -> None:
    source = """\
object Obs : FinSet 3
object K : FinSet 2
program p : Obs -> Obs
    sample b : K <- Normal(0.0, 1.0)
    observe z : Obs <- Categorical(b)
    return b
export p
"""
    values = tensors({"b": [0.1, 0.2], "z": [0, 1, 2]})
    assert "z" in refusal(compiled(source), None, values)


def test_pandas_columns_serve_as_values() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({k: VALUES[k].numpy() for k in ("group", "slope", "y")})
    values = VALUES | {column: frame[column] for column in frame}
    model = compiled(REGRESSION)
    assert torch.equal(model.log_joint(None, values), model.log_joint(None, VALUES))


def test_running_a_reading_program_without_input_says_so() -> None:
    values = {"u": torch.zeros(5), "y": torch.zeros(5)}
    message = refusal(compiled(ROWS), None, values)
    assert "rows" in message
    assert "input" in message


def test_an_input_of_the_wrong_width_is_refused_with_both_widths() -> None:
    source = ROWS.replace("Real 1", "Real 3").replace("Normal(a, 1.0)", "Normal(m, 1.0)")
    source = source.replace("    sample u", "    let m = sum(a)\n    sample u")
    values = {"u": torch.zeros(5), "y": torch.zeros(5)}
    message = refusal(compiled(source), torch.zeros(5, 2), values)
    assert "2" in message
    assert "3" in message


def test_a_flat_input_of_a_width_one_domain_is_a_batch() -> None:
    model = compiled(ROWS)
    values = {"u": torch.arange(5.0).double(), "y": torch.ones(5).double()}
    assert torch.equal(model.log_joint(A[:, 0], values), model.log_joint(A, values))


def test_an_input_token_out_of_range_is_refused() -> None:
    source = """\
object X : FinSet 3
object R2 : Real 2
morphism e : X -> R2 [role=embed]
program p : X -> R2
    sample h <- e
    return h
export p
"""
    message = refusal(compiled(source), torch.tensor([0, 3]), {"h": torch.zeros(2, 2)})
    assert "3" in message


SAMPLED = """\
object K : FinSet 3
program prior : K -> K
    sample mu <- Normal(0.0, 1.0)
    sample tau <- HalfCauchy(1.0)
    sample g : K <- Gamma(2.0, 1.0)
    sample v : K <- Normal(mu, tau)
    return v
export prior
"""


def test_manual_seed_reproduces_samples_and_consumes_the_global_generator() -> None:
    model = loads(SAMPLED).morphism
    torch.manual_seed(4)
    first, second = model.rsample(None), model.rsample(None)
    torch.manual_seed(4)
    assert torch.equal(model.rsample(None), first)
    assert not torch.equal(first, second)


def test_a_generator_makes_a_draw_a_function_and_leaves_the_global_one_alone() -> None:
    model = loads(SAMPLED).morphism
    state = torch.random.get_rng_state()
    one, two = (
        model.trace(None, generator=torch.Generator().manual_seed(9)).sites for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, site in one.items():
        assert torch.equal(site.value, two[name].value)


def test_densities_never_touch_the_global_generator() -> None:
    model = compiled(REGRESSION)
    state = torch.random.get_rng_state()
    model.log_joint(None, VALUES)
    model.log_density(None, VALUES)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("shape", [(), (7,), (2, 3)])
def test_sample_shape_replicates_the_whole_program(shape: tuple[int, ...]) -> None:
    model = loads(SAMPLED).morphism
    draws = model.rsample(None, sample_shape=shape)
    assert tuple(draws.shape) == (*shape, 3)
    if shape:
        means = draws.reshape(-1, 3).mean(-1)
        assert means.unique().numel() == means.numel(), "mu is drawn again in each replicate"


def test_rsample_of_a_reading_program_has_the_sample_shape_in_front_of_the_rows() -> None:
    model = loads(ROWS).morphism
    assert tuple(model.rsample(A.float(), sample_shape=(3,)).shape) == (3, 5)


def test_a_clamped_sample_is_observed_and_scored() -> None:
    model = compiled(REGRESSION)
    run = model.trace(None, {k: VALUES[k] for k in ("group", "slope", "y", "alpha")})
    flags = {name: site.is_observed for name, site in run.stochastic_sites.items()}
    assert flags == {"alpha": True, "level": False, "sigma": False, "y": True}
    assert run.sites["alpha"].log_prob.item() == pytest.approx(-0.5 * 0.01**2 - 3.221523626)
    assert run.sites["mu"].is_deterministic
    assert set(run.latent_sites) == {"level", "sigma"}
    assert set(run.observed_sites) == {"alpha", "y"}
    assert model.observed_names == {"y"}


def test_improper_priors_cannot_be_sampled() -> None:
    source = """\
object U : FinSet 1
program flat : U -> U
    sample a <- Flat()
    return a
export flat
"""
    message = refusal(loads(source).morphism, None, {}, "trace")
    assert "Flat" in message
    assert "a" in message


def test_outside_its_support_a_value_has_density_zero_and_no_error() -> None:
    got = compiled(REGRESSION).log_joint(None, VALUES | {"sigma": tensor(-1.0)})
    assert got.item() == -np.inf


def test_return_labels_become_keys() -> None:
    source = SAMPLED.replace("return v", "return (center: mu, width: tau)")
    out = loads(source).morphism.trace(None, generator=torch.Generator().manual_seed(1)).output
    assert list(out) == ["center", "width"]
    plain = SAMPLED.replace("return v", "return (mu, tau)")
    out = loads(plain).morphism.trace(None, generator=torch.Generator().manual_seed(1)).output
    assert list(out) == ["mu", "tau"]


def test_every_export_is_reachable_by_name_and_the_first_is_the_morphism() -> None:
    module = loads(ROWS + SAMPLED)
    assert list(module.exports) == ["rows", "prior"]
    assert module.exports["rows"] is module.morphism


def test_a_module_without_exports_has_no_morphism() -> None:
    assert loads("object X : FinSet 3\n").morphism is None
    assert loads("").morphism is None


def test_a_size_is_fixed_by_the_first_data_declared_over_it() -> None:
    source = """\
object Obs : FinSet n
data w : Obs -> Real 1
program p : Obs -> Obs
    sample b <- Normal(0.0, 1.0)
    sample u : Obs <- Normal(b, 1.0)
    let mu = u * w
    observe y : Obs <- Normal(mu, 1.0)
    return b
export p
"""
    values = tensors({"b": 0.1, "u": [0.1, 0.2], "w": [1.0, 2.0], "y": [0.0, 0.3]})
    assert compiled(source).log_joint(None, values).shape == ()
    assert torch.equal(
        compiled(source).log_joint(None, values),
        compiled(source, sizes={"n": 2}).log_joint(None, values),
    )
    message = refusal(compiled(source), None, values | {"y": tensor([0.0, 0.1, 0.2])})
    assert "`y` has length 3" in message
    assert "2" in message


def test_float64_host_data_keep_their_digits_where_nothing_else_is_floating() -> None:
    source = """\
object Obs : FinSet 3
program masses : Obs -> Obs
    let q = softmax(t)
    observe z : Obs <- Categorical(q)
    return q
export masses
"""
    t, z = np.array([0.4, -1.0, 2.0]), np.array([0, 2, 1])
    got = loads(source).morphism.log_joint(None, tensors({"t": t, "z": z})).item()
    assert got == pytest.approx((t - np.logaddexp.reduce(t))[z].sum(), rel=1e-12)


def test_a_key_in_the_other_case_is_recognized() -> None:
    values = {"SLOPE" if name == "slope" else name: value for name, value in VALUES.items()}
    assert "did you mean `slope`" in refusal(compiled(REGRESSION), None, values)
