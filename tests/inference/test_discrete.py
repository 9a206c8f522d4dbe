"""`infer_discrete`: exact class probabilities of marginalized sites, against enumeration (7.8)."""

from math import exp

import numpy as np
import pytest
import torch
from scipy import special, stats

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import (
    MCMC,
    AutoNormalGuide,
    NUTSKernel,
    bayesian_lift_parameters,
    condition,
    infer_discrete,
)
from tests.support.marginal_chains import Chain, Site, generate_chain
from tests.support.marginal_programs import Generated, assignments, generate, joint_probabilities
from tests.support.oracles import compiled, tensor, tensors

F64 = torch.float64
MIXTURE = """object N : FinSet 5
program mix : N -> N
    sample a <- Normal(0.0, 1.0)
    marginalize z : N <- Bernoulli(0.3)
        let m = a + 2.0 * z
        observe y : N <- Normal(m, 1.0)
    return a
export mix
"""
Y = torch.tensor([-0.3, 2.4, 0.9, 1.1, 3.0])


def sampled(source: str) -> set[str]:
    lines = (line.split() for line in source.splitlines())
    return {words[1] for words in lines if words[:1] == ["sample"]}


def split(made: Generated | Chain) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Two draws of the latents, of which the first is the one of the oracle; and the data."""
    latent, values = sampled(made.source), tensors(made.values)
    draws = {n: torch.stack([v, 0.9 * v + 0.1 / v.numel() * ("p" in n)]) for n, v in values.items()
             if n in latent}  # fmt: skip
    return draws, {n: v for n, v in values.items() if n not in latent}


def chain_probabilities(site: Site, place: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The marginals of all sites of a chain at one place, from the table of all their values."""
    names, sizes, sites = [], [], []
    each: Site | None = site
    while each is not None:
        names.append(each.name)
        sizes.append(each.count)
        sites.append(each)
        each = each.inner
    table = np.zeros(sizes)
    for index in np.ndindex(*sizes):
        classes = dict(zip(names, index, strict=True))
        table[index] = sum(s.log_prob(classes, place, classes[s.name]) for s in sites) + sum(
            observe.log_prob({n: classes[n] for n in names[: k + 1]}, place)
            for k, s in enumerate(sites)
            for observe in s.observes
        )
    p = np.exp(table - special.logsumexp(table))
    others = {n: tuple(j for j in range(len(names)) if j != k) for k, n in enumerate(names)}
    return {name: p.sum(axes) for name, axes in others.items()}


@pytest.mark.parametrize("seed", range(25))
def test_sites_of_rows_elements_and_runs(seed: int) -> None:
    made = generate_chain(seed)
    draws, data = split(made)
    x = None if made.x is None else tensor(made.x)
    draws = draws or {"unused": torch.zeros(2)}
    found = infer_discrete(compiled(made.source), x, data, draws)
    for place in np.ndindex(*made.places):
        for name, wanted in chain_probabilities(made.site, place).items():
            probabilities = found[name].reshape(1, 2, *made.places, len(wanted))  # one row: R1
            got = probabilities[(0, 0, *place)]
            np.testing.assert_allclose(got.numpy(), wanted, atol=1e-10)


@pytest.mark.parametrize("seed", [s for s in range(100) if assignments(generate(s).block) <= 300])
def test_classes_of_groups_in_groups(seed: int) -> None:
    made = generate(seed)
    if "=sum" in made.source or "=mean" in made.source:
        return
    draws, data = split(made)
    draws = draws or {"unused": torch.zeros(2)}
    found = infer_discrete(compiled(made.source), None, data, draws)
    for (name, group), wanted in joint_probabilities(made.block).items():
        got = found[name][0, 0].flatten(0, -2)[group]
        np.testing.assert_allclose(got.numpy(), wanted, atol=1e-10)


