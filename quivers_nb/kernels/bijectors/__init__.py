"""The bijector of each support. Named bounds are looked up among the family's parameters."""

from collections.abc import Mapping

from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.kernels.bijector import Bijector
from quivers_nb.kernels.bijectors.matrix import CholeskyFactor, CorrelationFactor, Covariance
from quivers_nb.kernels.bijectors.ordered import Ordered
from quivers_nb.kernels.bijectors.scalar import FromAbove, FromBelow, Identity, Interval
from quivers_nb.kernels.bijectors.simplex import StickBreaking
from quivers_nb.spaces.support import (
    Above,
    Below,
    Between,
    Bound,
    CorrelationCholesky,
    Increasing,
    LowerCholesky,
    PositiveDefinite,
    RealLine,
    SimplexSupport,
    Support,
)

FREE_OF_PARAMETERS: Mapping[type[Support], Bijector] = {
    RealLine: Identity(),
    SimplexSupport: StickBreaking(),
    CorrelationCholesky: CorrelationFactor(),
    LowerCholesky: CholeskyFactor(),
    PositiveDefinite: Covariance(),
    Increasing: Ordered(),
}

NO_PARAMETERS: Mapping[str, Tensor] = {}


def bijector_for(support: Support, params: Mapping[str, Tensor] = NO_PARAMETERS) -> Bijector:
    """The bijector onto ``support``, its named bounds taken from ``params`` (by parameter name).

    Raises `UserError` for a discrete support, whose values are isolated points.
    """
    if isinstance(support, Above):
        return FromBelow(_bound(support.low, params))
    if isinstance(support, Below):
        return FromAbove(_bound(support.high, params))
    if isinstance(support, Between):
        return Interval(_bound(support.low, params), _bound(support.high, params))
    bijector = FREE_OF_PARAMETERS.get(type(support))
    if bijector is None:
        raise UserError(
            f"{type(support).__name__} values are isolated points, so they have no unconstrained "
            "coordinates; observe the site, or sum it out with `marginalize`"
        )
    return bijector


def _bound(bound: Bound, params: Mapping[str, Tensor]) -> float | Tensor:
    return params[bound] if isinstance(bound, str) else bound
