"""Families of single numbers between 0 and 1."""

from quivers_nb.spaces.families.common import blocks, positive, real, shape
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.support import UNIT_INTERVAL

ROWS = (
    Family(
        "LogitNormal",
        (real("mu"), positive("sigma")),
        UNIT_INTERVAL,
        "sigmoid of a normal with mean mu and standard deviation sigma",
        kernel=blocks("mu id", "sigma exp"),
        scale_block="sigma",
        noise=True,
    ),
    Family(
        "Beta",
        (positive("concentration1"), positive("concentration0")),
        UNIT_INTERVAL,
        "mean concentration1 / (concentration1 + concentration0)",
        kernel=blocks("concentration1 softplus+", "concentration0 softplus+"),
    ),
    Family(
        "Kumaraswamy",
        (shape("concentration1"), shape("concentration0")),
        UNIT_INTERVAL,
        "like Beta, with a closed-form distribution function",
        kernel=blocks("concentration1 softplus+", "concentration0 softplus+"),
    ),
    Family(
        "ContinuousBernoulli",
        (real("logits"),),
        UNIT_INTERVAL,
        "density proportional to exp(logits * y)",
        kernel=blocks("logits id"),
    ),
    Family(
        "RelaxedBernoulli",
        (positive("temperature"), real("logits")),
        UNIT_INTERVAL,
        "a differentiable coin: nearly 0 or 1 at low temperature",
        kernel=blocks("logits id"),
        settings=(("temperature", 0.5),),
    ),
)
