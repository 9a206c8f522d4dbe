"""Results in ArviZ: plates are dimensions, data and log-likelihood are there without a question."""

import warnings

import numpy as np
import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    MCMC,
    MCMCResult,
    NUTSKernel,
    Predictive,
    condition,
    inference_data,
    log_likelihood,
    pointwise,
)
from quivers_nb.inference.labels import Labels, index_labels
from tests.inference.test_pointwise import exact_loo
from tests.support.arviz_versions import elpd_of, groups_of
from tests.support.targets import eight_schools

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz

pandas = pytest.importorskip("pandas", reason="needs the extra [analysis]")

SCHOOLS = """object School : FinSet 4
object Sex : {f, m}
object R2 : Real 2
object R1 : Real 1
data sigma : School -> R1
program schools : School -> School
    sample mu <- Normal(0.0, 5.0)
    sample c : School * Sex <- Normal(0.0, 1.0)
    sample theta : School <- Normal(mu, 5.0)
    sample both : School * School <- Normal(0.0, 1.0)
    observe y : School <- Normal(theta, sigma)
    return theta
export schools
"""
NAMES = ["Choate", "Deerfield", "Andover", "Exeter"]
OBS = {"y": pandas.Series([28.0, 8.0, -3.0, 7.0], index=NAMES), "sigma": torch.full((4,), 9.0)}
ROWS = """object R2 : Real 2
morphism f : R2 -> R2 [role=kernel, scale=0.3] ~ Normal
program rows : R2 -> R2
    sample s : 1 <- HalfNormal(1.0)
    sample h <- f
    let m = sum(h)
    observe y <- Normal(m, s)
    return h
export rows
"""
COMPOSED = ROWS.replace("program", "let g = f >> f\nprogram").replace("h <- f", "h <- g")
NORMAL = """object N : FinSet 40
program normal : N -> N
    sample mu <- Normal(0.0, 10.0)
    observe y : N <- Normal(mu, 1.0)
    return mu
export normal
"""
X = torch.linspace(-1.0, 1.0, 6).reshape(3, 2)
ROW_OBS = {"y": pandas.Series([0.1, 0.2, 0.3], index=["a", "b", "c"])}


def run(source=SCHOOLS, x=None, obs=OBS, model=None, **options):
    model = loads(source).morphism if model is None else model
    mcmc = MCMC(NUTSKernel(), 30, 20, num_chains=2, seed=1, tier="eager")
    return model, mcmc.run(model, x, obs, **options)


