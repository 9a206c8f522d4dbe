"""Families of single positive numbers."""

from quivers_nb.spaces.families.common import blocks, positive, real, shape
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.support import POSITIVE, Above

CONCENTRATION_RATE = (positive("concentration"), positive("rate"))
CONCENTRATION_RATE_BLOCKS = blocks("concentration softplus+", "rate softplus")

ROWS = (
    Family(
        "LogNormal",
        (real("loc"), positive("scale")),
        POSITIVE,
        "exp of a normal with mean loc and standard deviation scale",
        kernel=blocks("loc id", "scale softplus"),
        scale_block="scale",
        noise=True,
    ),
    Family(
        "HalfNormal",
        (positive("scale"),),
        POSITIVE,
        "absolute value of a centered normal",
        kernel=blocks("scale softplus"),
        scale_block="scale",
    ),
    Family(
        "HalfCauchy",
        (positive("scale"),),
        POSITIVE,
        "absolute value of a centered Cauchy",
        kernel=blocks("scale softplus"),
        scale_block="scale",
    ),
    Family(
        "HalfStudentT",
        (shape("df"), positive("scale")),
        POSITIVE,
        "absolute value of a centered Student t",
    ),
    Family(
        "HalfLaplace",
        (positive("scale"),),
        POSITIVE,
        "absolute value of a centered Laplace: an exponential with mean scale",
    ),
    Family(
        "Exponential",
        (positive("rate"),),
        POSITIVE,
        "waiting time with mean 1/rate",
        kernel=blocks("rate softplus"),
    ),
    Family(
        "Gamma",
        CONCENTRATION_RATE,
        POSITIVE,
        "mean concentration/rate",
        kernel=CONCENTRATION_RATE_BLOCKS,
    ),
    Family(
        "InverseGamma",
        CONCENTRATION_RATE,
        POSITIVE,
        "one over a Gamma draw; rate is its scale",
        kernel=CONCENTRATION_RATE_BLOCKS,
    ),
    Family(
        "Chi2",
        (shape("df"),),
        POSITIVE,
        "sum of df squared standard normals",
        kernel=blocks("df softplus+"),
    ),
    Family(
        "Weibull",
        (positive("scale"), positive("concentration")),
        POSITIVE,
        "waiting time whose hazard rises if concentration > 1",
        kernel=blocks("scale softplus", "concentration softplus"),
        scale_block="scale",
    ),
    Family(
        "Pareto",
        (positive("scale"), positive("alpha")),
        Above("scale"),
        "power law with tail index alpha, above scale",
        kernel=blocks("scale softplus", "alpha softplus"),
        scale_block="scale",
    ),
    Family(
        "FisherSnedecor",
        (shape("df1"), shape("df2")),
        POSITIVE,
        "ratio of two scaled Chi2 draws",
        kernel=blocks("df1 softplus+", "df2 softplus+"),
    ),
    Family(
        "GeneralizedPareto",
        (real("loc"), positive("scale"), real("concentration")),
        Above("loc"),
        "excesses over a threshold loc",
        kernel=blocks("loc id", "scale softplus", "concentration id"),
        scale_block="scale",
    ),
    Family(
        "HalfFlat",
        (),
        POSITIVE,
        "log density 0 on the positive numbers: improper, cannot be sampled",
        improper=True,
    ),
)
