"""What a value is decides what is done with it: probabilities or logits (R7), own axes (R11)."""

import re
import warnings

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import CompileError, loads
from tests.support.oracles import compiled, normal, tensor, tensors

P = np.array([0.2, 0.5, 0.3])
T = np.array([0.4, -1.0, 2.0])
Z = np.array([0, 2, 1, 1])
HEAD = """\
object Obs : FinSet 4
object K : FinSet 3
object G : FinSet 2
data p : G -> Simplex 3
"""


def log_mass(let: str, use: str = "q", values: object = None) -> float:
    """The log joint of ``observe z : Obs <- Categorical(use)`` after ``let q = let``."""
    source = f"""\
{HEAD}program c : Obs -> Obs
    sample w <- Normal(0.0, 1.0)
    let q = {let}
    observe z : Obs <- {use if "(" in use else f"Categorical({use})"}
    return q
export c
"""
    given = {"z": Z, "w": 0.0, **(values or {})}
    return compiled(source).log_joint(None, tensors(given)).item() - normal(0, 0, 1).item()


PROBABILITIES = {
    "softmax": ("softmax(t)", softmax(T)),
    "softmin": ("softmin(t)", softmax(-T)),
    "a gather of data declared so": ("p[0]", P),
    "where between simplices": ("where(lt(a, 1.0), p[0], softmax(t))", P),
}
LOGITS = {
    "a let": ("1.0 * t", T),
    "the logarithm of a simplex": ("log(p[0])", np.log(P)),
    "a product with a simplex": ("2.0 * p[0]", 2 * P),
    "a softmax that was added to": ("softmax(t) + 0.5", softmax(T) + 0.5),
}


def given(let: str) -> dict[str, object]:
    """The host data that an expression reads."""
    table = {"t": T, "p": np.stack([P, P[::-1]]), "a": 0.5}
    return {name: value for name, value in table.items() if re.search(rf"\b{name}\b", let)}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_simplex_typed_values_are_probabilities(name: str) -> None:
    let, mass = PROBABILITIES[name]
    assert log_mass(let, values=given(let)) == pytest.approx(np.log(mass[Z]).sum(), rel=1e-10)


def test_a_factor_and_a_gather_keep_the_type() -> None:
    source = f"""\
{HEAD}program c : Obs -> Obs
    sample w <- Normal(0.0, 1.0)
    let table = factor g : G in softmax(t[g])
    let q = table[of]
    observe z : Obs <- Categorical(q)
    return q
export c
"""
    t, of = np.stack([T, -T]), np.array([0, 1, 1, 0])
    expected = log_softmax(t, -1)[of, Z].sum() + normal(0, 0, 1)
    got = compiled(source).log_joint(None, tensors({"t": t, "of": of, "z": Z, "w": 0.0})).item()
    assert got == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", LOGITS)
def test_everything_else_is_logits(name: str) -> None:
    let, eta = LOGITS[name]
    assert log_mass(let, values=given(let)) == pytest.approx(log_softmax(eta)[Z].sum(), rel=1e-10)


def test_two_families_say_it_outright() -> None:
    got = log_mass("1.0 * t", "CategoricalLogit(q)", {"t": T})
    assert got == pytest.approx(log_softmax(T)[Z].sum(), rel=1e-10)
    got = log_mass("1.0 * t", "CategoricalProbs(q)", {"t": P})
    assert got == pytest.approx(np.log(P[Z]).sum(), rel=1e-6)


def test_untyped_logits_that_look_like_probabilities_are_warned_about() -> None:
    with pytest.warns(UserWarning, match="CategoricalProbs|probabilities") as caught:
        log_mass("1.0 * t", values={"t": P})
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_mass("1.0 * t", values={"t": T})


def test_untyped_probabilities_that_are_none_are_refused_with_the_other_family() -> None:
    source = f"""\
{HEAD}program c : Obs -> Obs
    let q = 1.0 * t
    marginalize c : K <- Categorical(q) [over=G]
        let m = 1.0 * c
        observe y : Obs <- Normal(m, 1.0) [via=of]
    return q
export c
"""
    values = tensors({"t": T, "y": np.zeros(4), "of": np.array([0, 1, 1, 0])})
    with pytest.raises(UserError) as caught:
        loads(source).morphism.log_joint(None, values)
    assert "CategoricalLogit" in str(caught.value)


AXES = """\
object A : FinSet 3
object B : FinSet 3
program axes : A -> A
    sample a : A <- Normal(0.0, 1.0)
    sample b : B <- Normal(0.0, 1.0)
    let c = {}
    return c
export axes
"""


def test_axes_of_two_objects_are_never_aligned_though_equally_long() -> None:
    with pytest.raises((CompileError, UserError)) as caught:
        loads(AXES.format("a + b")).morphism.trace(None)
    said = str(caught.value)
    assert "A" in said
    assert "B" in said
    assert "factor" in said
    outer = loads(AXES.format("factor i : A, j : B in a[i] + b[j]")).morphism
    assert tuple(outer.trace(None).sites["c"].value.shape) == (3, 3)


def test_a_reduction_of_one_number_is_refused() -> None:
    with pytest.raises((CompileError, UserError)) as caught:
        loads(AXES.format("sum(sum(a))")).morphism.trace(None)
    assert "sum" in str(caught.value)


def test_a_score_that_is_not_one_number_is_refused() -> None:
    source = AXES.format("a").replace("let c = a", "score c = a")
    with pytest.raises((CompileError, UserError)) as caught:
        loads(source).morphism.log_joint(None, tensors({"a": np.zeros(3), "b": np.zeros(3)}))
    assert "c" in str(caught.value)


READS = """\
object R1 : Real 1
program reads(x) : R1 -> R1
    sample s{} <- HalfNormal(1.0){}
    let mu = x * {}
    observe y <- Normal(mu, s)
    return s
export reads
"""


def warned(source: str) -> list[str]:
    return [d.message for d in loads(source).checked.warnings]


def test_a_site_per_row_that_could_be_shared_is_warned_about() -> None:
    (message,) = warned(READS.format("", "", "2.0"))
    assert "`s`" in message
    assert ": 1" in message
    assert not warned(READS.format(" : 1", "", "2.0"))
    assert not warned(READS.format("", " [per=row]", "2.0"))


def test_undeclared_data_of_batch_length_beside_a_row_value_is_warned_about() -> None:
    """Four numbers beside four rows are own axes (R11): a (4, 4) table, most likely not meant."""
    model = compiled(READS.format(" : 1", "", "w").replace("observe y <-", "let t = sum(mu)\n    "
                     "observe y <-").replace("Normal(mu", "Normal(t"))  # fmt: skip
    x, w, y = np.arange(4.0)[:, None], np.array([1.0, 2.0, 0.5, 1.5]), np.zeros(4)
    with pytest.warns(UserWarning, match="`w`"):
        got = model.log_joint(tensor(x), tensors({"s": [0.7], "w": w, "y": y}))
    half = np.log(2) + normal(0.7, 0, 1)
    expected = normal(y, (x * w).sum(-1), 0.7) + half
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-10)
