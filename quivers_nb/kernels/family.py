"""Densities: the numeric half of a distribution family, as plain functions on tensors.

A `Density` answers three questions about a family whose row is in `quivers_nb.spaces.families`:
how dense is this value (`log_prob`), draw me one (`sample`), and, where the row says ``noise``,
which value does this standard normal noise stand for (`from_noise`). Parameters come first to last
as in the row, as tensors. Clamps (section 7.3) are the caller's: nothing here alters a parameter.

Shapes. ``*n`` is whatever the caller stacks in front (chains, rows, plates); parameters and value
broadcast over it. ``*E`` is the event: ``()`` for scalar families, summed over inside for others.

Laws, checked for every family of the registry by ``tests/laws``:
    stacking   log_prob of stacked points is the stack of their log_probs;
    support    samples lie in the row's support; log_prob is -inf outside it, and never NaN;
    agreement  sample and log_prob describe one distribution (goodness of fit, calibrated);
    mass       exp(log_prob) integrates or sums to one;
    noise      from_noise pushes the standard normal to the density;
    gradients  of log_prob agree with finite differences wherever the density is smooth.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor

from quivers_nb.diagnostics.errors import UserError

Params = tuple[Tensor, ...]
Draw = Callable[[Params, tuple[int, ...], Generator | None], Tensor]
SizedDraw = Callable[[Params, tuple[int, ...], Generator | None, int], Tensor]


def _same(width: int) -> int:
    return width


@dataclass(frozen=True, slots=True)
class Density:
    """One family, in numbers.

    ``log_prob(y, *params)`` is elementwise for scalar families and ``(*n,)`` for others; ``y`` may
    be floats or integers. ``draw`` makes samples; ``sized_draw`` replaces it where the size of a
    value cannot be read off the parameters (LKJCholesky: rows of the matrix). Both None: improper.
    ``reparameterized``: samples carry gradients to the parameters. ``noise_width`` maps the width
    of a vector value to that of its noise; scalar families use one noise number per value.
    """

    name: str
    log_prob: Callable[..., Tensor]  # (*n, *E), *params -> (*n,)
    draw: Draw | None = None
    from_noise: Callable[..., Tensor] | None = None  # (*n, *noise), *params -> (*n, *E)
    noise_width: Callable[[int], int] = _same
    reparameterized: bool = True
    sized_draw: SizedDraw | None = None

    def sample(
        self,
        params: Params,
        shape: tuple[int, ...],
        generator: Generator | None = None,
        *,
        size: int | None = None,
    ) -> Tensor:  # -> (*shape, *E)
        """One independent draw for each index of ``shape``, to which the parameters broadcast.

        ``generator`` None is torch's global one. ``size`` is for families with a `sized_draw`.

        Raises `UserError` if the family is improper, or needs a ``size`` and has none.
        """
        if self.sized_draw is not None:
            if size is None:
                raise UserError(
                    f"{self.name} cannot tell the size of its values; give it with [over=...]"
                )
            return self.sized_draw(params, shape, generator, size)
        if self.draw is None:
            raise UserError(
                f"{self.name}() is improper (its density has no finite mass), so it cannot be "
                "sampled; use a proper prior, or give this site a value"
            )
        return self.draw(params, shape, generator)
