"""Traces: one run of a program, site by site (section 7.12)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Generator, Tensor

if TYPE_CHECKING:
    from quivers_nb.inference.model import Model, Values


@dataclass(frozen=True, slots=True)
class Site:
    """One site of a run. ``morphism`` names the family or the declared morphism it came from."""

    value: Any
    log_prob: Tensor
    is_observed: bool
    is_deterministic: bool
    morphism: str


@dataclass(frozen=True, slots=True)
class Trace:
    """A run. ``sites`` has the declared names only; ``internal_sites`` the middles, by path (R3).

    ``log_joint`` is the complete joint density of both, per row, ``(*b,)``.
    """

    sites: Mapping[str, Site]
    internal_sites: Mapping[str, Site]
    output: Any
    log_joint: Tensor

    @property
    def stochastic_sites(self) -> Mapping[str, Site]:
        """Sample and observe sites."""
        return self._where(lambda site: not site.is_deterministic)

    @property
    def latent_sites(self) -> Mapping[str, Site]:
        """Stochastic sites that were drawn."""
        return self._where(lambda site: not (site.is_deterministic or site.is_observed))

    @property
    def observed_sites(self) -> Mapping[str, Site]:
        """Sites that were given a value."""
        return self._where(lambda site: site.is_observed)

    def _where(self, keep: Any) -> Mapping[str, Site]:
        return MappingProxyType({name: site for name, site in self.sites.items() if keep(site)})


def trace(
    model: "Model",
    x: Tensor | None,
    observations: "Values | None" = None,
    *,
    generator: Generator | None = None,
) -> Trace:
    """Run ``model`` on ``x``: given sites are clamped, the others drawn. See `Model.trace`."""
    from quivers_nb.inference.model import refuse_nothing  # noqa: PLC0415  (model names Trace)

    refuse_nothing(model)
    return model.trace(x, observations, generator=generator)
