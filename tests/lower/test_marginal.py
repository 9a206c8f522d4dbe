"""Marginalize blocks at run time: what a trace shows, and responses drawn with z put back (7.8)."""

from math import sqrt
from typing import Any

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel, log_likelihood
from tests.support.operations import Counter

GROUPED = """object G : FinSet 2000
object N : FinSet 4000
object K : FinSet 2
data probs : K -> Real 1
program p : G -> G
    sample mu : K <- Normal(0.0, 10.0)
    let w = 1.0 * probs
    marginalize c : K <- CategoricalProbs(w) [over=G]
        observe y : N <- Normal(mu[c], 1.0) [via=g]
    return mu
export p
"""
PER_ELEMENT = """object N : FinSet 50
program p : N -> N
    sample a <- Normal(0.0, 1.0)
    marginalize z : N <- Bernoulli(0.3)
        let m = a + 20.0 * z
        observe y : N <- Normal(m, 1.0)
    return a
export p
"""


def grouped(share: float) -> tuple[Any, torch.Tensor]:
    model = loads(GROUPED).morphism
    groups = torch.arange(2000).repeat_interleave(2)
    values = {"probs": [share, 1.0 - share], "g": groups, "mu": torch.tensor([-10.0, 10.0])}
    trace = model.trace(None, values, generator=torch.Generator().manual_seed(3))
    return trace, groups


def low_share(y: torch.Tensor) -> float:
    return float((y.reshape(-1, 2) < 0).all(1).double().mean())


def test_drawn_responses_follow_their_group_s_class() -> None:
    """Size: a share of 2000 groups within 4.5 sd (1e-5). Power: a share off by 0.1 is 10 sd off."""
    spread = 4.5 * sqrt(0.25 * 0.75 / 2000)
    trace, _ = grouped(0.25)
    y = trace.sites["y"].value
    assert y.shape == (4000,)
    pairs = y.reshape(-1, 2) < 0
    assert bool((pairs[:, 0] == pairs[:, 1]).all())  # one class per group
    assert abs(low_share(y) - 0.25) < spread
    mutant, _ = grouped(0.35)
    assert abs(low_share(mutant.sites["y"].value) - 0.25) > spread


def test_a_trace_scores_what_it_drew_with_z_summed_out() -> None:
    model = loads(PER_ELEMENT).morphism
    trace = model.trace(None, generator=torch.Generator().manual_seed(1))
    assert list(trace.sites) == ["a", "y", "_marg_z"]
    assert trace.sites["_marg_z"].is_deterministic
    assert not trace.sites["y"].is_observed
    values = {"a": trace.sites["a"].value, "y": trace.sites["y"].value}
    torch.testing.assert_close(model.log_joint(None, values), trace.log_joint)
    jumped = (trace.sites["y"].value - trace.sites["a"].value) > 10
    assert 0 < int(jumped.sum()) < 50


def test_faults_name_the_index_and_the_sizes() -> None:
    model = loads(GROUPED).morphism
    base = {"probs": [0.5, 0.5], "mu": torch.zeros(2), "y": torch.zeros(4000)}
    with pytest.raises(UserError, match=r"holds 2000, outside 0 … 1999"):
        model.log_joint(None, base | {"g": torch.full((4000,), 2000)})
    with pytest.raises(UserError, match="has 3 entries, but its response has 4000"):
        model.log_joint(None, base | {"g": torch.zeros(3, dtype=torch.int64)})


def test_a_discrete_latent_is_refused_with_the_step_that_sums_it() -> None:
    source = "object N : FinSet 3\nprogram p : N -> N\n    sample a <- Normal(0.0, 1.0)\n"
    rest = "    let m = a + z\n    observe y : N <- Normal(m, 1.0)\n    return a\nexport p\n"
    model = loads(source + "    sample z : N <- Bernoulli(0.3)\n" + rest).morphism
    with pytest.raises(UserError, match=r"`marginalize z : N <- Bernoulli\(0.3\)` and the steps"):
        MCMC(NUTSKernel(), 5, 5, num_chains=1).run(model, None, {"y": torch.zeros(3)})
    model = loads(source + "    sample z : N <- Poisson(3.0)\n" + rest).morphism
    with pytest.raises(UserError, match="no gradient and no end"):
        MCMC(NUTSKernel(), 5, 5, num_chains=1).run(model, None, {"y": torch.zeros(3)})


