"""The benchmark models as QVR programs, site for site those of the peers.

Positive sites are compared on the log scale: some of them have no mean (half-Cauchy tails).
"""

from typing import Any

import numpy as np

EIGHT = """object School : FinSet 8
program eight : School -> School
    sample mu <- Normal(0.0, 5.0)
    sample tau <- HalfCauchy(5.0)
    sample t : School <- Normal(0.0, 1.0)
    let m = mu + tau * t
    let se = 1.0 * s
    observe y : School <- Normal(m, se)
    return tau
export eight
"""
LOGREG = """object Row : FinSet 1000
object Predictor : FinSet 20
program logreg : Row -> Row
    sample alpha <- Normal(0.0, 2.5)
    sample beta : Predictor <- Normal(0.0, 1.0)
    let eta = alpha + matmul(x, beta)
    observe y : Row <- BernoulliLogit(eta)
    return alpha
export logreg
"""
RADON = """object Row : FinSet 900
object Group : FinSet 85
program radon : Row -> Row
    sample mu_a <- Normal(0.0, 2.0)
    sample gam <- Normal(0.0, 2.0)
    sample mu_b <- Normal(0.0, 2.0)
    sample sa <- HalfNormal(1.0)
    sample sb <- HalfNormal(1.0)
    sample sy <- HalfNormal(1.0)
    sample za : Group <- Normal(0.0, 1.0)
    sample zb : Group <- Normal(0.0, 1.0)
    let a = mu_a + gam * u + sa * za
    let b = mu_b + sb * zb
    let m = a[idx] + b[idx] * floor
    observe y : Row <- Normal(m, sy)
    return sy
export radon
"""
IRT = """object Person : FinSet 100
object Item : FinSet 20
program irt : Person -> Person
    sample th : Person <- Normal(0.0, 1.0)
    sample mb <- Normal(0.0, 1.0)
    sample sb <- HalfNormal(1.0)
    sample zb : Item <- Normal(0.0, 1.0)
    sample la : Item <- Normal(0.0, 0.5)
    let b = mb + sb * zb
    let slope = exp(la)
    let eta = factor p : Person, i : Item in slope[i] * (th[p] - b[i])
    observe y : Person * Item <- BernoulliLogit(eta)
    return mb
export irt
"""
HORSESHOE = """object Row : FinSet 200
object Predictor : FinSet 50
program horseshoe : Row -> Row
    sample alpha <- Normal(0.0, 5.0)
    sample tau <- HalfCauchy(0.1)
    sample lam : Predictor <- HalfCauchy(1.0)
    sample z : Predictor <- Normal(0.0, 1.0)
    sample sig <- HalfNormal(2.0)
    let beta = tau * lam * z
    let m = alpha + matmul(x, beta)
    observe y : Row <- Normal(m, sig)
    return sig
export horseshoe
"""
VAE = """object Image : Real 196
object Code : Real 8
morphism decode : Code -> Image [role=kernel, param_source=mlp(200)] ~ Normal
program vae : Image -> Image
    sample z : Code <- Normal(0.0, 1.0)
    observe y <- decode(z)
    return y
export vae
"""

PROGRAMS = {
    "eight": EIGHT, "logreg": LOGREG, "radon": RADON, "irt": IRT, "horseshoe": HORSESHOE,
}  # fmt: skip
POSITIVE = frozenset({"tau", "sa", "sb", "sy", "lam", "sig"})


def host_data(data: dict[str, Any]) -> dict[str, Any]:
    """The shared data as our programs read them: arrays only."""
    return {key: value for key, value in data.items() if isinstance(value, np.ndarray)}
