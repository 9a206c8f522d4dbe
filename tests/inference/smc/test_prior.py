"""Laws of a target that knows its prior: draws, their density, and what is left for the data.

Size: one importance estimate per program at 4.5 standard errors, 1.1e-4 in all. Power: a mutant
that leaves the density of the data in the prior is seen in each.
"""

from dataclasses import dataclass, field
from math import log, pi
from typing import Any

import pytest
import torch
from torch import Tensor

from quivers_nb.dsl import loads
from quivers_nb.inference import bayesian_lift_parameters, condition
from quivers_nb.inference.model import Drawable, NoPrior

F64 = torch.float64
COUNT, Z = 8000, 4.5


@dataclass(frozen=True)
class Case:
    """A program, its input and data."""

    text: str
    data: dict[str, Tensor]
    x: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def target(self) -> Any:
        model = loads(self.text).morphism
        return model.target(self.x, self.data, latents="all", dtype=F64, **self.options)


HEAD = "object N : FinSet 4\nobject K : FinSet 2\nobject R : Real 1\n"
Y = torch.tensor([0.4, -1.2, 2.1, 0.3], dtype=F64)


def program(steps: str, head: str = "", result: str = "a") -> str:
    body = "".join(f"    {line}\n" for line in steps.strip().splitlines())
    return f"{HEAD}{head}program p : N -> N\n{body}    return {result}\nexport p\n"


CASES = {
    "plate": Case(
        program("""sample a <- LogNormal(0.0, 0.2)
sample b : N <- Normal(0.0, a)
observe y : N <- Normal(b, 0.5)"""),
        {"y": Y},
    ),
    "simplex": Case(
        program("""sample a <- Dirichlet([2.0, 3.0, 4.0])
sample b <- Beta(2.0, 2.0)
let m = a[0] + b
observe y : N <- Normal(m, 0.5)"""),
        {"y": Y},
    ),
    "score": Case(
        program("""sample a <- Normal(0.0, 1.0)
observe y : N <- Normal(a, 0.5)
score s = 0.0 - 3.0 * a * a"""),
        {"y": Y},
    ),
    "summed site": Case(
        program("""sample a : K <- Normal(0.0, 1.0)
sample w <- Dirichlet([1.0, 1.0])
marginalize z : N <- Categorical(w)
    observe y : N <- Normal(a[z], 0.5)"""),
        {"y": Y},
    ),
    "drawn given a summed site": Case(
        program(
            """let m = factor k : K in { 0 -> 0.0 - 0.7, 1 -> 0.7 }
marginalize z : N <- Categorical([0.3, 0.7])
    let c = m[z]
    sample a : N <- Normal(c, 0.8)
    observe y : N <- Normal(a, 0.5)
sample b <- Normal(0.0, 1.0)""",
            result="b",
        ),
        {"y": Y},
    ),
    "given latent": Case(
        program("""sample c <- Normal(0.0, 1.0)
sample a <- Normal(c, 0.5)
observe y : N <- Normal(a, 0.5)"""),
        {"y": Y, "a": torch.tensor(1.5, dtype=F64)},
    ),
    "missing data": Case(
        program("""sample a <- Normal(0.0, 1.0)
observe y : N <- Normal(a, 0.5)
observe u <- Normal(a, 2.0)"""),
        {"y": Y},
        options={"missing": ("u",)},
    ),
    "mixture": Case(
        program("""sample a <- Mixture([0.3, 0.7], [Normal(-3.0, 0.5), Normal(1.0, 1.0)])
observe y : N <- Normal(a, 0.5)"""),
        {"y": Y},
    ),
}


