"""Two programs written by hand in plain torch: the yardsticks of `benchmarks.programs`.

Both take one unconstrained vector with the sites in the order of the program, and return the whole
log density, priors and log-Jacobians included, as a careful user of torch would write it.
"""

from dataclasses import dataclass
from math import lgamma, log, pi

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad, softplus

HALF_LOG_2PI = 0.5 * log(2 * pi)


def log_simplex(u: Tensor) -> tuple[Tensor, Tensor]:  # (*n, k - 1) -> (*n, k), ()
    """Logarithms of stick-breaking shares (Stan Reference Manual), and the log-Jacobian."""
    k = u.shape[-1]
    t = u - torch.arange(k, 0, -1, dtype=u.dtype).log()
    log_share, left = logsigmoid(t), logsigmoid(-t).cumsum(-1)
    return pad(log_share, (0, 1)) + pad(left, (1, 0)), (log_share + left).sum()


def log_dirichlet(log_p: Tensor, a: float) -> Tensor:
    """A symmetric Dirichlet at each row of ``log_p`` ``(n, k)``, summed."""
    n, k = log_p.shape
    return (a - 1.0) * log_p.sum() + n * (lgamma(k * a) - k * lgamma(a))


@dataclass(frozen=True)
class Lda:
    """Topics summed out word by word (Blei, Ng and Jordan 2003, equation 3)."""

    doc: Tensor  # (N,)
    word: Tensor  # (N,)
    sizes: tuple[int, int, int]  # documents, topics, words

    def __call__(self, q: Tensor) -> Tensor:  # (dim,) -> ()
        d, k, v = self.sizes
        theta, a = log_simplex(q[: d * (k - 1)].reshape(d, k - 1))
        phi, b = log_simplex(q[d * (k - 1) :].reshape(k, v - 1))
        each = torch.logsumexp(
            theta.T.index_select(1, self.doc) + phi.index_select(1, self.word), 0
        )
        return each.sum() + log_dirichlet(theta, 0.5) + log_dirichlet(phi, 0.1) + a + b


@dataclass(frozen=True)
class TwoParameterLogistic:
    """Item response, 2PL: logit P(y_ij = 1) = a_j (theta_i - b_j), all pairs at once."""

    y: Tensor  # (persons, items)

    def __call__(self, q: Tensor) -> Tensor:  # (dim,) -> ()
        persons, items = self.y.shape
        theta, log_a, b = q.split([persons, items, items])
        a = log_a.exp()
        eta = (theta[:, None] - b) * a
        prior = -0.5 * (theta.square().sum() + (log_a / 0.5).square().sum() + b.square().sum())
        count = persons + 2 * items
        # LogNormal(0, 0.5): its 1/a cancels against the log-Jacobian of a = exp(log_a)
        constant = -count * HALF_LOG_2PI - items * log(0.5)
        return (self.y * eta - softplus(eta)).sum() + prior + constant
