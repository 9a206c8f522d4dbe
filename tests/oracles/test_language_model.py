"""Gated cells are programs of kernels, sigmoid and tanh: three layers of them are a language model.

The cell of each layer is the gated recurrent unit of Cho et al. (2014, equations 5-8), its three
maps linear Normal kernels of small scale. The network is checked against numpy at given draws, then
trained: on texts that repeat, with gaps, one of three words, a model without memory cannot fall
below the entropy of a symbol given the one before it.
"""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from quivers_nb.dsl import loads
from quivers_nb.inference import ELBO, SVI, EmptyGuide
from tests.support.oracles import Array, compiled, randomize, tensor, weights

LAYER = """\
program gru_{i}(x, h) : H * H -> H
    sample z <- update_{i}(x, h)
    sample r <- reset_{i}(x, h)
    let keep = sigmoid(z)
    let seen = sigmoid(r) * h
    sample c <- candidate_{i}(x, seen)
    let new = keep * h + (1.0 - keep) * tanh(c)
    return new
"""
SOURCE = f"""\
object Token : FinSet 4
object H : Real 12
morphism enter : Token -> H [role=embed, scale=0.02]
morphism update : H * H -> H [role=kernel, replicate=3, param_source=linear, scale=0.02] ~ Normal
morphism reset : H * H -> H [role=kernel, replicate=3, param_source=linear, scale=0.02] ~ Normal
morphism candidate : H * H -> H [role=kernel, replicate=3, param_source=linear, scale=0.02] ~ Normal
morphism head : H -> Token [role=kernel, param_source=linear] ~ Categorical
{"".join(LAYER.format(i=i) for i in range(3))}\
program layers(token, a, b, c) : Token * H * H * H -> H * H * H
    sample x <- enter(token)
    sample low <- gru_0(x, a)
    sample mid <- gru_1(low, b)
    sample top <- gru_2(mid, c)
    observe next <- head(top)
    return (low, mid, top)
let body = scan(layers, init=learned)
program language : Token -> H * H * H
    sample state <- body
    return state
export language
"""
CELL = "state/body/[t]/layers/"
NEXT = CELL + "next"


def forward(model: Any, sites: dict[str, Array], tokens: Array, following: Array) -> Array:
    """log p of the next tokens at given draws of every kernel, ``(rows,)``; the gates by hand."""
    found = weights(model)
    state = np.split(np.broadcast_to(found["body.init"], (len(tokens), 36)), 3, -1)
    total = np.zeros(len(tokens))
    for t in range(tokens.shape[1]):
        after = []
        for i, h in enumerate(state):
            name = CELL + f"{('low', 'mid', 'top')[i]}/"
            keep = expit(sites[name + "z"][:, t])
            after.append(keep * h + (1 - keep) * np.tanh(sites[name + "c"][:, t]))
        state = after
        path = next(k for k in found if k.endswith("head.weight0"))
        logits = state[2] @ found[path].T + found[path.replace("weight0", "bias0")]
        rows = np.arange(len(tokens))
        total += log_softmax(logits, -1)[rows, following[:, t]]
    return total


def test_the_layers_have_their_widths_and_the_gates_their_meaning() -> None:
    model = compiled(SOURCE)
    randomize(model, seed=2, scale=0.5)
    rng = np.random.default_rng(0)
    tokens, following = rng.integers(0, 4, size=(2, 3, 5))
    traced = model.trace(tensor(tokens), {NEXT: tensor(following)})
    assert traced.sites["state"].value.shape == (3, 36)
    sites = {k: v.value.detach().numpy() for k, v in traced.internal_sites.items()}
    assert sites[CELL + "mid/c"].shape == (3, 5, 12)
    seen = traced.internal_sites[NEXT].log_prob.detach().numpy()
    np.testing.assert_allclose(seen, forward(model, sites, tokens, following), rtol=1e-6)
    drawn = {k: s for k, s in traced.internal_sites.items() if not s.is_deterministic}
    torch.testing.assert_close(traced.log_joint, sum(s.log_prob for s in drawn.values()))
    given = {k: s.value for k, s in drawn.items()}
    torch.testing.assert_close(model.log_joint(tensor(tokens), given), traced.log_joint)


def texts(rows: int) -> Array:
    """Rows of one of three words over and over: what follows a symbol depends on the word."""
    words = np.array([[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 2, 1]])
    starts = np.random.default_rng(1).integers(0, 4, size=rows)
    return np.stack([np.roll(np.tile(words[r % 3], 3), -s) for r, s in enumerate(starts)])


def without_memory(tokens: Array, following: Array) -> float:
    """Nats per symbol of the best model that sees one symbol only."""
    counts = np.zeros((4, 4))
    np.add.at(counts, (tokens, following), 1.0)
    share = counts / counts.sum(1, keepdims=True)
    return float(-np.log(share[tokens, following]).mean())


@pytest.mark.slow
def test_three_layers_learn_what_one_symbol_does_not_tell() -> None:
    torch.manual_seed(0)
    model = loads(SOURCE).morphism
    whole = texts(24)
    tokens, following = whole[:, :-1], whole[:, 1:]
    guide = EmptyGuide(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    svi = SVI(model, guide, optimizer, ELBO(), generator=torch.Generator().manual_seed(1))
    x, obs = tensor(tokens), {NEXT: tensor(following)}
    losses = [svi.step(x, obs) / tokens.shape[1] for _ in range(300)]
    baseline = without_memory(tokens, following)
    first, last = float(np.mean(losses[:5])), float(np.mean(losses[-20:]))
    assert first > 0.9 * np.log(4)
    assert baseline > 0.6
    assert last < 0.75 * baseline, (first, baseline, last)