SHARED_IN_ROWS = """program p(a) : Real 1 -> Real 1
    sample b : 1 <- Normal(0.0, 1.0)
    marginalize z <- Bernoulli(0.3)
        let m = a + z
        observe y <- Normal(m, 1.0)
        observe w : 1 <- Normal(b, 1.0)
    return b
export p
"""


def test_what_no_row_has_a_part_in_counts_once_in_a_block_per_row() -> None:
    model = loads(SHARED_IN_ROWS).morphism
    x, w = torch.randn(4, 1), torch.tensor([0.3])
    values = {"b": torch.tensor([0.5]), "y": torch.randn(4), "w": w}
    once = -0.5 * 0.2**2 - 0.9189385 - 0.125 - 0.9189385
    rows = model.log_joint(x, values)
    total = model.log_density(x, values)
    assert float(total) == pytest.approx(float((rows - once).sum()) + once, abs=1e-4)


def test_densities_per_observation_refuse_what_the_block_does_not_own() -> None:
    model = loads(SHARED_IN_ROWS).morphism
    data = {"y": torch.randn(4), "w": torch.tensor([0.3])}
    with pytest.raises(UserError, match="move it out of the block"):
        log_likelihood(model, torch.randn(4, 1), data, {"b": torch.zeros(2, 1)})


def test_groups_that_would_mix_rows_are_refused() -> None:
    model = loads("""object G : FinSet 2
object K : FinSet 2
program p(a) : Real 1 -> Real 1
    let w = [0.4, 0.6]
    let q = softmax(table)
    marginalize z <- Bernoulli(0.3)
        marginalize c : K <- CategoricalProbs(q) [over=G]
            let m = a + z + c
            observe y : G <- Normal(m, 1.0) [via=i]
    return a
export p
""").morphism
    values = {"table": torch.zeros(2), "i": torch.tensor([0, 1, 1]), "y": torch.zeros(3)}
    with pytest.raises(UserError, match="its groups mix rows"):
        model.log_joint(torch.zeros(3, 1), values)


ELEMENTS_IN_GROUPS = """object N : FinSet 4
object G : FinSet 2
object K : FinSet 2
program p : N -> N
    sample mu : K <- Normal(0.0, 1.0)
    let w = softmax(mu)
    marginalize c : K <- CategoricalProbs(w) [over=G]
        marginalize z : N <- Bernoulli(0.3) [via=of]
            let m = mu[c] + 2.0 * z
            observe y : N <- Normal(m, 1.0)
    return mu
export p
"""


def test_elements_that_are_summed_stand_in_groups_by_via() -> None:
    mu, y = torch.tensor([-1.0, 0.5]).double(), torch.tensor([0.2, 3.0, -1.0, 1.1]).double()
    of = torch.tensor([0, 1, 1, 0])
    normal = torch.distributions.Normal
    z = torch.tensor([0.0, 1.0]).double()
    terms = normal(mu[:, None, None] + 2 * z[:, None], 1.0).log_prob(y)  # (class, z, element)
    each = torch.logsumexp(terms + torch.tensor([[0.7], [0.3]]).double().log(), 1)
    groups = torch.stack([each[:, of == g].sum(1) for g in range(2)])  # (group, class)
    wanted = torch.logsumexp(groups + torch.log_softmax(mu, 0), 1).sum()
    wanted = wanted + normal(0.0, 1.0).log_prob(mu).sum()
    got = loads(ELEMENTS_IN_GROUPS).morphism.log_joint(None, {"mu": mu, "y": y, "of": of})
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


