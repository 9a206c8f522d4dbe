"""Families of single numbers, on the whole line or between two bounds."""

from math import pi

from quivers_nb.spaces.families.common import blocks, positive, real, shape
from quivers_nb.spaces.family import Codomain, Family, Parameter, RawBlock
from quivers_nb.spaces.support import REAL, Above, Between, SimplexSupport

LOC_SCALE = (real("loc"), positive("scale"))
LOC_SCALE_BLOCKS = blocks("loc id", "scale softplus")
BOUNDS = (Parameter("low", REAL), Parameter("high", Above("low")))

ROWS = (
    Family(
        "Normal",
        LOC_SCALE,
        REAL,
        "bell curve with mean loc and standard deviation scale",
        kernel=blocks("loc id", "scale exp"),
        scale_block="scale",
        noise=True,
    ),
    Family(
        "Cauchy",
        LOC_SCALE,
        REAL,
        "bell curve with tails so heavy that it has no mean",
        kernel=LOC_SCALE_BLOCKS,
        scale_block="scale",
    ),
    Family(
        "Laplace",
        LOC_SCALE,
        REAL,
        "exponential tails on both sides of loc",
        kernel=LOC_SCALE_BLOCKS,
        scale_block="scale",
    ),
    Family(
        "Gumbel",
        LOC_SCALE,
        REAL,
        "the largest of many: skewed to the right, mode loc",
        kernel=LOC_SCALE_BLOCKS,
        scale_block="scale",
    ),
    Family(
        "StudentT",
        (shape("df"), real("loc"), positive("scale")),
        REAL,
        "bell curve whose tails are heavy for small df",
        kernel=blocks("df softplus+", "loc id", "scale softplus"),
        scale_block="scale",
    ),
    Family(
        "MixtureNormal",
        (
            Parameter("weights", SimplexSupport(), 1),
            real("loc", 1),
            positive("scale", 1),
        ),
        REAL,
        "a weighted sum of normal densities",
        literal=False,
        kernel=(
            RawBlock("weights", "k", "softmax"),
            RawBlock("loc", "k", "id"),
            RawBlock("scale", "k", "softplus"),
        ),
        settings=(("num_components", 2),),
    ),
    Family(
        "VonMises",
        (real("loc"), positive("concentration")),
        Between(-pi, pi),
        "an angle in radians between -pi and pi, gathered around loc",
        kernel=blocks("loc id", "concentration softplus"),
    ),
    Family(
        "Uniform",
        BOUNDS,
        Between("low", "high"),
        "every number between low and high alike",
        kernel=blocks("low center", "high width"),
    ),
    Family(
        "TruncatedNormal",
        (real("mu"), positive("sigma"), *BOUNDS),
        Between("low", "high"),
        "a normal distribution restricted to low ... high",
        kernel=blocks("mu midpoint", "sigma exp"),
        codomain=Codomain.BOUNDED,
        scale_block="sigma",
    ),
    Family(
        "Flat",
        (),
        REAL,
        "log density 0 everywhere: improper, cannot be sampled",
        improper=True,
    ),
)
