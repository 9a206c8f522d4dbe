"""Conditioning: a model with some of its sites clamped."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import Parameter

from quivers_nb.inference.columns import by_name
from quivers_nb.inference.model import (
    DeclaredLatent,
    Latents,
    Model,
    OpenTarget,
    ParameterSite,
    Supports,
    Values,
    refuse_nothing,
)
from quivers_nb.inference.origin import Origin, origin_of
from quivers_nb.inference.trace import Trace


@dataclass(frozen=True)
class ConditionedModel:
    """``model`` with the values of ``data`` in place; everything else is the model's."""

    model: Model
    data: Mapping[str, Any]

    def _with_data(self, values: Values | None) -> dict[str, Any]:
        return {**(values or {}), **self.data}

    @property
    def origin(self) -> Origin | None:
        return origin_of(self.model)

    @property
    def observed_names(self) -> frozenset[str]:
        return self.model.observed_names

    def trace(
        self,
        x: Tensor | None,
        observations: Values | None = None,
        *,
        generator: Generator | None = None,
    ) -> Trace:
        """A run with the data and ``observations`` clamped; the data win."""
        return self.model.trace(x, self._with_data(observations), generator=generator)

    def target(
        self,
        x: Tensor | None,
        observations: Values | None = None,
        *,
        latents: Latents = "all",
        dtype: torch.dtype | None = None,
        missing: Collection[str] = (),
        freeze_masks: bool = False,
    ) -> OpenTarget:
        """The model's target at the data and ``observations`` together."""
        given = self._with_data(observations)
        return self.model.target(
            x, given, latents=latents, dtype=dtype, missing=missing, freeze_masks=freeze_masks
        )

    def log_joint(self, x: Tensor | None, values: Values) -> Tensor:  # -> (*b,)
        """The model's log joint, the data among the values."""
        return self.model.log_joint(x, self._with_data(values))

    def log_density(self, x: Tensor | None, values: Values) -> Tensor:  # -> ()
        """The model's log density, the data among the values."""
        return self.model.log_density(x, self._with_data(values))

    def declared_latents(self, observed_names: Collection[str]) -> tuple[DeclaredLatent, ...]:
        """The model's, without the sites that the data give."""
        return self.model.declared_latents({*observed_names, *self.data})

    def supports(
        self,
        x: Tensor | None,
        observations: Values | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> Supports:
        """The model's, at the data and ``observations`` together."""
        return self.model.supports(x, self._with_data(observations), dtype=dtype)

    def sized(self, x: Tensor | None, observations: Values | None = None) -> "ConditionedModel":
        """The same with the sizes that these data fix; itself, where the model has none."""
        sized = getattr(self.model, "sized", None)
        if sized is None:
            return self
        return replace(self, model=sized(x, self._with_data(observations)))

    def batch_shape(self, x: Tensor | None) -> tuple[int, ...]:
        return self.model.batch_shape(x)

    def storage(self) -> dict[str, Parameter]:
        return self.model.storage()

    def parameter_sites(self) -> tuple[ParameterSite, ...]:
        return self.model.parameter_sites()

    def parameters(self) -> Iterator[Parameter]:
        return self.model.parameters()


def condition(model: Model, data: Mapping[str, Any]) -> ConditionedModel:
    """``model`` with the sites (or host data) named in ``data`` clamped to its values.

    Raises `UserError` for what is no model, and data without names.
    """
    refuse_nothing(model)
    return ConditionedModel(model, dict(by_name(data)))
