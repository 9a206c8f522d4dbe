"""A small regression, for tests of what is compiled once and found again."""

import numpy as np

PROGRAM = """object Row : FinSet 12
object Predictor : FinSet 3
program p : Row -> Row
    sample alpha <- Normal(0.0, 2.5)
    sample beta : Predictor <- Normal(0.0, 1.0)
    let eta = alpha + matmul(x, beta)
    observe y : Row <- Normal(eta, 1.5)
    return alpha
export p
"""


def observations(seed=0):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(12, 3)), "y": rng.normal(size=12)}
