"""Data are checked before a fit starts: faults name the data, what was wanted and what came."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from quivers_nb.diagnostics.errors import QuiversWarning, UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel, Predictive

MODEL = loads(
    """object Obs : FinSet 5
object G : FinSet 3
object Late : FinSet n
data g_of : Obs -> G
data x : Obs -> Real 1
data design : Obs -> Real 2
data late : Late -> Real 1
program p : Obs -> Obs
    sample a : G <- Normal(0.0, 1.0)
    sample b <- Normal(0.0, 1.0)
    let mu = a[g_of] + b * x + undeclared
    observe y : Obs <- Normal(mu, 1.0)
    let r = exp(mu)
    observe k : Obs <- Poisson(r)
    let q = a[raw]
    let d = design[0, 1] * b + sum(late)
    observe z : Obs <- Bernoulli(0.3)
    observe o : Late <- Normal(d, 1.0)
    marginalize c : G <- CategoricalProbs(share) [over=Obs]
        observe m : Late <- Normal(c, 1.0) [via=of]
    return a
export p
""".replace("CategoricalProbs(share)", "CategoricalProbs(w)").replace(
        "    marginalize", "    let w = 1.0 * share\n    marginalize"
    )
).morphism
GOOD = {
    "g_of": [0, 1, 2, 0, 1], "x": np.arange(5.0), "undeclared": np.zeros(5), "y": np.zeros(5),
    "k": [1, 2, 0, 4, 1], "raw": [0, 2], "design": np.zeros((5, 2)), "z": [0, 1, 1, 0, 1],
    "late": np.zeros(4), "o": np.zeros(4), "share": [0.2, 0.3, 0.5], "m": np.zeros(4),
    "of": [0, 4, 4, 1],
}  # fmt: skip
FAULTS: list[tuple[str, Any, str]] = [
    ("g_of", [0, 1, 3, 0, 1], r"`g_of` holds 3, outside 0 … 2 of FinSet 3"),
    ("g_of", [0, 1, -1, 0, 1], r"`g_of` holds -1, outside 0 … 2"),
    ("g_of", [0, 1.5, 1, 0, 1], r"`g_of` must hold indices into FinSet 3, but holds fractions"),
    ("g_of", [0, 1, 2], r"declared over Obs, which has 5 elements, but has length 3"),
    ("g_of", list("abcab"), r"`g_of` is declared with values in FinSet 3, but holds text"),
    ("g_of", pd.Series(list("aabbc"), dtype="category"), r"not numeric \(dtype category\)"),
    ("g_of", None, r"`g_of` is not bound by the program and was not given"),
    ("x", np.zeros((5, 2)), r"`x` has 2 columns, but Real 1 has 1"),
    ("x", [0, 1, np.nan, 2, 3], r"`x` holds 1 NaN \(first at \[2\]\)"),
    ("x", "five", r"`x` is declared with values in Real 1, but holds text"),
    ("design", np.zeros(5), r"2 axes are wanted, but it has shape \(5,\)"),
    ("undeclared", np.zeros(3), r"in `mu`: own shapes .* do not align .*`undeclared` \(3,\)"),
    ("undeclared", None, r"`undeclared` is not bound by the program and was not given"),
    ("y", None, r"the observe site `y` has no value"),
    ("y", np.zeros(4), r"`y` has shape \(4,\), but `mu` has own shape \(5,\)"),
    ("y", np.zeros((5, 2)), r"shape \(5, 2\), but it is observed over Obs: 1 axis wanted"),
    ("y", pd.Series([1.0, 2, 3, 4, None]), r"`y` holds 1 NaN \(first at \[4\]\)"),
    ("y", ["a"] * 5, r"`y` is not numeric"),
    ("y", pd.date_range("2020", periods=5), r"`y` is not numeric \(dtype datetime64"),
    ("y", [[1, 2], [3]], r"`y` is a ragged list"),
    ("y", [np.inf, 0, 0, 0, 0], r"`y` is infinite at \[0\]"),
    ("y", np.array([1 + 2j] * 5), r"`y` is complex"),
    ("k", [1, 2, -1, 0, 0], r"`k` holds -1, outside the support 0 … ∞ of Poisson"),
    ("k", [1.5, 0, 0, 0, 0], r"`k` ~ Poisson takes whole numbers, but holds 1.5"),
    ("z", [0, 1, 2, 0, 1], r"`z` holds 2, outside the support 0 … 1 of Bernoulli"),
    ("raw", [0, 5], r"`raw` holds 5, which is outside 0 … 2: it indexes axis 0 of `a`"),
    ("raw", [0.5, 1], r"`raw` holds 0.5, which is not a whole number"),
    ("late", np.zeros(3), r"`o` has length 4, but the size `n` is already 3|`m` has length 4"),
    ("share", [0.2, 0.3, 0.4], r"probabilities sum to 0.9, not 1"),
    ("share", [0.5, 0.5], r"2 probabilities|own shape|2 classes"),
    ("of", [0, 5, 4, 1], r"via= in `marginalize c` holds 5, outside 0 … 4"),
    ("of", [0, 1], r"has 2 entries, but its response has 4"),
    ("yy", np.zeros(5), r"`yy` is used by no site, let, score or index .* did you mean `y`"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "words"), FAULTS)
def test_a_fault_is_named_before_the_fit(name: str, value: Any, words: str) -> None:
    data = {**GOOD, name: value}
    given = {key: item for key, item in data.items() if item is not None}
    with pytest.raises(UserError, match=words):
        MCMC(NUTSKernel(), 2, 2, num_chains=1).run(MODEL, None, given)


def test_a_response_of_another_length_than_its_object_counts_and_is_remarked_on_once() -> None:
    """The size of the object does not restrict data (7.6), but a slip is likelier than a wish."""
    text = """object Obs : FinSet 60
