"""Label switching is told from other trouble: what agrees once it is in order, and nothing else."""

import re
from dataclasses import replace

import pytest
import torch

from quivers_nb.dsl import loads
from quivers_nb.inference import MCMC, NUTSKernel
from quivers_nb.inference.labels import Labels
from quivers_nb.inference.mcmc.result import MCMCResult, Samples
from quivers_nb.inference.mcmc.switching import label_switching

MIXTURE = """object N : FinSet n
object K : FinSet 3
program mixture : N -> N
    sample mu : K <- Normal(0.0, 5.0)
    sample w <- Dirichlet(ALPHA)
    marginalize z : N <- Categorical(w)
        observe y : N <- Normal(mu[z], 0.5)
    return mu
export mixture
"""
CENTRES, CHAINS, DRAWS = torch.tensor([-4.0, 0.0, 4.0]), 4, 300


def fitted(alpha="[2.0, 2.0, 2.0]", seed=1):
    generator = torch.Generator().manual_seed(2)
    centres = CENTRES.repeat_interleave(torch.tensor([10, 30, 50]))  # so that `w` tells them apart
    y = centres + 0.5 * torch.randn(90, generator=generator)
    model = loads(MIXTURE.replace("ALPHA", alpha)).morphism
    return MCMC(NUTSKernel(), 200, 200, seed=seed).run(model, None, {"y": y})


def made(draws, **others):
    """A result with these draws ``(chains, draws, K)`` of `mu`, and no model."""
    samples = Samples({"mu": draws.double(), **{k: v.double() for k, v in others.items()}})
    stats = {"log_density": torch.zeros(draws.shape[:2]), "diverged": torch.zeros(draws.shape[:2])}
    still = torch.zeros(len(draws), dtype=torch.bool)
    return MCMCResult(
        samples, stats, torch.zeros(len(draws)), still, 0, None, 3, "eager",
        labels=Labels(dict.fromkeys(samples, ("K",))),
    )  # fmt: skip


def noise(seed=0, scale=0.3):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(CHAINS, DRAWS, 3, generator=generator)


AWAY = torch.tensor([0.0, 0.0, 0.0, 9.0])[:, None, None]
TWICE = torch.tensor([[1, 1, 1], [1, 1, 2]] * 2)[:, None]
ROLLED = torch.stack([CENTRES.roll(k) for k in (0, 1, 0, 2)])[:, None]  # by chain


def test_chains_of_a_mixture_that_name_components_differently():
    result = fitted()
    finding = label_switching(result)
    assert finding is not None
    assert finding.code == "Q1011"
    assert "components of `w`, `mu` change places" in finding.fact
    assert re.search(r"1\.0[01] once each draw is put in the order of `mu`", finding.fact)
    assert "exchanged, they leave the density as it is" in finding.fact
    assert "draw the lowest and positive gaps" in finding.advice
    assert finding in result.warnings


def test_labels_that_a_prior_tells_apart_are_said_to_be_so():
    finding = label_switching(fitted("[2.0, 3.0, 2.0]"))
    assert finding is not None
    assert "The density tells their labels apart" in finding.fact


def test_a_density_that_is_not_known_is_said_to_be_so():
    for result in (made(ROLLED + noise()), replace(fitted(), problem=None)):
        finding = label_switching(result)
        assert finding is not None
        assert "is not known here" in finding.fact


def test_a_chain_that_changes_its_mind():
    middle = torch.where(torch.arange(DRAWS)[:, None] < 170, CENTRES, CENTRES.flip(0))
    assert label_switching(made(middle + noise())) is not None


def test_matrices_of_transitions_are_put_in_order_along_both_axes():
    table = torch.arange(9.0).reshape(3, 3) / 10.0
    turned = torch.stack([table.roll((k, k), (0, 1)) for k in (0, 1, 0, 2)])[:, None]
    wobble = 0.01 * torch.randn(4, DRAWS, 3, 3, generator=torch.Generator().manual_seed(3))
    result = made(ROLLED + noise(), move=turned + wobble)
    labels = Labels({"mu": ("K",), "move": ("K", "K")})
    finding = label_switching(replace(result, labels=labels))
    assert finding is not None
    assert "components of `mu`, `move` change places" in finding.fact


@pytest.mark.parametrize(
    ("name", "draws"),
    [
        ("chains that agree", CENTRES + noise()),
        ("elements that are the same all along", noise()),
        ("a mode of its own in one chain", CENTRES + noise() + AWAY),
        ("one component in two modes", CENTRES * TWICE + noise()),
        ("walks that have not mixed", noise().cumsum(1)),
        ("one walk that all share", CENTRES + noise()[..., :1].cumsum(1)),
        ("too few draws", (ROLLED + noise())[:, :3]),
    ],
)  # fmt: skip
def test_other_trouble_and_none_is_not_label_switching(name, draws):
    assert label_switching(made(draws)) is None, name