def narrow(q: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale of a normal density with lighter tails than what ``q`` was drawn from."""
    return q.median(0).values, 0.3 * (q.quantile(0.75, 0) - q.quantile(0.25, 0))


def mass(q: Tensor, log_density: Tensor) -> tuple[float, float]:
    """E[phi(q) / p(q)] over draws of p, for a normalised phi: 1 if p is their density."""
    center, scale = narrow(q)
    squares = ((q - center) / scale).square() + 2.0 * scale.log() + log(2.0 * pi)
    ratio = (-0.5 * squares.sum(-1) - log_density).exp()
    return float(ratio.mean()), float(ratio.std()) / COUNT**0.5


@pytest.mark.stats
@pytest.mark.parametrize("name", CASES)
def test_the_prior_is_the_density_of_its_draws(name: str) -> None:
    target = CASES[name].target()
    assert isinstance(target, Drawable)
    q = target.draw_prior(COUNT, torch.Generator().manual_seed(1))
    assert q.shape == (COUNT, target.layout.dim)
    assert q.dtype is F64
    with torch.no_grad():
        mean, error = mass(q, target.prior_terms(q).total())
        mutant, _ = mass(q, target.terms(q).total())
    assert abs(mean - 1.0) < Z * error < 0.3
    assert abs(mutant - 1.0) > 0.5


CHAINS = {
    "integrated": """\
object R : Real 1
program step(u, w, level) : R * R * R -> R
    sample a <- Normal(level, 0.7)
    let seen = a * u + w
    observe y <- Normal(seen, 0.4)
    return a
let chain = scan(step)
program p(u) : R -> R
    sample w : 1 <- Normal(0.0, 1.0)
    sample last <- chain(u, w)
    return w
export p
""",
    "summed": """\
object R : Real 1
object K : FinSet 2
morphism trans : K -> K [role=kernel]
program step(u, w, k) : R * R * K -> K
    sample s <- trans(k)
    let mu = s + u * w
    observe y <- Normal(mu, 0.8)
    return s
let chain = scan(step)
program p(u) : R -> R
    sample w : 1 <- Normal(0.0, 1.0)
    sample last <- chain(u, w)
    return w
export p
""",
}


@pytest.mark.parametrize("kind", CHAINS)
def test_a_chain_whose_states_are_gone_adds_nothing_to_the_prior(kind: str) -> None:
    """Its likelihood is that of the data: what it adds to the prior is the log of 1."""
    model = loads(CHAINS[kind]).morphism
    u = torch.linspace(-1.0, 1.0, 6, dtype=F64).reshape(1, 6, 1)
    y = torch.linspace(0.0, 1.0, 6, dtype=F64).reshape(1, 6)
    target = model.target(u, {"last/chain/[t]/step/y": y}, dtype=F64)
    assert [coordinate.name for coordinate in target.layout] == ["w"]
    q = target.draw_prior(5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        prior = target.prior_terms(q).total()
        assert not torch.allclose(prior, target.terms(q).total())
    want = -0.5 * (q.square() + log(2.0 * pi)).sum(-1)
    torch.testing.assert_close(prior, want, rtol=0.0, atol=1e-9)


def test_lifted_weights_are_drawn_from_their_prior_and_sites_given_them() -> None:
    text = """\
object N : FinSet 4
object R : Real 1
morphism f : R -> R [role=kernel] ~ Normal
program p(u) : R -> R
    sample h <- f(u)
    observe y <- Normal(h, 0.5)
    return h
export p
"""
    x = torch.linspace(-1.0, 1.0, 5, dtype=F64).reshape(5, 1)
    data = {"y": torch.zeros(5, 1, dtype=F64)}
    lifted, x, data = bayesian_lift_parameters(loads(text).morphism, x, data, 0.7)
    target = lifted.target(x, data, dtype=F64)
    q = target.draw_prior(50, torch.Generator().manual_seed(1))
    weights = target.weights.numel()
    assert weights > 100
    assert abs(float(q[:, :weights].std()) / 0.7 - 1.0) < 4.5 / (2 * 50 * weights) ** 0.5
    assert abs(float(q[:, weights:].std()) - 1.0) < 0.3
    with torch.no_grad():
        prior, joint = target.prior_terms(q).total(), target.terms(q).total()
    spread = torch.ones(q.shape[-1], dtype=F64)
    spread[:weights] = 0.7
    want = -0.5 * ((q / spread).square() + log(2.0 * pi)).sum(-1) - spread.log().sum()
    torch.testing.assert_close(prior, want, rtol=0.0, atol=1e-9)
    h = target.constrain(q)["h"]
    seen = -0.5 * (h / 0.5).square() - log(0.5) - 0.5 * log(2.0 * pi)
    torch.testing.assert_close(joint - prior, seen.reshape(50, -1).sum(-1), rtol=1e-9, atol=1e-9)


def test_a_clamped_model_draws_what_is_left() -> None:
    """Its clamped latent is data: a likelihood of what it was drawn from."""
    model = loads(CASES["given latent"].text).morphism
    clamped = condition(model, {"a": torch.tensor(1.5, dtype=F64)})
    ours = clamped.target(None, {"y": Y}, dtype=F64)
    theirs = CASES["given latent"].target()
    q = torch.linspace(-2.0, 2.0, 5, dtype=F64)[:, None]
    torch.testing.assert_close(ours.prior_terms(q).total(), theirs.prior_terms(q).total())
    torch.testing.assert_close(ours.terms(q).total(), theirs.terms(q).total())


def test_an_improper_prior_is_named() -> None:
    model = loads(program("sample a <- HalfFlat()\nobserve y : N <- Normal(0.0, a)")).morphism
    target = model.target(None, {"y": Y}, dtype=F64)
    with pytest.raises(NoPrior, match=r"`a` is HalfFlat.*Q0803"):
        target.draw_prior(3, torch.Generator().manual_seed(0))


def test_a_site_of_a_grouped_block_is_named() -> None:
    """Its draw would be one for each group, at the class of the group."""
    text = """\
object N : FinSet 4
object G : FinSet 2
object K : FinSet 2
program p : N -> N
    sample w <- Dirichlet([1.0, 1.0])
    marginalize z : K <- Categorical(w) [over=G]
        sample a : G <- Normal(0.0, 1.0)
        observe y : N <- Normal(a[g], 0.5) [via=g]
    return w
export p
"""
    model = loads(text).morphism
    target = model.target(None, {"y": Y, "g": torch.tensor([0, 1, 0, 1])}, dtype=F64)
    with pytest.raises(NoPrior, match=r"`a` stands in a grouped `marginalize`.*Q0803"):
        target.draw_prior(3, torch.Generator().manual_seed(0))
