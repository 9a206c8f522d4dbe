"""What Stan, PyMC and numpy call things, so that a message can say what they are called here."""

from collections.abc import Mapping

from quivers_nb.check.builtins import BUILTINS
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family

FAMILY_NAMES: Mapping[str, str] = {
    "doubleexponential": "Laplace",
    "gaussian": "Normal",
    "invgamma": "InverseGamma",
    "invwishart": "InverseWishart",
    "lkj": "LKJCholesky",
    "lkjcholeskycov": "LKJCholesky",
    "lkjcorr": "LKJCholesky",
    "lkjcorrcholesky": "LKJCholesky",
    "multinormal": "MultivariateNormal",
    "mvn": "MultivariateNormal",
    "mvnormal": "MultivariateNormal",
    "negbinomial": "NegativeBinomial",
    "negbinomial2": "NegativeBinomial",
    "orderedlogit": "OrderedLogistic",
    "stdnormal": "Normal",
}
"""By their names in lower case without underscores."""

FUNCTIONS: Mapping[str, str] = {
    "expit": "sigmoid(x)",
    "fabs": "abs(x)",
    "gammaln": "lgamma(x)",
    "inv": "reciprocal(x)",
    "inv_logit": "sigmoid(x)",
    "invlogit": "sigmoid(x)",
    "ln": "log(x)",
    "logistic": "sigmoid(x)",
    "logit": "log(p) - log1p(-p)",
    "power": "pow(a, b)",
}

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "alpha": ("concentration", "concentration1"),
    "beta": ("rate", "concentration0"),
    "eta": ("concentration",),
    "lam": ("rate",),
    "mean": ("loc",),
    "mu": ("loc",),
    "n": ("total_count",),
    "nu": ("df",),
    "p": ("probs",),
    "sd": ("scale",),
    "sigma": ("scale",),
    "std": ("scale",),
}
"""Where a family has one of these, it is the one that is meant."""


def family_meant(name: str) -> str | None:
    """The family that other systems call ``name``."""
    return FAMILY_NAMES.get(name.casefold().replace("_", ""))


def function_hint(name: str) -> str | None:
    """A way to write what other systems call ``name``, or the nearest name here."""
    if name in FUNCTIONS:
        return f"write `{FUNCTIONS[name]}`"
    near = nearest(name, BUILTINS)
    return None if near is None else f"did you mean `{near}`?"


def parameter_hint(name: str, family: Family) -> str | None:
    """The parameter of ``family`` that other systems call ``name``, or the nearest one."""
    logits = f"{family.name}Logit"
    if name == "logits" and logits in FAMILIES:
        return f"write `{logits}(…)`"
    if name in {"shape", "size", "dims"}:
        return "several values are a plate: `sample v : A <- …`"
    names = [each.name for each in family.parameters]
    meant = [each for each in PARAMETERS.get(name, ()) if each in names]
    near = meant[0] if meant else nearest(name, names)
    return None if near is None else f"did you mean `{near}`?"
