"""The names of other systems lead to those of QVR: every target exists, and messages say it."""

import pytest

from quivers_nb.check.builtins import BUILTINS
from quivers_nb.check.elsewhere import FAMILY_NAMES, FUNCTIONS, PARAMETERS, family_meant
from quivers_nb.diagnostics.errors import LanguageError
from quivers_nb.dsl import loads
from quivers_nb.spaces.families import FAMILIES


def _hints(line: str) -> list[str | None]:
    head = "object A : FinSet 2\nprogram p : A -> A\n    sample a <- Normal(0.0, 1.0)\n"
    with pytest.raises(LanguageError) as caught:
        loads(f"{head}    {line}\n    return a\nexport p\n")
    return [each.hint for each in caught.value.diagnostics]


def test_what_is_proposed_exists_and_what_it_replaces_does_not():
    assert set(FAMILY_NAMES.values()) <= set(FAMILIES)
    assert not {family_meant(name) for name in FAMILIES} - {None}
    assert {text.split("(")[0] for text in FUNCTIONS.values()} <= set(BUILTINS)
    assert not set(FUNCTIONS) & set(BUILTINS)
    known = {each.name for family in FAMILIES.values() for each in family.parameters}
    assert {name for meant in PARAMETERS.values() for name in meant} <= known


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("sample b <- MvNormal(a, 1.0)", "write `MultivariateNormal`"),
        ("sample b <- neg_binomial_2(a, 1.0)", "write `NegativeBinomial`"),
        ("sample b <- LKJ(2.0)", "write `LKJCholesky`"),
        ("sample b <- Norml(0.0, 1.0)", "did you mean `Normal`?"),
        ("sample b <- Normal(0.0, sigma=1.0)", "did you mean `scale`?"),
        ("sample b <- Gamma(alpha=1.0, rate=1.0)", "did you mean `concentration`?"),
        ("sample b <- Bernoulli(logits=a)", "write `BernoulliLogit(…)`"),
        ("sample b <- Normal(0.0)", "write `Normal(loc, scale)`"),
        ("let b = inv_logit(a)", "write `sigmoid(x)`"),
        ("let b = logit(a)", "write `log(p) - log1p(-p)`"),
        ("let b = sigmod(a)", "did you mean `sigmoid`?"),
        ("let b = np.exp(a)", "functions stand alone: write `exp(…)`"),
    ],
)
def test_a_message_says_what_it_is_called_here(line: str, hint: str):
    assert hint in _hints(line)


def test_a_morphism_of_that_name_that_comes_later_is_the_one_meant():
    text = "object A : FinSet 2\nprogram p : A -> A\n    sample a <- lkj\n    return a\n"
    with pytest.raises(LanguageError) as caught:
        loads(text + "morphism lkj : A -> A [role=kernel]\nexport p\n")
    assert "is declared at line 5" in str(caught.value.diagnostics[0].hint)
