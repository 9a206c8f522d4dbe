"""The hand-written peer of the benchmark computes the model's density, so that times compare."""

from typing import Any

import pytest
import torch

from benchmarks.peers import seed_torch as peer
from quivers_nb.dsl import load
from tests.support.oracles import randomize
from tests.support.seed import MODULE

TOWERS = (("encoder", "enc", "src_embed"), ("decoder", "dec", "tgt_embed"))


def copied(model: Any) -> dict[str, torch.Tensor]:
    """The model's weights in the peer's layout: stacked over towers and heads, input axis first."""
    storage = model.storage()
    by_path = {
        s.path: storage[s.key] if s.index is None else storage[s.key][s.index]
        for s in model.parameter_sites()
    }

    def mlp(name: str, paths: list[str]) -> dict[str, torch.Tensor]:
        out = {}
        for i in range(3):
            out[f"{name}.weight{i}"] = torch.stack([by_path[f"{p}.weight{i}"].T for p in paths])
            out[f"{name}.bias{i}"] = torch.stack([by_path[f"{p}.bias{i}"][None] for p in paths])
        return out

    weights = {
        name: torch.stack([by_path[f"backbone.{t}.{e}.{name}"] for t, _, e in TOWERS])
        for name in ("centers", "log_sigma")
    }
    for layer in range(peer.LAYERS):
        for name, *_ in peer.KERNELS:
            parts = [
                f"backbone.{t}.stack[{layer}].{short}_{name}{member}"
                for t, short, _ in TOWERS
                for member in ([f"[{h}]" for h in range(peer.H)] if name == "head" else [""])
            ]
            weights |= mlp(f"{layer}.{name}", parts)
    return weights | mlp("cross", ["backbone.cross"]) | mlp("lm_head", ["lm_head"])


def middles(noise: list[torch.Tensor]) -> list[tuple[tuple[str, ...], torch.Tensor]]:
    """The peer's noise, by the words that single out the model's coordinate.

    Both batch the towers (and heads): the model's coordinate is ``(rows, copies, width)``.
    """
    found = [(("src_embed|tgt_embed",), noise[0].transpose(0, 1))]
    left = iter(noise[1:])
    for layer in range(peer.LAYERS):
        for name, *_ in peer.KERNELS:
            found.append(((f"/stack[{layer}]/", f"enc_{name}"), next(left).transpose(0, 1)))
    return found


def test_the_peer_has_the_model_s_density_and_gradient() -> None:
    model = load(str(MODULE)).morphism.double()
    randomize(model, seed=4, scale=0.05)
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(0, 32, (16, 2), generator=generator)
    h = torch.randn(16, 32, generator=generator, dtype=torch.float64)
    token = torch.randint(0, 32, (16,), generator=generator)
    flat = torch.randn(16 * 480, generator=generator, dtype=torch.float64)

    weights = copied(model)
    theirs = peer.row_terms(weights, x, h, token, peer.noise_of(flat, 16)).sum()
    standard = -0.5 * (flat @ flat) - flat.numel() * peer.HALF_LOG_2PI

    target = model.target(x, {"h": h, "next_token": token}, dtype=torch.float64)
    q = torch.zeros(target.layout.dim, dtype=torch.float64)
    for words, value in middles(peer.noise_of(flat, 16)):
        (c,) = (c for c in target.layout if all(word in c.name for word in words))
        q[c.start : c.stop] = value.reshape(-1)
    ours = target.terms(q).total()
    assert ours.item() == pytest.approx((theirs + standard).item(), rel=1e-10)

    slopes = torch.autograd.grad(theirs, list(weights.values()), retain_graph=True)
    norm = torch.stack([slope.square().sum() for slope in slopes]).sum()
    ours.backward()
    ours_norm = torch.stack([p.grad.square().sum() for p in model.parameters()]).sum()
    assert ours_norm.item() == pytest.approx(norm.item(), rel=1e-8)


def test_the_peer_has_as_many_numbers() -> None:
    model = peer.SeedTorch()
    assert sum(p.numel() for p in model.parameters()) == 272_096
    assert sum(a * b * c for a, b, c in peer.noise_shapes(16)) == 7_680