def loo_of(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return arviz.loo(data)


def test_dimensions_are_plates_with_the_labels_of_their_elements():
    _, result = run()
    data = result.to_arviz()
    assert data.posterior["theta"].dims == ("chain", "draw", "School")
    assert data.posterior["c"].dims == ("chain", "draw", "School", "Sex")
    assert data.posterior["both"].dims == ("chain", "draw", "School", "both_dim_1")
    assert data.log_likelihood["y"].dims == ("chain", "draw", "School")
    assert data.observed_data["y"].dims == ("School",)
    assert data.posterior["Sex"].values.tolist() == ["f", "m"]
    assert data.posterior["School"].values.tolist() == NAMES
    assert float(data.observed_data["y"].sel(School="Andover")) == -3.0


def test_rows_are_a_dimension_that_takes_the_index_of_a_column():
    _, result = run(ROWS, X, ROW_OBS)
    data = result.to_arviz()
    assert data.posterior["h"].dims == ("chain", "draw", "row", "h_dim_1")
    assert data.posterior["s"].dims == ("chain", "draw", "s_dim_0")
    assert data.log_likelihood["y"].dims == ("chain", "draw", "row")
    assert data.posterior["row"].values.tolist() == ["a", "b", "c"]


def test_conditioned_models_have_the_labels_of_their_data():
    model = condition(loads(SCHOOLS).morphism, {"y": OBS["y"]})
    _, result = run(model=model, obs={"sigma": OBS["sigma"]})
    assert result.to_arviz().observed_data["School"].values.tolist() == NAMES


def test_names_that_do_not_fit_are_not_used():
    labels = Labels({"a": ("G",), "b": ("G", "G")}, {"G": ("x", "y")})
    assert labels.names("a", (2,)) == ("G",)
    assert labels.names("a", (3,)) == ("a_dim_0",)  # two labels, three elements
    assert labels.names("a", ()) == ()
    assert labels.names("b", (2, 2)) == ("G", "b_dim_1")
    assert labels.names("other", (2, 5)) == ("other_dim_0", "other_dim_1")
    free = Labels({"a": ("G",), "b": ("G",)})
    draws = {"a": np.zeros((1, 4, 2)), "b": np.zeros((1, 4, 3))}
    data = inference_data.inference_data({"posterior": draws}, free)
    assert (data.posterior["a"].dims[2], data.posterior["b"].dims[2]) == ("G", "b_dim_0")


def test_only_an_index_of_its_own_labels_rows():
    assert index_labels(pandas.Series([1, 2], index=["a", "b"])) == ("a", "b")
    assert index_labels(pandas.Series([1, 2], index=[2001, 2002])) == (2001, 2002)
    assert index_labels(pandas.Series([1, 2])) is None
    assert index_labels(pandas.Series([1, 2], index=["a", "a"])) is None
    assert index_labels([1, 2]) is None
    assert index_labels(torch.zeros(2)) is None


def test_the_log_likelihood_is_there_unless_it_is_large_or_not_wanted(monkeypatch):
    model, result = run()
    whole = log_likelihood(model, None, OBS, result)["y"]
    np.testing.assert_array_equal(result.to_arviz().log_likelihood["y"].values, whole)
    assert "log_likelihood" not in groups_of(result.to_arviz(log_likelihood=False))
    monkeypatch.setattr(pointwise, "_UNASKED", whole.numel() - 1)
    data = result.to_arviz()
    assert groups_of(data) == {"posterior", "sample_stats", "observed_data"}
    assert data.observed_data["School"].values.tolist() == NAMES
    assert "log_likelihood" in groups_of(result.to_arviz(log_likelihood=True))


def test_a_log_likelihood_that_needs_draws_that_were_not_kept():
    _, result = run(COMPOSED, X, ROW_OBS)
    assert "log_likelihood" not in groups_of(result.to_arviz())
    with pytest.raises(UserError, match="keep_internal=True"):
        result.to_arviz(log_likelihood=True)
    _, kept = run(COMPOSED, X, ROW_OBS, keep_internal=True)
    assert kept.to_arviz().log_likelihood["y"].shape == (2, 20, 3)


def test_predictions_come_along():
    model, result = run()
    predicted = Predictive(model, result)(None, {"sigma": OBS["sigma"]})
    data = result.to_arviz(predicted)
    assert data.posterior_predictive["y"].dims == ("chain", "draw", "School")
    np.testing.assert_array_equal(
        data.posterior_predictive["y"].values[1, 0], predicted["y"][20].numpy()
    )


def test_a_density_written_by_hand_has_draws_and_statistics():
    result = MCMC(NUTSKernel(), 20, 10, num_chains=2, seed=0).run_target(eight_schools())
    assert groups_of(result.to_arviz()) == {"posterior", "sample_stats"}
    with pytest.raises(UserError, match="does not know its model and data"):
        result.to_arviz(log_likelihood=True)


def test_what_was_saved_has_its_labels_and_not_its_data(tmp_path):
    model, result = run()
    back = MCMCResult.load(result.save(tmp_path / "run"), model)
    assert back.labels == result.labels
    data = back.to_arviz()
    assert data.posterior["School"].values.tolist() == NAMES
    assert groups_of(data) == {"posterior", "sample_stats"}


@pytest.mark.stats
def test_leave_one_out_of_a_run_is_the_exact_one_and_models_are_compared():
    """One line each. The error of 4000 draws is below 0.05 (measured 0.01)."""
    y = np.random.default_rng(0).normal(0.3, 1.0, 40)
    wide = NORMAL.replace("Normal(mu, 1.0)", "Normal(mu, 9.0)")
    runs = {
        name: MCMC(NUTSKernel(), 300, 1000, seed=1).run(loads(text).morphism, None, {"y": y})
        for name, text in {"right": NORMAL, "wide": wide}.items()
    }
    assert abs(elpd_of(loo_of(runs["right"].to_arviz())) - exact_loo(y)) < 0.05
    assert abs(elpd_of(loo_of(runs["wide"].to_arviz())) - exact_loo(y)) > 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = arviz.compare({name: result.to_arviz() for name, result in runs.items()})
    assert list(table.index) == ["right", "wide"]


def test_arviz_one_takes_groups_as_one_mapping(monkeypatch):
    """Its interface as its documentation has it, whichever version is installed."""
    seen = {}

    class One:
        __version__ = "1.2.0"

        @staticmethod
        def from_dict(data, *, coords, dims):
            seen.update(data, coords=coords, dims=dims)
            return "a tree"

    monkeypatch.setattr(inference_data, "require", lambda *_, **__: One)
    _, result = run()
    assert result.to_arviz() == "a tree"
    assert set(seen) == {
        "posterior", "sample_stats", "log_likelihood", "observed_data", "coords", "dims",
    }  # fmt: skip
    assert seen["sample_stats"]["diverging"].dtype == bool
    assert seen["dims"]["c"] == ["School", "Sex"]
    assert seen["coords"] == {"Sex": ["f", "m"], "School": NAMES}


def test_in_a_tree_the_paths_of_internal_sites_have_dots(monkeypatch):
    """A slash leads from group to group there. Labels of elements are as they were."""
    seen = {}

    class One:
        __version__ = "1.3.0"
        from_dict = seen.update

    monkeypatch.setattr(inference_data, "require", lambda *_, **__: One)
    draws = {"h/g/f": np.zeros((1, 4, 2)), "u": np.zeros((1, 4, 2))}
    labels = Labels({"u": ("a/b",)}, {"a/b": ("x/y", "z")})
    inference_data.inference_data({"posterior": draws}, labels)
    assert set(seen["posterior"]) == {"h.g.f", "u"}
    assert seen["dims"] == {"h.g.f": ["h.g.f_dim_0"], "u": ["a.b"]}
    assert seen["coords"] == {"a.b": ["x/y", "z"]}


def test_the_tail_of_weights_is_fitted_by_either_version():
    """That of weights ``u**-0.5``, u uniform, is 0.5: 0.51 on average over 30 seeds, sd 0.07. The
    tail of the weights' inverses has -1, which is what a change of sign would give.
    """
    u = np.random.default_rng(0).uniform(size=20_000)
    assert inference_data.pareto_shape(-0.5 * np.log(u)) == pytest.approx(0.5, abs=0.25)
    assert inference_data.pareto_shape(-0.9 * np.log(u)) > 0.7
