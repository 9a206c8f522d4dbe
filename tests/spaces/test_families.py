"""The rows of the family table agree with section 8 and with each other."""

import pytest

from quivers_nb.spaces.families import FAMILIES, _table
from quivers_nb.spaces.family import Clamp, Codomain
from quivers_nb.spaces.support import (
    POSITIVE,
    Above,
    Between,
    Counts,
    OneHot,
    SimplexSupport,
    is_discrete,
)

SECTION_8 = [
    "Normal", "LogitNormal", "TruncatedNormal", "LogNormal", "Cauchy", "Laplace", "Gumbel",
    "StudentT", "VonMises", "Uniform", "Beta", "Kumaraswamy", "ContinuousBernoulli",
    "RelaxedBernoulli", "Exponential", "Gamma", "InverseGamma", "Chi2", "HalfNormal",
    "HalfCauchy", "Weibull", "Pareto", "FisherSnedecor", "GeneralizedPareto", "Bernoulli",
    "Categorical", "Binomial", "Poisson", "Geometric", "NegativeBinomial", "OrderedLogistic",
    "ZeroInflatedPoisson", "HurdlePoisson", "MixtureNormal", "Dirichlet", "LogisticNormal",
    "OneHotCategorical", "RelaxedOneHotCategorical", "MultivariateNormal", "LowRankMVN", "GP",
    "Horseshoe", "MatrixNormal", "Wishart", "InverseWishart", "LKJCholesky", "Flow",
    "HalfLaplace", "HalfStudentT",
]  # fmt: skip
ADDITIONS = [
    "BernoulliLogit", "BinomialLogit", "CategoricalLogit", "CategoricalProbs", "PoissonLog",
    "NegativeBinomialLog", "Flat", "HalfFlat",
]  # fmt: skip
NOISE = {
    "Normal", "LogNormal", "LogitNormal", "MultivariateNormal", "LowRankMVN", "LogisticNormal",
    "Flow",
}  # fmt: skip
each_row = pytest.mark.parametrize("name", sorted(FAMILIES))


def test_every_family_of_the_language_has_a_row_and_no_other() -> None:
    assert set(FAMILIES) == {*SECTION_8, *ADDITIONS}


def test_noise_coordinates_belong_to_the_families_of_ruling_3() -> None:
    assert {name for name, row in FAMILIES.items() if row.noise} == NOISE


@each_row
def test_a_row_is_consistent(name: str) -> None:
    row = FAMILIES[name]
    assert row.name == name
    assert row.summary
    names = [p.name for p in row.parameters]
    assert len(set(names)) == len(names)
    fed = FAMILIES[row.kernel_family or name]
    settings = {key for key, _ in row.settings}
    bounds = {"low", "high"} if row.codomain == Codomain.BOUNDED else set()
    blocks = {block.parameter for block in row.kernel or ()}
    assert blocks <= {p.name for p in fed.parameters}
    if row.kernel:
        assert {p.name for p in fed.parameters} == blocks | (
            (settings | bounds) & {p.name for p in fed.parameters}
        )
    assert row.scale_block is None or row.scale_block in blocks


@each_row
def test_named_bounds_are_parameters_that_come_first(name: str) -> None:
    row = FAMILIES[name]
    known: set[str] = set()
    for parameter in row.parameters:
        assert named_bounds(parameter.support) <= known
        known.add(parameter.name)
    assert named_bounds(row.support) <= known


def named_bounds(support: object) -> set[str]:
    bounds = [getattr(support, end, None) for end in ("low", "high")]
    return {end for end in bounds if isinstance(end, str)}


@each_row
def test_positive_parameters_are_clamped_and_others_are_not(name: str) -> None:
    for parameter in FAMILIES[name].parameters:
        positive = parameter.support == POSITIVE
        assert positive == (parameter.clamp in {Clamp.POSITIVE, Clamp.SHAPE})


@each_row
def test_event_ranks_follow_the_support(name: str) -> None:
    row = FAMILIES[name]
    if isinstance(row.support, SimplexSupport | OneHot):
        assert row.event_rank == 1
    if isinstance(row.support, Above | Between | Counts):
        assert row.event_rank == 0
    assert row.simplex == isinstance(row.support, SimplexSupport)


@each_row
def test_discrete_families_have_no_noise_and_no_scale(name: str) -> None:
    row = FAMILIES[name]
    if is_discrete(row.support):
        assert not row.noise
        assert row.scale_block is None


def test_improper_families_take_no_arguments() -> None:
    assert [name for name, row in FAMILIES.items() if row.improper] == ["Flat", "HalfFlat"]
    assert all(not FAMILIES[name].parameters for name in ("Flat", "HalfFlat"))


def test_a_family_with_two_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="Normal has two rows"):
        _table((FAMILIES["Normal"],), (FAMILIES["Normal"],))


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        FAMILIES["Normal"] = FAMILIES["Cauchy"]  # type: ignore[index]
