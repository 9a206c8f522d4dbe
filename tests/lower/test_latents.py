"""Latents that a guide covers lie where their kernel's family does, with its shapes."""

from math import prod

import pytest
import torch

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, SVI, AutoNormalGuide
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.support import is_discrete
from tests.laws.test_uses import KERNELS, kernel

MOVING = {"Uniform", "Pareto", "GeneralizedPareto"}
CONTINUOUS = [n for n in KERNELS if not is_discrete(FAMILIES[n].support)]
COVERED = [n for n in CONTINUOUS if n != "GP"]


@pytest.mark.parametrize("name", COVERED)
def test_a_guide_of_a_kernel_site_draws_values_of_its_family(name: str) -> None:
    model = kernel(name, "Real 4")
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    guide = AutoNormalGuide(model, observed_names=set()).double()
    values = guide.rsample(x)
    assert bool(model.log_joint(x, values).isfinite().all())
    (latent,) = model.declared_latents()
    assert values["h"].numel() == 5 * prod(latent.value_shape)


BELOW = """object R : Real 1
morphism f : R -> R [role=kernel] ~ %s
program p : R -> R
    sample h <- f
    observe y <- Normal(h, 0.5)
    return y
export p
"""
ONE_ROW = torch.tensor([[0.3]], dtype=torch.float64), {"y": torch.tensor([1.0]).double()}


def below(name: str):
    torch.manual_seed(1)
    return loads(BELOW % name).morphism.double()


def evidence(model, low: float, high: float) -> float:
    """By quadrature over values, from the joint density of given ones."""
    h = torch.linspace(low, high, 400_001, dtype=torch.float64)
    x, obs = ONE_ROW
    with torch.no_grad():
        joint = model.log_joint(
            x.expand(len(h), 1), {"h": h[:, None], "y": obs["y"].expand(len(h))}
        )
    return float(torch.trapezoid(joint.exp(), h).log())


@pytest.mark.parametrize("name", sorted(MOVING))
def test_a_support_that_moves_with_the_input_keeps_the_evidence(name: str) -> None:
    """The density in unconstrained space integrates to the evidence: its log-determinant is exact.

    A log-determinant that is forgotten gives another number.
    """
    model = below(name)
    target = model.target(*ONE_ROW, latents="declared", dtype=torch.float64)
    u = torch.linspace(-60.0, 60.0, 400_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        log_density = target.terms(u).total()
        h = target.constrain(u)["h"].reshape(-1)
    ends = (float(h.min()), min(float(h.max()), 30.0))
    found = float(torch.trapezoid(log_density.exp(), u[:, 0]).log())
    assert found == pytest.approx(evidence(model, *ends), abs=2e-4)
    slope = (h[1:] - h[:-1]).clamp(min=1e-300).log() - (u[1] - u[0]).log()
    without = log_density[1:] - slope
    assert abs(float(torch.trapezoid(without.exp(), u[1:, 0]).log()) - found) > 0.05


@pytest.mark.parametrize("name", sorted(MOVING))
def test_a_support_that_moves_with_the_input_is_fitted_and_summarized(name: str) -> None:
    """The bound stays below the evidence and, the posterior being one-dimensional, gets near it."""
    model = below(name)
    x, obs = ONE_ROW
    guide = AutoNormalGuide(model, {"y"}).double()
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    rng = torch.Generator().manual_seed(0)
    result = SVI(model, guide, optim, ELBO(num_particles=10), generator=rng).run(x, obs, 400)
    target = model.target(x, obs, latents="declared", dtype=torch.float64)
    u = torch.linspace(-60.0, 60.0, 200_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        exact = float(torch.trapezoid(target.terms(u).total().exp(), u[:, 0]).log())
        q, terms = guide.draw(target.layout, (4000,), rng)
        bounds = target.terms(q).total() - terms.total()
    error = float(bounds.std()) / 4000**0.5
    assert exact - 0.3 < float(bounds.mean()) < exact + 4.0 * error
    site = result.sites["h"]
    assert float(site.low) < float(site.mean) < float(site.high)


MATRICES = """\
object R : Real 2
object S : Covariance 2
object N : FinSet 20
program p : 1 -> 1
    sample mu : R <- Normal(0.0, 2.0)
    sample v : S <- InverseWishart(4.0, 1.0)
    let l = cholesky(v)
    sample w <- MultivariateNormal(mu, l)
    sample t : R <- Horseshoe(0.5)
    observe y : N <- MultivariateNormal(w, l)
    return v
export p
"""


def test_a_fit_of_matrices_and_vectors_whose_size_is_their_parameters() -> None:
    model = loads(MATRICES).morphism.double()
    torch.manual_seed(0)
    y = torch.randn(20, 2, dtype=torch.float64) @ torch.tensor([[1.0, 0.5], [0.0, 0.4]]).double()
    guide = AutoNormalGuide(model, observed_names={"y"}).double()
    optim = torch.optim.Adam(guide.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(0)
    svi = SVI(model, guide, optim, ELBO(num_particles=10), generator=generator)
    losses = [float(svi.step(None, {"y": y})) for _ in range(100)]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert guide.rsample(None)["v"].shape == (2, 2)
    assert guide.rsample(None)["w"].shape == (2,)


def test_a_size_that_only_data_know_is_asked_for() -> None:
    source = """\
program p : 1 -> 1
    let b = m0 * 1.0
    let s = cholesky(k)
    sample w <- MultivariateNormal(b, s)
    return w
export p
"""
    with pytest.raises(UserError, match="the size of `w` is known only with its data"):
        AutoNormalGuide(loads(source).morphism, observed_names=set())


def test_a_site_inside_a_block_is_a_latent_of_guides_as_of_mcmc() -> None:
    model = loads("""
program p : 1 -> 1
    let o = 1.0
    marginalize c <- Bernoulli(0.25)
        let m = c * 4.0
        sample y <- Normal(m, o)
        observe z <- Normal(y, o)
    sample _ <- Exponential(1.0)
    sample _ <- Normal(0.0, 1.0)
    observe _ <- Normal(o, o)
    return o
export p
""").morphism.double()
    assert model.observed_names == {"z"}
    (latent,) = model.declared_latents()
    assert (latent.name, latent.value_shape) == ("y", ())
    data = {"z": torch.tensor(0.5, dtype=torch.float64)}
    layouts = [model.target(None, data, latents=which).layout for which in ("all", "declared")]
    assert [[c.name for c in layout] for layout in layouts] == [["y"], ["y"]]
    guide = AutoNormalGuide(model, ("z",))
    svi = SVI(model, guide, torch.optim.Adam(guide.parameters(), lr=0.05), ELBO(64))
    torch.manual_seed(0)
    losses = [svi.step(None, data) for _ in range(300)]
    # log p(z) = log(0.75 N(0.5; 0, 2) + 0.25 N(0.5; 4, 2)) = -1.5992: a bound, and a close one
    assert 1.5992 < sum(losses[-50:]) / 50 < 1.7
