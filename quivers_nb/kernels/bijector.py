"""Bijectors: smooth one-to-one maps from unconstrained vectors onto a support.

Guides and samplers walk in unconstrained space; a bijector takes them to values and says by how
much volume was stretched. Scalar supports are mapped elementwise. Vectors and matrices come from
one flat vector each, so the last axis of ``u`` and the event axes of ``y`` may differ in size.

Shapes. ``*U`` is ``()`` for scalar supports and ``(k,)`` else; ``*E`` the event of the value.

Laws, checked for every bijector by ``tests/laws/test_bijector_laws.py``:
    round trip  inverse(forward(u)) = u and forward(inverse(y)) = y;
    landing     forward(u) lies in the support;
    volume      log_det is the log determinant of the Jacobian, taken over the free coordinates of
                the value (all but the last of a simplex; strictly lower entries of a correlation
                factor; lower entries of a matrix): the same measure as the densities use;
    stacking    leading axes are only mapped over.
"""

from typing import Protocol

from torch import Tensor


class Bijector(Protocol):
    """A map onto a support. ``event_rank`` counts the event axes of a value."""

    @property
    def event_rank(self) -> int: ...

    def unconstrained_shape(self, value_shape: tuple[int, ...]) -> tuple[int, ...]:
        """``(*n, *E) -> (*n, *U)``."""
        ...

    def forward(self, u: Tensor) -> Tensor: ...  # (*n, *U) -> (*n, *E)

    def forward_and_log_det(self, u: Tensor) -> tuple[Tensor, Tensor]: ...

    # (*n, *U) -> (*n, *E), (*n,); elementwise for scalar supports

    def inverse(self, y: Tensor) -> Tensor: ...  # (*n, *E) -> (*n, *U)