NESTED = """object G : FinSet 300
object H : FinSet 900
object N : FinSet 1800
object K : FinSet 2
object L : FinSet 3
program p : N -> N
    sample s <- HalfNormal(1.0)
    let first = 1.0 * w
    marginalize c : K <- CategoricalProbs(first) [over=G]
        let second = table[c]
        marginalize d : L <- CategoricalProbs(second) [over=H, via=up]
            let m = 10.0 * c + d + shift[c, of]
            observe y : N <- Normal(m, s) [via=down]
    return s
export p
"""


def test_responses_in_groups_of_groups_share_the_classes_of_both() -> None:
    """Size: a share of 300 groups within 4.5 sd (1e-5). Power: shares 0.2 off are 7 sd off."""
    up, down = torch.arange(900) % 300, torch.arange(1800) % 900
    table = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    odd = torch.arange(1800) % 2
    shift = torch.tensor([[0.0, 100.0], [200.0, 300.0]])
    data = {"w": [0.3, 0.7], "table": table, "up": up, "down": down, "shift": shift, "of": odd}
    given = {"s": torch.full((4,), 0.01)}
    generator = torch.Generator().manual_seed(5)
    y = loads(NESTED).morphism.simulate(None, 4, given, data, generator=generator)["y"]
    assert y.shape == (4, 1800)
    for each in y:
        whole = each.round().long()
        c = whole // 200
        d = (whole - 200 * c - 100 * odd) - 10 * c
        assert bool((torch.stack([c[:900], c[900:]]) == c[:300].repeat(3)).all())
        assert bool((d[:900] == d[900:]).all())
        assert abs(float(c[:300].double().mean()) - 0.7) < 4.5 * sqrt(0.21 / 300)
        low = d[:900][c[:900] == 0]
        assert set(low.tolist()) == {0, 1}
        assert set(d[:900][c[:900] == 1].tolist()) == {1, 2}


@pytest.mark.parametrize("family", ["Categorical", "CategoricalProbs", "CategoricalLogit"])
@pytest.mark.parametrize("stack", [(), (3,)])
def test_weights_gathered_by_an_index_are_those_computed_element_by_element(
    family: str, stack: tuple[int, ...]
) -> None:
    """Logarithms are taken of the table and not of its rows; the second program hides the table."""
    prior = "Dirichlet(1.0) [over=K]" if family == "CategoricalProbs" else "Normal(0.0, 1.0)"
    found = []
    for p in ("{}[d]", "1.0 * {}[d]"):
        table = "theta" if family == "CategoricalProbs" else "shares"
        model = loads(f"""object D : FinSet 4
object K : FinSet 3
object N : FinSet 40
program p : N -> N
    sample theta : D{"" if "Dir" in prior else " * K"} <- {prior}
    let shares = {"softmax(theta)" if family == "Categorical" else "1.0 * theta"}
    let p = {p.format(table)}
    marginalize z : N <- {family}(p)
        let m = 1.0 * z
        observe y : N <- Normal(m, 1.0)
    return theta
export p
""").morphism
        d = torch.arange(40) * 7 % 4
        y = torch.linspace(-1.0, 3.0, 40, dtype=torch.float64)
        target = model.target(None, {"d": d, "y": y}, dtype=torch.float64)
        q = torch.linspace(-1.0, 1.0, 3 * target.layout.dim, dtype=torch.float64)
        q = q.reshape(3, -1)[: stack[0]] if stack else q[: target.layout.dim]
        q.requires_grad_(True)
        value = target.terms(q).total()
        with Counter() as counter:
            (slope,) = torch.autograd.grad(target.terms(q).total().sum(), q)
        found.append((value, slope, counter.wide["log"] + counter.wide["_log_softmax"]))
    (value, slope, few), (other, same, many) = found
    torch.testing.assert_close(value, other, rtol=1e-13, atol=1e-12)
    torch.testing.assert_close(slope, same, rtol=1e-11, atol=1e-12)
    assert few < many, "numbers whose logarithm is taken"
