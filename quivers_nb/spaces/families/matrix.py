"""Families of matrices."""

from quivers_nb.spaces.families.common import positive
from quivers_nb.spaces.family import Family, Parameter, RawBlock
from quivers_nb.spaces.support import REAL, CorrelationCholesky, LowerCholesky, PositiveDefinite

TRIL = Parameter("scale_tril", LowerCholesky(), 2)
WISHART_BLOCKS = (
    RawBlock("df", "1", "df"),
    RawBlock("scale_tril", "m*(m+1)//2", "tril"),
)

ROWS = (
    Family(
        "LKJCholesky",
        (positive("concentration"),),
        CorrelationCholesky(),
        "Cholesky factor of a random correlation matrix; uniform at concentration 1",
        event_rank=2,
        kernel=(RawBlock("concentration", "1", "softplus+"),),
    ),
    Family(
        "MatrixNormal",
        (
            Parameter("loc", REAL, 2),
            Parameter("row_scale", LowerCholesky(), 2),
            Parameter("col_scale", LowerCholesky(), 2),
        ),
        REAL,
        "normal matrix loc + row_scale Z col_scale'",
        event_rank=2,
        literal=False,
        kernel=(
            RawBlock("loc", "rows*cols", "matrix"),
            RawBlock("row_scale", "rows*(rows+1)//2", "tril"),
            RawBlock("col_scale", "cols*(cols+1)//2", "tril"),
        ),
    ),
    Family(
        "Wishart",
        (positive("df"), TRIL),
        PositiveDefinite(),
        "sum of df outer products of normal vectors with factor scale_tril",
        event_rank=2,
        literal=False,
        kernel=WISHART_BLOCKS,
    ),
    Family(
        "InverseWishart",
        (positive("df"), TRIL),
        PositiveDefinite(),
        "inverse of a Wishart draw with the same parameters",
        event_rank=2,
        literal=False,
        kernel=WISHART_BLOCKS,
    ),
)
