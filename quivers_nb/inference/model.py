"""What inference asks of a model: four protocols, implemented by `quivers_nb.lower`.

    Model          a program that can be traced, scored and opened up as a target;
    OpenTarget     the model at a fixed input and observations, over a flat unconstrained vector;
    Supports       the model at a fixed input, to say where the values of its sites lie;
    Parameterized  where the weights are, by path, so that they can be lifted or saved.

Shapes. ``*s`` is the runtime stack (chains, particles), ``*b`` the batch of rows (R1). Nothing in
inference knows the language: a hand-written density only needs an `OpenTarget`.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Generator, Tensor, dtype
from torch.nn import Parameter

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.layout import Layout
from quivers_nb.spaces.support import Support

Values = Mapping[str, Any]  # site or host-data name -> tensor, numpy array, column or list
Latents = Literal["all", "declared"]  # with internal sites (MCMC), or without (guides)


@dataclass(frozen=True, slots=True)
class Terms:
    """A log density counted once (R4): per row, and shared by all rows. ``row`` None: no rows."""

    row: Tensor | None  # (*s, *b)
    shared: Tensor  # (*s,)
    batch_rank: int = 0

    def total(self, row_weight: float = 1.0) -> Tensor:  # -> (*s,)
        """Row terms summed over rows (times ``row_weight``, for minibatches) plus shared ones."""
        if self.row is None:
            return self.shared
        axes = tuple(range(-self.batch_rank, 0))
        summed = self.row.sum(axes) if axes else self.row
        return self.shared + (summed if row_weight == 1.0 else row_weight * summed)


class OpenTarget(Protocol):
    """A density over ``q``; everything else about the model is fixed."""

    @property
    def layout(self) -> Layout: ...
    @property
    def batch_shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> dtype: ...

    def terms(
        self,
        q: Tensor,  # (*s, dim)
        *,
        parameters: Mapping[str, Tensor] | None = None,  # storage key -> (*s, *storage shape)
        generator: Generator | None = None,  # for noise that has no coordinate (guides)
    ) -> Terms:
        """Log density of values and, where a coordinate is unconstrained, its log-Jacobian."""
        ...

    def constrain(
        self,
        q: Tensor,  # (*s, dim)
        *,
        internal: bool = False,
        parameters: Mapping[str, Tensor] | None = None,  # as in `terms`
    ) -> dict[str, Tensor]:
        """Site values, each ``(*s, *value_shape)``."""
        ...

    def unconstrain(self, values: Mapping[str, Tensor]) -> Tensor:
        """The ``q`` of given site values, ``(*s, dim)``; noise coordinates not given are 0."""
        ...

    def names_of(self, q: Tensor) -> str:
        """For messages: the sites whose terms are not finite at ``q``, with their values."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """An open target that knows the density of what is drawn, apart from that of what is given.

    ``terms - prior_terms`` is the log-likelihood of the given values, and of scores.
    """

    def prior_terms(self, q: Tensor) -> Terms:  # (*s, dim)
        """Terms of the draws alone, with log-Jacobians: a normalised density."""
        ...

    def draw_prior(self, count: int, generator: Generator) -> Tensor:  # -> (count, dim)
        """Positions drawn from it. Raises `NoPrior` naming a site that cannot be drawn."""
        ...


class NoPrior(UserError):
    """A method that begins with draws of the prior has none (Q0803): ``fact`` says of what."""

    def __init__(self, fact: str) -> None:
        super().__init__(
            f"the prior cannot be drawn: {fact}. Give the site a proper prior or a value, or use "
            f"MCMC, which needs no draws of the prior ({self.code})"
        )
        self.fact = fact

    code = "Q0803"

    def __reduce__(self) -> tuple[Any, ...]:  # from a process of an executor
        return type(self), (self.fact,)


@dataclass(frozen=True, slots=True)
class ParameterSite:
    """One weight tensor by path: element ``index`` of the stacked storage tensor, or all of it."""

    path: str  # "backbone.encoder.stack[0].enc_head[2].weight0"
    key: str  # key of `Parameterized.storage()`
    index: int | None
    shape: tuple[int, ...]


class Parameterized(Protocol):
    """Weights by storage key and by path. Sites are ordered by key, then by index."""

    def storage(self) -> dict[str, Parameter]: ...
    def parameter_sites(self) -> tuple[ParameterSite, ...]: ...


@dataclass(frozen=True, slots=True)
class DeclaredLatent:
    """A declared site that a guide must cover, as far as it is known without an input.

    ``unconstrained_shape`` and ``value_shape`` are own shapes: no batch axes. The first
    ``plate_rank`` own axes are those of a plate; ``row_wise`` sites are drawn once per row when
    there are rows. ``support`` is None if only a run can say it, as where other values bound the
    site (`Model.supports`). Sites with ``rows_expected`` False are of a program that never reads
    its input: the usual run of it has no rows (R1). ``plate`` names the objects of the plate axes
    ("" without a name), ``meets`` the latents that stand in a term of the density together with
    this one.
    """

    name: str
    unconstrained_shape: tuple[int, ...]
    value_shape: tuple[int, ...]
    support: Support | None
    row_wise: bool
    plate_rank: int = 0
    rows_expected: bool = True
    plate: tuple[str, ...] = ()
    meets: frozenset[str] = frozenset()


class Placed(NamedTuple):
    """A site on its way into its support or out of it: ``(*s, *b, *own)``, ``(*s, *b, *plate)``."""

    value: Tensor  # in the support, or unconstrained
    log_det: Tensor  # log-Jacobian of the map into the support, there


class Supports(Protocol):
    """A model at one input and its data, to say where its sites lie (R12).

    ``parameters`` replace the weights by storage key. Raises `UserError` if the bounds are made of
    something that has no value.
    """

    def constrain(
        self,
        free: Mapping[str, Tensor],  # every declared latent, unconstrained, ``stack`` in front
        names: Collection[str],
        *,
        stack: tuple[int, ...] = (),
        parameters: Mapping[str, Tensor] | None = None,
        generator: Generator | None = None,
        fresh: bool = False,  # whether middles that the bounds are made of are drawn
    ) -> dict[str, Placed]:
        """The values of the sites in ``names``."""
        ...

    def unconstrain(
        self,
        values: Mapping[str, Tensor],  # of every declared latent
        names: Collection[str],
        *,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Placed]:
        """The unconstrained values of the sites in ``names``."""
        ...


class Model(Parameterized, Protocol):
    """A program that inference can work on."""

    @property
    def observed_names(self) -> frozenset[str]: ...

    def declared_latents(self, observed_names: Collection[str]) -> tuple[DeclaredLatent, ...]:
        """The declared stochastic sites not in ``observed_names``, in program order.

        A site whose size is not known before data are seen is an error naming it.
        """
        ...

    def supports(
        self, x: Tensor | None, observations: Values | None = None, *, dtype: dtype | None = None
    ) -> Supports:
        """What knows the supports that `declared_latents` cannot say; no response is needed."""
        ...

    def batch_shape(self, x: Tensor | None) -> tuple[int, ...]:
        """The rows of a run on ``x`` (R1); `()` where there are none."""
        ...

    def trace(
        self, x: Tensor | None, observations: Values | None = None, *,
        generator: Generator | None = None,
    ) -> "Trace": ...  # fmt: skip

    def target(
        self, x: Tensor | None, observations: Values | None = None, *,
        latents: Latents = "all", dtype: dtype | None = None, missing: Collection[str] = (),
        freeze_masks: bool = False,
    ) -> OpenTarget: ...  # fmt: skip

    def log_joint(self, x: Tensor | None, values: Values) -> Tensor: ...  # -> (*b,)
    def log_density(self, x: Tensor | None, values: Values) -> Tensor: ...  # -> ()
    def parameters(self) -> Iterator[Parameter]: ...


def refuse_nothing(model: "Model | None") -> None:
    """Refuse what is no model: None of a module that exports nothing, a name, a morphism."""
    if model is None:
        raise UserError(
            "the model is None: the module exports nothing. Add a line `export NAME` to it"
        )
    if not hasattr(model, "target") and not hasattr(model, "trace"):
        raise UserError(
            f"a model is wanted, such as an exported program, not {model!r:.60} "
            f"({type(model).__name__})"
        )


def refuse_no_guide(guide: Any) -> None:
    """Refuse what cannot start chains: a name, or a class of guides instead of one."""
    if guide is not None and (isinstance(guide, type) or not hasattr(guide, "rsample")):
        raise UserError(
            f"guide={guide!r:.60}: a fitted guide is wanted, such as `run.guide` of fit_svi"
        )


def nothing_to_draw(target: Any) -> str:
    """Why a target without coordinates has no draws, and what there is instead."""
    classes = getattr(target, "classes", None)
    summed = [] if classes is None else [f"`{name}`" for name in classes({}, ())[0]]
    if not summed:
        return (
            "there is nothing to draw: every site of the model has a value; "
            "model.log_density(x, data) is what is known of them"
        )
    return (
        f"there is nothing to draw: the only latents, {', '.join(summed)}, have finitely many "
        "values and are summed exactly; infer_discrete(model, x, data) of quivers_nb.inference "
        "gives their posterior probabilities"
    )


from quivers_nb.inference.trace import Trace  # noqa: E402  (Trace names Model in its function)