def test_draws_are_kept_apart_and_averaged() -> None:
    model = loads(MIXTURE).morphism
    result = MCMC(NUTSKernel(), 100, 60, num_chains=2, seed=1).run(model, None, {"y": Y})
    found = infer_discrete(model, None, {"y": Y}, result)
    assert found["z"].shape == (2, 60, 5, 2)
    a, y = result.samples["a"].numpy()[..., None], Y.double().numpy()
    one = 0.3 * stats.norm.pdf(y, a + 2, 1)
    wanted = one / (one + 0.7 * stats.norm.pdf(y, a, 1))
    np.testing.assert_allclose(found["z"][..., 1].numpy(), wanted, atol=1e-6)
    torch.testing.assert_close(found.mean("z"), found["z"].mean((0, 1)))
    assert repr(found) == "<class probabilities (chains, draws, *places, K): z (2, 60, 5, 2)>"


def test_a_guide_and_a_conditioned_model() -> None:
    model = loads(MIXTURE).morphism
    guide = AutoNormalGuide(model, observed_names={"y"})
    generator = torch.Generator().manual_seed(2)
    found = infer_discrete(model, None, {"y": Y}, guide, num_draws=7, generator=generator)
    assert found["z"].shape == (1, 7, 5, 2)
    torch.testing.assert_close(found["z"].sum(-1), torch.ones(1, 7, 5, dtype=F64))
    fixed = condition(model, {"y": Y})
    again = infer_discrete(fixed, None, None, {"a": torch.zeros(1)})
    y = float(Y[0])
    odds = 0.3 / 0.7 * exp(2 * y - 2)
    assert float(again["z"][0, 0, 0, 1]) == pytest.approx(odds / (1 + odds), abs=1e-6)


CLASSIFIED = """object R2 : Real 2
object K : FinSet 3
object W : Real 3
morphism f : R2 -> W [role=kernel, scale=0.3, param_source=linear] ~ Normal
program classified : R2 -> R2
    sample h <- f
    marginalize z <- CategoricalLogit(h)
        let m = 2.0 * z
        observe y <- Normal(m, 1.0)
    return h
export classified
"""


def test_a_lifted_model_brings_its_weights() -> None:
    model = loads(CLASSIFIED).morphism.double()
    x = torch.tensor([[0.3, -1.0], [1.2, 0.4]], dtype=F64)
    obs = {"y": torch.tensor([0.2, 3.1], dtype=F64)}
    lifted, lx, lobs = bayesian_lift_parameters(model, x, obs)
    result = MCMC(NUTSKernel(max_tree_depth=3), 10, 5, num_chains=1, seed=1).run(lifted, lx, lobs)
    h = result.samples["h"].numpy()
    terms = special.log_softmax(h, -1) + stats.norm.logpdf(
        obs["y"].numpy()[:, None], [0.0, 2.0, 4.0], 1.0
    )
    wanted = special.softmax(terms, -1)
    found = infer_discrete(lifted, lx, lobs, result)
    np.testing.assert_allclose(found["z"].numpy(), wanted, atol=1e-8)


GATE = """object N : FinSet 3
object K : FinSet 2
object G : FinSet 2
data w : K -> Real 1
program gate : N -> N
    sample a <- HalfNormal(1.0)
    marginalize g : N <- Beta(a, 2.0)
        observe y : N <- Bernoulli(g)
    marginalize c : K <- CategoricalProbs(w) [over=G, reduction=mean]
        marginalize d : K <- CategoricalProbs(w) [over=G]
            observe v : N <- Normal(d, 1.0) [via=i]
    return a
export gate
"""


def test_refusals_name_the_site_and_the_reason() -> None:
    model = loads(MIXTURE).morphism
    draws = {"a": torch.zeros(1)}
    with pytest.raises(UserError, match="`zz` is not a site that the model sums out; did you mean"):
        infer_discrete(model, None, {"y": Y}, draws, sites=["zz"])
    gate = loads(GATE).morphism
    data = {"w": [0.5, 0.5], "y": [0, 1, 1], "v": [0.0, 1.0, 2.0], "i": [0, 1, 1]}
    for name, reason in (
        ("g", r"integrated over \[0, 1\]"),
        ("c", "`c` has reduction=mean"),
        ("d", "`c` has reduction=mean"),
    ):
        with pytest.raises(UserError, match=reason):
            infer_discrete(gate, None, data, {"a": torch.ones(1)}, sites=[name])
    with pytest.raises(UserError, match="there are no classes to infer"):
        infer_discrete(gate, None, data, {"a": torch.ones(1)})
