"""The amortized normal guide: moments of row-wise sites are functions of what the row shows.

Kingma & Welling (2014), "Auto-encoding variational Bayes", section 3; Gershman & Goodman (2014),
"Amortized inference in probabilistic reasoning".
"""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from math import log, prod
from typing import Any, Self

from torch import Generator, Tensor, nn

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.model import DeclaredLatent, Model, Values
from quivers_nb.inference.options import known_options
from quivers_nb.inference.ranges import Count, Positive
from quivers_nb.inference.vi.guide import default_dtype, parameter_name
from quivers_nb.inference.vi.guides.normal import AutoNormalGuide
from quivers_nb.inference.vi.network import Network, widths_of
from quivers_nb.inference.vi.rows import Shape

Features = Callable[[Tensor | None, Values], Tensor]  # x, observations -> (*b, in_features)


def input_itself(x: Tensor | None, obs: Values) -> Tensor:  # noqa: ARG001
    """``x``, one vector per row."""
    if x is None:
        raise UserError(
            "the amortized guide reads x, which is None: give features=lambda x, obs: ... that "
            "reads the observations"
        )
    return x


@known_options
class AmortizedNormalGuide(AutoNormalGuide):
    """Normal like `AutoNormalGuide`, but row-wise sites get their moments from a network per site.

    ``features(x, obs)`` gives what the networks read, ``(*b, in_features)``; by default ``x``
    itself. ``hidden`` are the widths of each network; its last layer starts at zero, so the guide
    starts at location 0 and scale ``init_scale`` in every row. Other sites have parameters as in
    `AutoNormalGuide`.

    ``fit_svi(..., guide=AmortizedNormalGuide)`` takes ``in_features`` from the input (`for_input`).

    The guide must be bound to its input, ``guide.at(x, obs)``, before it can draw; `SVI` does so.
    `rsample` and `log_prob` bind themselves to the ``x`` that they are given, so only features that
    read observations need ``guide.at(x, obs)`` before `Predictive`; `MCMC` binds it itself.

    Raises `UserError` if no site is row-wise, or an option is missing or out of its range.
    """

    features: Tensor | None = None  # (*b, in_features), once bound

    def __init__(
        self,
        model: Model,
        observed_names: Collection[str] = (),
        *,
        in_features: Count | None = None,
        hidden: Sequence[int] = (32,),
        features: Features = input_itself,
        init_scale: Positive = 0.1,
        generator: Generator | None = None,
    ) -> None:
        if in_features is None:
            raise UserError(
                "in_features is not given: the width of what the networks read for a row, "
                "in_features=x.shape[-1]. fit_svi(..., guide=AmortizedNormalGuide) finds it itself"
            )
        widths = widths_of(hidden)
        super().__init__(model, observed_names, init_scale)
        row_wise = [latent for latent in self.covered.latents if latent.row_wise]
        if not row_wise:
            raise UserError("no site is row-wise: there is nothing to amortize")
        self._read, self._in_features, self._start = features, in_features, log(init_scale)
        dtype = default_dtype(model)
        self.networks = nn.ModuleDict(
            {
                parameter_name("moments", latent.name): Network(
                    (in_features, *widths, 2 * prod(latent.unconstrained_shape)),
                    dtype,
                    generator=generator,
                )
                for latent in row_wise
            }
        )

    @classmethod
    def for_input(
        cls,
        model: Model,
        observed_names: Collection[str],
        x: Tensor | None,
        obs: Values,
        **options: Any,
    ) -> Self:
        """The guide whose ``in_features`` is the width of the features of ``x`` and ``obs``.

        Raises `UserError` as the class does, and if the features are no rows of real numbers.
        """
        features = options.get("features", input_itself)(x, obs)
        batch = model.batch_shape(x)
        if tuple(features.shape[:-1]) != batch or not features.is_floating_point():
            raise UserError(
                f"what the amortized guide reads has shape {tuple(features.shape)} and type "
                f"{features.dtype}; real numbers {(*batch, 'in_features')} are wanted: give "
                "partial(AmortizedNormalGuide, features=lambda x, obs: ...)"
            )
        return cls(model, observed_names, in_features=int(features.shape[-1]), **options)

    def _has_own_parameters(self, latent: DeclaredLatent) -> bool:
        return not latent.row_wise

    def at(self, x: Tensor | None, obs: Values | None = None) -> "AmortizedNormalGuide":
        """The same guide, sharing its parameters, bound to this input."""
        try:
            features = self._read(x, obs or {})
        except KeyError as error:
            raise UserError(
                f"the features of the guide read {error.args[0]!r}, which is not given: bind the "
                "guide with guide.at(x, obs)"
            ) from None
        batch = self._batch_shape(x)
        if tuple(features.shape) != (*batch, self._in_features):
            raise UserError(
                f"the features have shape {tuple(features.shape)}; the guide was made for "
                f"{(*batch, self._in_features)}: rows, then in_features"
            )
        bound = copy.copy(self.placed(x, obs))
        bound.features = features.to(next(self.parameters()).dtype)
        return bound

    def moments(self, name: str) -> tuple[Tensor, Tensor]:
        """Of a row-wise site ``(*b, *own)``, from its network; of others as they are."""
        latent = self.covered.by_name[name]
        if not latent.row_wise:
            return super().moments(name)
        if self.features is None:
            raise UserError("this guide reads its input: bind it first, guide.at(x, obs)")
        output = self.networks[parameter_name("moments", name)](self.features)
        own = latent.unconstrained_shape
        loc, log_scale = output.unflatten(-1, (2, -1)).unbind(-2)
        shape = (*self.features.shape[:-1], *own)
        return loc.reshape(shape), (log_scale + self._start).reshape(shape)

    def check_rows(self, front: Shape) -> Shape:
        """The rows must be those of the features."""
        if self.features is not None and front != tuple(self.features.shape[:-1]):
            raise UserError(
                f"the guide is bound to rows {tuple(self.features.shape[:-1])}, asked for {front}"
            )
        return front

    def _drawn(
        self, x: Tensor | None, stack: Shape, generator: Generator | None
    ) -> dict[str, Tensor]:
        if self.features is None:
            return self.at(x)._drawn(x, stack, generator)
        return super()._drawn(x, stack, generator)

    def log_prob(self, x: Tensor | None, sites: Mapping[str, Tensor]) -> Tensor:  # -> (*b,)
        """Log density of constrained values per row; sites without rows count in every row."""
        if self.features is None:
            return self.at(x).log_prob(x, sites)
        return super().log_prob(x, sites)
