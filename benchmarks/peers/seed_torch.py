"""The seed model written by hand in plain batched torch: the yardstick of `benchmarks.seed`.

The same 272,096 weights and 7,680 noise numbers. What can be batched is: the two towers and their
four heads go through one `bmm` each, so a layer of eight heads is three matrix products. Shapes: S
two towers, H four heads, B rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from quivers_nb.inference.layout import Coordinate, Layout
from quivers_nb.inference.model import Terms

S, H, VOCABULARY, LATENT, HEAD, HIDDEN, UP, COMBINED = 2, 4, 32, 16, 4, 64, 32, 32
LAYERS = 2
EPS = 1e-7
HALF_LOG_2PI = 0.5 * log(2 * pi)
# name, copies, input, output, starting scale of one layer's kernels, in order
KERNELS = (
    ("head", S * H, LATENT, HEAD, 0.1),
    ("attn_proj", S, H * HEAD, LATENT, 0.1),
    ("residual_attn", S, LATENT, LATENT, 0.01),
    ("ff_up", S, LATENT, UP, None),
    ("ff_down", S, UP, LATENT, 0.1),
    ("residual_ff", S, LATENT, LATENT, 0.01),
)
Weights = Mapping[str, Tensor]


def initial_weights() -> dict[str, Tensor]:
    """Weights as section 4.5 starts them, stacked over towers and heads."""
    weights = {
        "centers": 0.5 * torch.randn(S, VOCABULARY, LATENT),
        "log_sigma": torch.zeros(S, VOCABULARY, LATENT),
    }
    first: dict[str, Tensor] = {}
    for name, copies, width, out, scale in KERNELS:
        first |= mlp_weights(name, copies, width, 2 * out, scale)
    for layer in range(LAYERS):
        weights |= {f"{layer}.{name}": value.clone() for name, value in first.items()}
    weights |= mlp_weights("cross", 1, COMBINED, 2 * COMBINED, 0.1)
    return weights | mlp_weights("lm_head", 1, COMBINED, VOCABULARY, None)


def mlp_weights(
    name: str, copies: int, width: int, out: int, scale: float | None
) -> dict[str, Tensor]:
    """Three linear layers, torch's own start; with ``scale`` the last block begins there (R5)."""
    weights = {}
    for i, (a, b) in enumerate(((width, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, out))):
        bound = a**-0.5
        weights[f"{name}.weight{i}"] = torch.empty(copies, a, b).uniform_(-bound, bound)
        weights[f"{name}.bias{i}"] = torch.empty(copies, 1, b).uniform_(-bound, bound)
    if scale is not None:
        weights[f"{name}.weight2"][..., out // 2 :] *= 0.1
        weights[f"{name}.bias2"][..., out // 2 :] = log(scale)
    return weights


class SeedTorch(nn.Module):
    """The model: weights by name, and the log density per row given noise for the middles."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterDict(
            {name.replace(".", "_"): nn.Parameter(v) for name, v in initial_weights().items()}
        )
        self.names = {name.replace(".", "_"): name for name in initial_weights()}

    def named(self) -> dict[str, Tensor]:
        return {self.names[key]: value for key, value in self.weights.items()}


def kernel(weights: Weights, name: str, at: Tensor) -> Tensor:  # (C, B, width) -> (C, B, out)
    """The raw vector of ``copies`` networks on their inputs."""
    hidden = torch.baddbmm(weights[f"{name}.bias0"], at, weights[f"{name}.weight0"]).tanh()
    hidden = torch.baddbmm(weights[f"{name}.bias1"], hidden, weights[f"{name}.weight1"]).tanh()
    return torch.baddbmm(weights[f"{name}.bias2"], hidden, weights[f"{name}.weight2"])


def gaussian(weights: Weights, name: str, at: Tensor) -> tuple[Tensor, Tensor]:
    loc, log_scale = kernel(weights, name, at).chunk(2, dim=-1)
    return loc, log_scale.exp().clamp_min(EPS)


def drawn(weights: Weights, name: str, at: Tensor, noise: Tensor) -> Tensor:
    loc, scale = gaussian(weights, name, at)
    return torch.addcmul(loc, scale, noise)


def noise_shapes(rows: int) -> list[tuple[int, ...]]:
    """Standard normal numbers per middle, in order: 480 a row."""
    per_layer = [(copies, rows, out) for _, copies, _, out, _ in KERNELS]
    return [(S, rows, LATENT), *(per_layer * LAYERS)]


def noise_of(flat: Tensor, rows: int) -> list[Tensor]:  # (rows * 480,) -> the middles' noise
    sizes = [a * b * c for a, b, c in noise_shapes(rows)]
    parts = flat.split(sizes)
    return [part.view(shape) for part, shape in zip(parts, noise_shapes(rows), strict=True)]


def top(weights: Weights, x: Tensor, noise: list[Tensor]) -> Tensor:  # (B, 2) -> (B, 32)
    """Both towers up to the merge."""
    rows, tower = x.shape[0], torch.arange(S)[:, None]
    scale = weights["log_sigma"][tower, x.T].exp().clamp_min(EPS)
    at = torch.addcmul(weights["centers"][tower, x.T], scale, noise[0])
    left = iter(noise[1:])
    for layer in range(LAYERS):
        wide = at.repeat_interleave(H, dim=0)
        heads = drawn(weights, f"{layer}.head", wide, next(left))
        at = heads.view(S, H, rows, HEAD).transpose(1, 2).reshape(S, rows, H * HEAD)
        for name, *_ in KERNELS[1:]:
            at = drawn(weights, f"{layer}.{name}", at, next(left))
    return at.transpose(0, 1).reshape(rows, S * LATENT)


def row_terms(
    weights: Weights, x: Tensor, h: Tensor, token: Tensor, noise: list[Tensor]
) -> Tensor:  # -> (B,)
    """log p(h | middles) + log p(token | h)."""
    loc, scale = gaussian(weights, "cross", top(weights, x, noise)[None])
    z = (h - loc[0]) / scale[0]
    density = (-0.5 * z * z - scale[0].log()).sum(-1) - h.shape[-1] * HALF_LOG_2PI
    logits = kernel(weights, "lm_head", h[None])[0]
    return density - cross_entropy(logits, token, reduction="none")


def draw(model: SeedTorch, x: Tensor) -> tuple[Tensor, Tensor]:
    """A prior draw of ``h`` and the token."""
    weights = model.named()
    with torch.no_grad():
        noise = [torch.randn(shape) for shape in noise_shapes(x.shape[0])]
        loc, scale = gaussian(weights, "cross", top(weights, x, noise)[None])
        h = loc[0] + scale[0] * torch.randn(loc[0].shape)
        logits = kernel(weights, "lm_head", h[None])[0]
        return h, torch.distributions.Categorical(logits=logits).sample()


def svi_losses(model: SeedTorch, x: Tensor, token: Tensor, steps: int, lr: float) -> list[float]:
    """The page's fit: a mean-field guide over ``h`` shared by rows, fused Adam."""
    loc = nn.Parameter(torch.zeros(COMBINED))
    log_scale = nn.Parameter(torch.full((COMBINED,), log(0.1)))
    optimizer = torch.optim.Adam([*model.parameters(), loc, log_scale], lr=lr, fused=True)
    weights, rows = model.named(), x.shape[0]
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        noise = noise_of(torch.randn(rows * 480), rows)
        z = torch.randn(rows, COMBINED)
        h = torch.addcmul(loc, log_scale.exp(), z)
        log_q = (-0.5 * z * z - log_scale).sum(-1) - COMBINED * HALF_LOG_2PI
        loss = -(row_terms(weights, x, h, token, noise) - log_q).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@dataclass(frozen=True)
class SeedTarget:
    """The lifted density over weights and noise, as an `OpenTarget`: N(0, prior_scale²) weights."""

    weights: Weights
    x: Tensor
    h: Tensor
    token: Tensor
    prior_scale: float
    dtype: torch.dtype = torch.float64
    anchor_spread: float = 0.01  # chains start near the weights as they are

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return (self.x.shape[0],)

    @property
    def layout(self) -> Layout:
        coordinates, start = [], 0
        for name, value in self.weights.items():
            shape = tuple(value.shape)
            coordinates.append(Coordinate(f"theta__{name}", start, shape, shape))
            start += value.numel()
        noise = (self.x.shape[0] * 480,)
        coordinates.append(
            Coordinate("noise", start, noise, noise, internal=True, standard_normal=True)
        )
        return Layout(tuple(coordinates))

    def anchor(self) -> Tensor:
        return torch.cat([value.reshape(-1) for value in self.weights.values()])

    def terms(self, q: Tensor, **_: object) -> Terms:  # (*s, dim)
        flat = q.reshape(-1, q.shape[-1])
        if flat.shape[0] == 1:
            return Terms(None, self.density(flat[0]).reshape(q.shape[:-1]))
        return Terms(None, torch.stack([self.density(one) for one in flat]).reshape(q.shape[:-1]))

    def density(self, q: Tensor) -> Tensor:  # (dim,) -> ()
        sizes = [value.numel() for value in self.weights.values()]
        *parts, flat = q.split([*sizes, q.shape[0] - sum(sizes)])
        weights = {
            name: part.view(value.shape)
            for (name, value), part in zip(self.weights.items(), parts, strict=True)
        }
        rows = row_terms(weights, self.x, self.h, self.token, noise_of(flat, self.x.shape[0]))
        theta = q[: sum(sizes)]
        prior = -0.5 * (theta @ theta) / self.prior_scale**2 - theta.shape[0] * (
            HALF_LOG_2PI + log(self.prior_scale)
        )
        return rows.sum() + prior - 0.5 * (flat @ flat) - flat.shape[0] * HALF_LOG_2PI

    def constrain(self, q: Tensor, *, internal: bool = False) -> dict[str, Tensor]:
        return {c.name: c.slice(q) for c in self.layout if internal or not c.internal}

    def unconstrain(self, values: Mapping[str, Tensor]) -> Tensor:
        parts = [
            values[c.name].to(self.dtype).reshape(-1)
            if c.name in values
            else torch.zeros(c.size, dtype=self.dtype)
            for c in self.layout
        ]
        return torch.cat(parts)

    def names_of(self, q: Tensor) -> str:
        return ", ".join(name for name, v in self.constrain(q).items() if not v.isfinite().all())
