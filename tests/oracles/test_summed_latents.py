"""Finite latents that nobody gives are summed in fits (R3): over every term that depends on them.

The oracle writes the joint density of each value of the latents and adds them up.
"""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import bernoulli, norm

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference import ELBO, MCMC, SVI, AutoNormalGuide, NUTSKernel, infer_discrete
from tests.support.oracles import compiled, tensor, tensors

P = np.array([0.2, 0.5, 0.3])
ROWS = """\
object R1 : Real 1
object K : FinSet 3
program mix(a) : R1 -> R1
    sample mu : K <- Normal(0.0, 2.0)
    let p = softmax(t)
    sample z <- Categorical(p)
    let m = mu[z] + a
    observe y <- Normal(m, 0.5)
    observe w <- Normal(m, 1.5)
    return mu
export mix
"""
TWO = """\
object Obs : FinSet 4
program two : Obs -> Obs
    sample mu <- Normal(0.0, 1.0)
    sample g <- Bernoulli(0.3)
    let q = 0.2 + 0.5 * g
    sample h <- Bernoulli(q)
    let m = mu + 2.0 * g - h
    sample v <- Normal(m, 1.0)
    observe y : Obs <- Normal(v, 1.0)
    observe z <- Normal(m, 2.0)
    return mu
export two
"""
INNER = """\
program sub : 1 -> 1
    sample g <- Bernoulli(0.3)
    let m = 3.0 * g
    return m
program outer : 1 -> 1
    sample mu <- Normal(0.0, 1.0)
    sample u <- sub
    let m = mu + u
    observe y <- Normal(m, 1.0)
    return mu
export outer
"""
A, Y, W = np.array([0.5, -1.0, 2.0]), np.array([1.0, 0.3, -0.7]), np.array([0.1, 0.2, 2.5])
ROW_DATA = {"y": Y, "w": W, "t": np.log(P)}
TWO_DATA = {"y": np.array([0.5, 1.0, -0.3, 2.0]), "z": 0.7}


def rows_by_class(mu: np.ndarray) -> np.ndarray:  # (K,) -> (rows, K), each class's joint
    m = mu + A[:, None]
    return np.log(P) + norm.logpdf(Y[:, None], m, 0.5) + norm.logpdf(W[:, None], m, 1.5)


def two_by_values(mu: float, v: float) -> np.ndarray:  # -> (g, h)
    total = np.empty((2, 2))
    for g, h in product((0, 1), repeat=2):
        m = mu + 2.0 * g - h
        total[g, h] = bernoulli.logpmf(g, 0.3) + bernoulli.logpmf(h, 0.2 + 0.5 * g)
        total[g, h] += norm.logpdf(v, m) + norm.logpdf(TWO_DATA["z"], m, 2.0)
    return total


def test_a_latent_of_each_row_is_summed_in_each_row() -> None:
    target = compiled(ROWS).target(tensor(A[:, None]), tensors(ROW_DATA), dtype=torch.float64)
    assert [c.name for c in target.layout] == ["mu"]
    for mu in np.random.default_rng(0).normal(size=(3, 3)):
        wanted = logsumexp(rows_by_class(mu), axis=1).sum() + norm.logpdf(mu, 0, 2).sum()
        assert target.terms(tensor(mu)).total().item() == pytest.approx(wanted, rel=1e-12)


def test_latents_that_depend_on_each_other_multiply_out_and_shared_terms_count_once() -> None:
    target = compiled(TWO).target(None, tensors(TWO_DATA), dtype=torch.float64)
    points = np.random.default_rng(1).normal(size=(5, 2))
    found = target.terms(tensor(points)).total().detach().numpy()
    for (mu, v), one in zip(points, found, strict=True):
        wanted = norm.logpdf(mu) + norm.logpdf(TWO_DATA["y"], v).sum()
        assert one == pytest.approx(wanted + logsumexp(two_by_values(mu, v)), rel=1e-12)


def test_the_latents_of_a_program_within_are_summed() -> None:
    target = compiled(INNER).target(None, tensors({"y": 1.0}), dtype=torch.float64)
    wanted = logsumexp([np.log(0.7) + norm.logpdf(1.0, 0.4), np.log(0.3) + norm.logpdf(1.0, 3.4)])
    found = target.terms(tensor([0.4])).total().item()
    assert found == pytest.approx(wanted + norm.logpdf(0.4), rel=1e-12)


def test_their_probabilities_at_draws_are_exact() -> None:
    mu = np.random.default_rng(2).normal(size=(4, 3))
    found = infer_discrete(
        compiled(ROWS), tensor(A[:, None]), tensors(ROW_DATA), {"mu": tensor(mu)}
    )
    for draw, each in zip(mu, found["z"][0], strict=True):
        joint = rows_by_class(draw)
        wanted = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        np.testing.assert_allclose(each.numpy(), wanted, rtol=1e-10)
    two = infer_discrete(
        compiled(TWO), None, tensors(TWO_DATA), {"mu": tensor([0.3]), "v": tensor([1.1])}
    )
    joint = np.exp(two_by_values(0.3, 1.1))
    np.testing.assert_allclose(two["g"][0, 0], joint.sum(1) / joint.sum(), rtol=1e-10)
    np.testing.assert_allclose(two["h"][0, 0], joint.sum(0) / joint.sum(), rtol=1e-10)


def test_samplers_and_guides_never_see_them() -> None:
    model, data = compiled(TWO), tensors(TWO_DATA)
    result = MCMC(NUTSKernel(), 50, 50, num_chains=1, seed=1).run(model, None, data)
    assert set(result.samples) == {"mu", "v"}
    guide = AutoNormalGuide(model, observed_names=set(data))
    svi = SVI(model, guide, torch.optim.Adam(guide.parameters(), lr=0.1), ELBO(num_particles=16))
    losses = svi.run(None, data, 200).losses
    evidence = -losses[-50:].mean().item()
    # the bound lies below the evidence: by brute force on a grid of (mu, v)
    grid = np.linspace(-6.0, 6.0, 49)
    terms = [
        norm.logpdf(mu) + norm.logpdf(TWO_DATA["y"], v).sum() + logsumexp(two_by_values(mu, v))
        for mu in grid
        for v in grid
    ]
    exact = logsumexp(terms) + 2 * np.log(grid[1] - grid[0])
    assert exact - 1.0 < evidence < exact + 0.1


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("sample z : K <- Categorical(p)\nlet m = mu[z]\nobserve y : K <- Normal(m, 1.0)",
         "sum it out with `marginalize z : K <- Categorical"),
        ("sample z <- Poisson(2.0)\nobserve y : K <- Normal(z, 1.0)", "no gradient and no end"),
        ("marginalize c <- Bernoulli(0.5)\n    sample z <- Bernoulli(0.2)\n    let m = c + z\n"
         "    observe y <- Normal(m, 1.0)", "inside a marginalize block"),
    ],
)  # fmt: skip
def test_what_cannot_be_summed_unasked_is_refused_with_the_form_that_can(
    steps: str, message: str
) -> None:
    body = "".join(f"    {line}\n" for line in steps.split("\n"))
    text = (
        "object K : FinSet 3\nprogram p : K -> K\n    sample mu : K <- Normal(0.0, 1.0)\n"
        f"    let p = softmax(mu)\n{body}    return mu\nexport p\n"
    )
    size = 3 if " : K <- Normal" in steps else ()
    with pytest.raises(UserError, match=message):
        compiled(text).target(None, {"y": torch.zeros(size)}, dtype=torch.float64)
