"""Simulation-based calibration of seven kinds of programs, and of a wrong variant of each.

A simulation draws latents and data from the program and fits the data by NUTS; the rank of every
latent among its draws is uniform if compiler, density and sampler agree with each other. A wrong
variant is fitted to the data of the right one: it must be seen. Size: all runs share the budget's
"program calibration". Power: with probability 0.95, 200 simulations see a posterior 32 % too narrow
or off by 0.51 of its standard deviation, 60 one that is half as wide or off by one
(`ranks.Sensitivity`); the wrong variants are further off than that.
"""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel, calibrate
from tests.stats.budget import alpha

DRAWS = 63
T = torch.tensor([-1.0, -0.4, 0.1, 0.5, 0.9, 1.4])


@dataclass(frozen=True)
class Program:
    """A program, its host data, and what its wrong variant says instead."""

    source: str
    data: dict[str, Any]
    right: str
    wrong: str
    x: Any = None
    sites: tuple[str, ...] | None = None  # ranked; None for all

    def model(self, *, wrong: bool = False) -> Any:
        assert self.right in self.source
        return loads(self.source.replace(self.right, self.wrong) if wrong else self.source).morphism


HIERARCHICAL = Program(
    """object N : FinSet 12
object G : FinSet 4
program hierarchical : N -> N
    sample mu <- Normal(0.0, 2.0)
    sample tau <- LogNormal(0.0, 0.5)
    sample z : G <- Normal(0.0, 1.0)
    let m = mu + tau * z[g]
    observe y : N <- Normal(m, 1.0)
    return mu
export hierarchical
""",
    {"g": torch.arange(12) % 4},
    "Normal(m, 1.0)",
    "Normal(m, 0.3)",
)
MIXTURE = Program(
    """object N : FinSet 20
program mixture : N -> N
    sample low <- Normal(0.0, 1.0)
    sample gap <- LogNormal(1.0, 0.3)
    marginalize z : N <- Bernoulli(0.3)
        let m = low + gap * z
        observe y : N <- Normal(m, 0.7)
    return low
export mixture
""",
    {},
    "Bernoulli(0.3)",
    "Bernoulli(0.95)",
)
CHAIN = Program(
    """object K : FinSet 2
object N : FinSet 4
program chain : N -> N
    sample mu <- Normal(0.0, 1.0)
    sample gap <- LogNormal(0.5, 0.4)
    let first = 1.0 * start
    marginalize a <- CategoricalProbs(first)
        let m1 = mu + gap * a
        observe y1 : N <- Normal(m1, 1.0)
        let second = table[a]
        marginalize b <- CategoricalProbs(second)
            let m2 = mu + gap * b
            observe y2 : N <- Normal(m2, 1.0)
            let third = table[b]
            marginalize c <- CategoricalProbs(third)
                let m3 = mu + gap * c
                observe y3 : N <- Normal(m3, 1.0)
    return mu
export chain
""",
    {"start": [0.9, 0.1], "table": [[0.9, 0.1], [0.1, 0.9]]},
    "let first = 1.0 * start",
    "let first = 1.0 - start",
)
RECURRENCE = Program(
    """object K : FinSet 2
data table : K -> Simplex 2
program step(u, mu, gap, z) : Real 1 * Real 1 * Real 1 * K -> K
    let p = table[z]
    sample s <- CategoricalProbs(p)
    let m = mu + gap * s
    observe y <- Normal(m, 1.0)
    return s
let states = scan(step)
program recurrence(u) : Real 1 -> Real 1
    sample mu : 1 <- Normal(0.0, 1.0)
    sample gap : 1 <- LogNormal(0.5, 0.4)
    sample last <- states(u, mu, gap)
    return mu
export recurrence
""",
    {"table": [[0.7, 0.3], [0.2, 0.8]]},
    "let m = mu + gap * s",
    "let m = mu + 0.4 * gap * s",
    torch.zeros(2, 8, 1),
    ("mu", "gap"),
)
PROCESS = Program(
    """object N : FinSet 6
program process : N -> N
    sample size <- LogNormal(0.0, 0.5)
    sample length <- LogNormal(0.0, 0.5)
    sample level <- Normal(0.0, 1.0)
    let k = cov_exp_quad(t, size, length) + diag(0.1 + 0.0 * t)
    let L = cholesky(k)
    let m = level + 0.0 * t
    observe y <- MultivariateNormal(m, L)
    return size
export process
""",
    {"t": T},
    "cov_exp_quad(t, size, length)",
    "cov_exp_quad(t, 0.2 * size, length)",
)
ORDINAL = Program(
    """object N : FinSet 24
object C : FinSet 3
program ordinal : N -> N
    sample slope <- Normal(0.0, 1.0)
    sample gaps : C <- Gamma(3.0, 2.0)
    let cuts = cumsum(gaps) - 3.0
    let eta = slope * t
    observe y : N <- OrderedLogistic(eta, cuts)
    return slope
export ordinal
""",
    {"t": T.repeat(4)},
    "let eta = slope * t",
    "let eta = 3.0 * slope * t",
)
HORSESHOE = Program(
    """object N : FinSet 12
object P : FinSet 3
program horseshoe : N -> N
    sample tau <- HalfCauchy(0.5)
    sample lam : P <- HalfCauchy(1.0)
    sample z : P <- Normal(0.0, 1.0)
    let beta = tau * lam * z
    let m = matmul(design, beta)
    observe y : N <- Normal(m, 0.5)
    return z
export horseshoe
""",
    {"design": torch.stack([T.repeat(2), T.repeat(2).flip(0) ** 2, torch.sin(5 * T.repeat(2))], 1)},
    "let beta = tau * lam * z",
    "let beta = tau * lam * (z - 1.0)",
)
PROGRAMS = {
    "hierarchical": HIERARCHICAL, "mixture": MIXTURE, "hidden chain": CHAIN,
    "recurrence": RECURRENCE,
    "gaussian process": PROCESS, "ordinal": ORDINAL, "horseshoe": HORSESHOE,
}  # fmt: skip
ALPHA = alpha("program calibration", 2 * len(PROGRAMS))


@dataclass(frozen=True)
class Fitted:
    """NUTS on a given model, whatever model the data are from."""

    model: Any
    sampler: MCMC

    def __call__(self, _model: Any, x: Any, obs: Any, seed: int) -> Any:
        return replace(self.sampler, seed=seed).run(self.model, x, obs)


def ranked(program: Program, simulations: int, sampler: MCMC, *, wrong: bool) -> Any:
    fit = Fitted(program.model(wrong=wrong), sampler)
    return calibrate(
        program.model(), program.x, fit, num_simulations=simulations, num_draws=DRAWS,
        data=program.data, sites=program.sites, seed=1,
    )  # fmt: skip


def check(program: Program, simulations: int, sampler: MCMC) -> None:
    found = ranked(program, simulations, sampler, wrong=False)
    assert found.calibrated(ALPHA), found.report(ALPHA)
    assert not ranked(program, simulations, sampler, wrong=True).calibrated(ALPHA)


@pytest.mark.stats
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_short_run_passes_and_its_wrong_variant_fails(name: str) -> None:
    check(PROGRAMS[name], 60, MCMC(NUTSKernel(), 150, 2 * DRAWS, num_chains=1))


@pytest.mark.stats
@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_calibrated_and_their_wrong_variants_are_not(name: str) -> None:
    check(PROGRAMS[name], 200, MCMC(NUTSKernel(target_accept=0.9), 200, 2 * DRAWS, num_chains=1))