program p : Obs -> Obs
    sample a <- Normal(0.0, 1.0)
    observe y : Obs <- Normal(a, 1.0)
    return a
export p
"""
    model, late = loads(text).morphism, loads(text.replace("FinSet 60", "FinSet n")).morphism
    data = {"y": torch.linspace(-1.0, 1.0, 80)}
    words = r"`y` has 80 values, and Obs, .* 60 elements: all 80 .* `object Obs : FinSet n`"
    with pytest.warns(QuiversWarning, match=words) as caught:
        MCMC(NUTSKernel(), 2, 2, num_chains=1).run(model, None, data)
    assert len(caught) == 1
    with pytest.warns(QuiversWarning, match=words):
        found = model.log_density(None, {"a": 0.3, **data})
    assert torch.equal(found, late.log_density(None, {"a": 0.3, **data}))
    model.log_density(None, {"a": 0.3, "y": data["y"][:60]})  # says nothing


def test_sizes_that_no_data_fix_can_be_fixed_by_hand() -> None:
    late = loads("""object Obs : FinSet n
object R1 : Real 1
morphism f : R1 -> R1 [role=kernel] ~ Normal
program p : Obs -> Obs
    sample a : R1 <- Normal(0.0, 1.0)
    sample b <- f(a)
    observe y : Obs <- Normal(b, 1.0)
    return a
export p
""").morphism
    with pytest.raises(UserError, match=r"`model.with_sizes\(n=100\)`.*sizes=\{'n': 100\}"):
        late.trace(None)
    fixed = late.with_sizes(n=7)
    assert fixed.trace(None).sites["y"].value.shape == (7,)
    assert [each.data_ptr() for each in fixed.parameters()] == [
        each.data_ptr() for each in late.parameters()
    ]
    draws = Predictive(late, num_samples=5, sizes={"n": 9})(None)
    assert draws["y"].shape == (5, 9)
    with pytest.raises(UserError, match="has length 3, but the size `n` is already 7"):
        fixed.log_density(None, {"y": [0.1, 0.2, 0.3]})
    for sizes, words in (
        ({"m": 3}, "`m` is no late size of the program; its late sizes: n"),
        ({"n": 0}, "the size `n` is 0: a size is a whole number, at least 1"),
        ({"n": 2.0}, "the size `n` is 2.0: a size is a whole number"),
    ):
        with pytest.raises(UserError, match=words):
            Predictive(late, num_samples=2, sizes=sizes)
    with pytest.raises(UserError, match="fixed at 7 already, not 8"):
        fixed.with_sizes(n=8)


def test_good_data_are_fitted_in_any_of_their_forms() -> None:
    forms: list[dict[str, Any]] = [
        GOOD,
        {key: torch.as_tensor(np.asarray(value)) for key, value in GOOD.items()},
        {**GOOD, "x": np.arange(5.0)[:, None], "y": np.zeros((5, 1)), "k": [1.0, 2, 0, 4, 1]},
        {**GOOD, "k": pd.Series([1, 2, 0, 4, 1]), "x": pd.Series(np.arange(5.0))},
    ]  # fmt: skip
    values = {"a": torch.zeros(3), "b": 0.5}
    found = [float(MODEL.log_joint(None, {**form, **values})) for form in forms]
    assert found == [found[0]] * 4


INSIDE = """object R1 : Real 1
program sub(u) : R1 -> R1
    sample n <- Normal(u, 1.0)
    observe seen <- Normal(n, 1.0)
    return n
program p(a) : R1 -> R1
    sample m <- sub(a)
    observe y <- Normal(m, 1.0)
    return m
export p
"""


def test_observes_of_programs_inside_need_their_values_by_path() -> None:
    model = loads(INSIDE).morphism
    x, y = torch.zeros(3, 1), torch.zeros(3)
    with pytest.raises(UserError, match="the observe site `m/seen` has no value"):
        model.target(x, {"y": y})
    assert model.target(x, {"y": y}, missing={"m/seen"}).layout.dim == 6
    assert model.target(x, {"y": y, "m/seen": y}).layout.dim == 3


def test_a_class_drawn_by_a_kernel_is_summed_as_in_the_composition() -> None:
    head = (
        "object R : Real 2\nobject K : FinSet 3\nmorphism c : R -> K [role=kernel] ~ Categorical\n"
        "morphism e : K -> R [role=embed]\nprogram p(a) : R -> R\n"
    )
    steps = "    sample k <- c(a)\n    observe y <- e(k)\n    return k\nexport p\n"
    apart = loads(head + steps).morphism
    text = head.replace("program", "let both = c >> e\nprogram")
    composed = loads(text + "    observe y <- both(a)\n    return y\nexport p\n").morphism
    stored = apart.state_dict()
    composed.load_state_dict({f"both/{key}": value for key, value in stored.items()})
    x, y = torch.randn(4, 2), torch.randn(4, 2)
    q = torch.zeros(0)
    one = apart.target(x, {"y": y}, latents="declared").terms(q).row
    other = composed.target(x, {"y": y}, latents="declared").terms(q).row
    assert one.shape == (4,)
    torch.testing.assert_close(one, other)
