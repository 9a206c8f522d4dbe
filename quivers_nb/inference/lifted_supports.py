"""Supports that are made of lifted weights, for guides (R12, R14)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import Generator, Tensor

from quivers_nb.inference.model import Placed, Supports


@dataclass(frozen=True)
class LiftedSupports:
    """Those of a model, with the weights that are among the values in place of its own.

    ``weights`` makes storage tensors by key of site values with a stack.
    """

    inner: Supports
    weights: Callable[[Mapping[str, Tensor], tuple[int, ...]], Mapping[str, Tensor]]

    def constrain(
        self,
        free: Mapping[str, Tensor],
        names: Collection[str],
        *,
        stack: tuple[int, ...] = (),
        parameters: Mapping[str, Tensor] | None = None,
        generator: Generator | None = None,
        fresh: bool = False,
    ) -> dict[str, Placed]:
        """The values of the sites in ``names``."""
        given = {**self.weights(free, stack), **(parameters or {})}
        return self.inner.constrain(
            free, names, stack=stack, parameters=given, generator=generator, fresh=fresh
        )

    def unconstrain(
        self,
        values: Mapping[str, Tensor],
        names: Collection[str],
        *,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Placed]:
        """The unconstrained values of the sites in ``names``."""
        given = {**self.weights(values, ()), **(parameters or {})}
        return self.inner.unconstrain(values, names, parameters=given)
