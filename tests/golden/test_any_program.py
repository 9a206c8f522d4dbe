"""Programs with swapped names, numbers, functions and families: our errors, or a run that adds up.

What compiles is traced, scored and opened; only `UserError` may come out, and a trace must have the
log joint density of its own values.
"""

import random
import re
import warnings
from contextlib import suppress
from typing import Any

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import CompileError, ParseError, loads
from tests.oracles.programs import CASES
from tests.support.oracles import Case, tensor, tensors

TOKEN = re.compile(r"[A-Za-z_]\w*|\d+\.\d+|\d+|[^\s\w]+|\s+")
FUNCTIONS = (
    "exp", "sum", "mean", "cumsum", "sqrt", "log", "square", "max", "logsumexp", "softmax", "abs",
    "norm", "var", "argmax", "cumprod", "sort", "layer_norm", "lgamma", "relu", "cholesky", "diag",
)  # fmt: skip
FAMILIES = (
    "Normal", "Gamma", "Beta", "HalfNormal", "Uniform", "StudentT", "Poisson", "Bernoulli",
    "Categorical", "Dirichlet", "MultivariateNormal", "Exponential", "LogNormal", "Flat", "Cauchy",
    "BinomialLogit", "Laplace", "Weibull", "NegativeBinomial",
)  # fmt: skip
NUMBERS = ("0", "1", "2", "3", "0.0", "1.0", "-1.0", "2.5", "100")
SEEDS = range(12)
PER_SEED = 60


def mutate(source: str, rng: random.Random) -> str:
    tokens = TOKEN.findall(source)
    for _ in range(rng.choice([1, 1, 2])):
        words = [i for i, t in enumerate(tokens) if t[0].isalpha()]
        pools = {
            "word": (words, [tokens[i] for i in words]),
            "number": ([i for i, t in enumerate(tokens) if t[0].isdigit()], NUMBERS),
            "function": ([i for i in words if tokens[i] in FUNCTIONS], FUNCTIONS),
            "family": ([i for i in words if tokens[i] in FAMILIES], FAMILIES),
        }
        places, choices = pools[rng.choice(list(pools))]
        if places:
            tokens[rng.choice(places)] = rng.choice(choices)
    return "".join(tokens)


def compiled_or_refused(source: str, case: Case) -> Any:
    sizes = dict(case.sizes) if "FinSet n\n" in source else None
    try:
        return loads(source, sizes=sizes).morphism
    except (ParseError, CompileError):
        return None


def exercise(model: Any, case: Case) -> None:
    """Trace, score, open; whatever is refused must be refused by us."""
    x, values = None if case.x is None else tensor(case.x), tensors(case.values)
    latent = {line.split()[1] for line in case.source.splitlines() if "sample" in line.split()[:1]}
    data = {n: v for n, v in values.items() if n not in latent and "/" not in n and "$" not in n}
    generator = torch.Generator().manual_seed(1)
    for run in (
        lambda: adds_up(model, x, data, model.trace(x, data, generator=generator)),
        lambda: model.log_joint(x, values),
        lambda: opened(model, x, data),
    ):
        with suppress(UserError):
            run()


def opened(model: Any, x: Any, data: Any) -> None:
    target = model.target(x, data, dtype=torch.float64)
    at = torch.zeros(target.layout.dim, dtype=torch.float64)
    assert target.terms(at).total().shape == ()


def adds_up(model: Any, x: Any, data: Any, run: Any) -> None:
    drawn = {
        name: site.value
        for sites in (run.sites, run.internal_sites)
        for name, site in sites.items()
        if not site.is_deterministic
    }
    again = model.log_joint(x, data | drawn)
    assert again.shape == run.log_joint.shape
    assert again.shape == ((len(x),) if x is not None else ()), "one number per row"
    torch.testing.assert_close(
        again.double(), run.log_joint.double(), rtol=1e-3, atol=1e-2, equal_nan=True
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_mutated_programs_are_refused_by_us_or_add_up(seed: int) -> None:
    rng = random.Random(seed)
    ran = 0
    for _ in range(PER_SEED):
        case = rng.choice(CASES)
        source = mutate(case.source, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", ".*over which it is observed")  # data stay as long
            try:
                model = compiled_or_refused(source, case)
                if model is not None:
                    exercise(model, case)
                    ran += 1
            except Exception as error:
                error.add_note(source)
                raise
    assert ran > PER_SEED // 10, "the mutations leave enough programs alive"


ESCAPED = {
    "a Dirichlet over arguments of different shapes": (
        "object S : FinSet 3\ndata se : S -> Real 1\nprogram p : S -> S\n"
        "    sample t <- Normal(0.0, 1.0)\n    observe y : S <- Dirichlet(t, se)\n    return t\n"
        "export p\n"
    ),
    "a step after return that starts with a wrong word": (
        "object S : FinSet 3\nprogram p : S -> S\n    return z\n    let a = 1.0\n"
        "    S y : S <- Normal(a, 1.0)\n    let z = 1.0\nexport p\n"
    ),
    "declared data returned": (
        "object S : FinSet 3\ndata se : S -> Real 1\nprogram p : S -> S\n    let a = se\n"
        "    return se\nexport p\n"
    ),
    "a covariance with a vector for its amplitude": (
        "object S : FinSet 3\nprogram p : S -> S\n    sample a : S <- Normal(0.0, 1.0)\n"
        "    let k = cov_exp_quad(se, a, 1.0)\n    let L = cholesky(k)\n    let m = 0.0 * se\n"
        "    observe y <- MultivariateNormal(m, L)\n    return a\nexport p\n"
    ),
    "a class per row with a vector of probabilities": (
        "program p(a) : Real 1 -> Real 1\n    let q = 0.1 * se\n    marginalize z <- Bernoulli(q)\n"
        "        let m = a + z\n        observe w <- Normal(m, 1.0)\n    return q\nexport p\n"
    ),
    "probabilities of too few groups": (
        "object S : FinSet 3\nobject G : FinSet 9\nprogram p : S -> S\n    let q = 1.0 * table\n"
        "    marginalize z : S <- Categorical(q) [over=G]\n        let m = se[z]\n"
        "        observe y : S <- Normal(m, 1.0) [via=of]\n    return q\nexport p\n"
    ),
    "a factor of a vector": (
        "object S : FinSet 3\nprogram p : S -> S\n    sample v : S <- Normal(0.0, 1.0)\n"
        "    let L = cholesky(v)\n    return L\nexport p\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", ESCAPED.values(), ids=list(ESCAPED))
def test_what_once_escaped(source: str) -> None:
    values = {
        "se": [1.0, 2.0, 3.0],
        "y": [0.2, 0.3, 0.5],
        "w": [0.1, 0.2],
        "of": [0, 1, 2],
        "table": [[0.2, 0.3, 0.5]] * 4,
    }
    used = {name: value for name, value in values.items() if re.search(rf"\b{name}\b", source)}
    x = [[0.3], [0.4]] if "(a)" in source else None
    case = Case("", source, used, 0.0, x=x)
    model = compiled_or_refused(source, case)
    if model is not None:
        exercise(model, case)
