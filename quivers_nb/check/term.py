# budget: the typed term is one idea; every reader (lower, diagrams, cards) opens this one file
"""The typed term: what a checked module means, before any tensor exists.

Everything downstream is a reading of these frozen values: `lower` turns them into torch, `diagrams`
into pictures, cards into signatures. Nothing here imports torch, and nobody else makes names.

Two kinds of names are made once, in `quivers_nb.check.paths` (ruling R13):
    occurrence path  where a morphism stands: ``h/backbone/@[0]/encoder/stack[0]/enc_attn_proj``;
    parameter path   whose weights it uses: ``backbone.encoder.stack[0].enc_attn_proj`` (+ tensor).

Laws, checked by `quivers_nb.check.verify` and tested on every program of the suite:
    types meet     in a chain, cod of each part is compatible with dom of the next (3.5, 3.6);
    sharing        two generators with equal ``owner`` have equal `Morphism`;
    scoping        every variable a step reads is an input, an earlier step's name, or host data.
"""

from dataclasses import dataclass, field
from enum import Enum

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.source import SourceText, Span
from quivers_nb.spaces.effect import Effect
from quivers_nb.spaces.space import Finite, Object
from quivers_nb.spaces.support import Support

NO_SPAN = Span(0, 0)


# --- morphisms ------------------------------------------------------------------------------


class Role(Enum):
    """The six roles of a morphism declaration (section 4)."""

    LATENT = "latent"
    OBSERVED = "observed"
    KERNEL = "kernel"
    EMBED = "embed"
    DISCRETIZE = "discretize"
    LET = "let"


class SourceKind(Enum):
    """Where a kernel's raw parameters come from (section 4.5)."""

    LOOKUP = "lookup"
    MLP = "mlp"
    LINEAR = "linear"
    IDENTITY = "identity"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class ParamSource:
    """A parameter network. ``widths``: hidden widths of an mlp; ``heads``: of attention.

    ``explicit`` is true when the option was written (a lookup then starts smaller, 4.5).
    """

    kind: SourceKind
    widths: tuple[int, ...] = ()
    heads: int = 4
    explicit: bool = False


@dataclass(frozen=True, slots=True)
class Morphism:
    """One declared morphism (one member of a replicated group), options resolved to defaults.

    ``family`` is a key of `quivers_nb.spaces.families.FAMILIES`, None for a plain Markov table
    (role kernel), an embed or a latent. ``settings`` are family constants (temperature, rank, …).
    ``scale`` is None when not written (R5).
    """

    name: str
    member: int | None
    role: Role
    dom: Object
    cod: Object
    family: str | None = None
    source: ParamSource | None = None
    scale: float | None = None
    init: str | None = None
    settings: tuple[tuple[str, float | int | str], ...] = ()
    data: str | None = None  # of an observed table: the key that `from_data` reads; None: identity
    prior: "Prior | None" = None  # of a latent: what its table is drawn from
    span: Span = field(default=NO_SPAN, compare=False)
    dom_text: str = field(default="", compare=False)  # the types in the words of the declaration
    cod_text: str = field(default="", compare=False)

    @property
    def label(self) -> str:
        """The name as it stands in paths: ``enc_head[2]`` for a member of a group."""
        return self.name if self.member is None else f"{self.name}[{self.member}]"


@dataclass(frozen=True, slots=True)
class Prior:
    """The prior of a latent's table (4.2): a plate over the axes of dom and cod but the event's.

    ``rows``: every row of the table lies on a simplex. ``value`` says what the table is, under the
    name of the declaration; ``host_names`` are the data that the prior reads.
    """

    source: "FamilyCall"
    plate: tuple["Axis", ...]
    value: "VariableInfo"
    rows: bool = False
    host_names: tuple[str, ...] = ()
    read: tuple["VariableInfo", ...] = ()  # the declared data among them


# --- morphism expressions -------------------------------------------------------------------

Owner = tuple[str | int, ...]  # identity of a parameter set; equal owners share parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class TermNode:
    """A morphism ``dom -> cod``. ``sequence``: it consumes one axis L of its input (R1)."""

    dom: Object
    cod: Object
    sequence: bool = False
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator(TermNode):
    """A declared morphism in use."""

    morphism: Morphism
    owner: Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity(TermNode):
    """``identity(A)``: a deterministic wire; ``text`` is the object's name."""

    text: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compose(TermNode):
    """``f >> g >> …`` in the order of data flow, flattened where composition is associative."""

    parts: tuple["Term", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel(TermNode):
    """``f @ g @ …``, flattened; path segments ``@[i]``."""

    parts: tuple["Term", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fan(TermNode):
    """``fan(f, g, …)``, groups expanded; path segments ``fan[i]``."""

    parts: tuple["Term", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat(TermNode):
    """``repeat(e, n)``: n passes through one body; path segments ``repeat[i]``."""

    body: "Term"
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack(TermNode):
    """``stack(e, n)``: copies with owners of their own, equal at birth; segments ``stack[i]``."""

    copies: tuple["Term", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan(TermNode):
    """``scan(cell, init=…)``: the recurrence of a cell ``A * H -> H``; segments ``[t]``."""

    cell: "Term"
    learned_init: bool
    owner: Owner  # of the learned initial state


@dataclass(frozen=True, slots=True, kw_only=True)
class Named(TermNode):
    """A let-bound name entered: adds one segment to both paths, and a box to pictures."""

    name: str
    body: "Term"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramTerm(TermNode):
    """A program used as a morphism."""

    program: "Program"


Term = (
    Generator | Identity | Compose | Parallel | Fan | Repeat | Stack | Scan | Named | ProgramTerm
)  # fmt: skip


# --- let expressions ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Axis:
    """An own axis that remembers the object that made it (R11); ``name`` None if anonymous."""

    name: str | None
    obj: Finite


@dataclass(frozen=True, slots=True)
class Literal:
    """A number; own rank 0, never row-wise."""

    value: float | int


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    value: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A bound name, a lambda or factor binder, or (``host``) a key of the observations."""

    name: str
    host: bool = False
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left op right`` with op one of ``+ - * /``."""

    op: str
    left: "LetTerm"
    right: "LetTerm"


@dataclass(frozen=True, slots=True)
class Negate:
    """Unary minus."""

    operand: "LetTerm"


@dataclass(frozen=True, slots=True)
class Apply:
    """A built-in of section 7.7 (or R8) applied to arguments; arity is already checked."""

    function: str
    args: tuple["LetTerm", ...]
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True)
class Gather:
    """``v[i, j]``: index the first own axes of ``v``."""

    base: Variable
    indices: tuple["LetTerm", ...]
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True)
class Items:
    """``[a, b]``."""

    items: tuple["LetTerm", ...]


@dataclass(frozen=True, slots=True)
class Lambda:
    """``x -> body``."""

    param: str
    body: "LetTerm"


@dataclass(frozen=True, slots=True)
class Factor:
    """``factor v : I, … in body``; with ``cases`` (one binder) the body is a tuple by label."""

    binders: tuple[tuple[str, Axis], ...]
    body: "LetTerm | None"
    cases: "tuple[LetTerm, ...] | None" = None


LetTerm = (
    Literal | Text | Variable | Arithmetic | Negate | Apply | Gather | Items | Lambda | Factor
)  # fmt: skip


# --- steps ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Indexed:
    """A step argument ``name[i, j]``: gather ``name`` at bound or host index tensors."""

    base: Variable
    indices: tuple[Variable, ...]


Argument = Literal | Variable | Indexed


@dataclass(frozen=True, slots=True)
class FamilyCall:
    """An inline family with its arguments in the order of the family's parameters.

    ``family`` is resolved: a `Categorical` has become CategoricalLogit or CategoricalProbs by R7;
    ``untyped`` marks the guess, to be checked against values at run time. ``event_size`` is the
    size of the event axis when the family needs one (Dirichlet with ``over=``, or symmetric).
    """

    family: str
    args: tuple[Argument | tuple[Argument, ...], ...]
    untyped: bool = False
    event_size: Finite | int | None = None
    written: str = field(default="", compare=False)  # the family in the words of the program
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True)
class MorphismCall:
    """A declared morphism or program applied to values; ``args`` None reads the raw input.

    ``widths``: of several arguments side by side, how many columns each gives to the input (its
    vector, or 1: then all its own axes are left over); empty where only data will tell.
    """

    term: Term
    args: tuple[Argument, ...] | None
    widths: tuple[int, ...] = ()
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True)
class MeasureCall:
    """A measure operator (8.1) over families and operators; ``Truncate`` has become ``Restrict``.

    ``numbers`` are the operator's own: the point of a PointMass, the bounds of a Restrict, the
    weights of a Mixture (one vector, or a tuple of numbers), location and scale of an Affine map.
    ``count``: how many axes Independent takes. ``support``: the least interval that holds the
    values, its bounds numbers or names; None if neither says it.
    """

    operator: str
    inner: tuple["FamilyCall | MeasureCall", ...] = ()
    numbers: tuple[Argument | tuple[Argument, ...], ...] = ()
    bijector: str | None = None
    count: int = 0
    support: Support | None = None
    span: Span = field(default=NO_SPAN, compare=False)

    @property
    def args(self) -> tuple[Argument | tuple[Argument, ...], ...]:
        """Every number that is read, those of the inner distributions last."""
        below = (arg for inner in self.inner for arg in inner.args)
        return (*self.numbers, *below)


Drawn = FamilyCall | MeasureCall
Source = FamilyCall | MeasureCall | MorphismCall


@dataclass(frozen=True, slots=True)
class SampleStep:
    """``sample``. ``plate`` is None when un-indexed, a tuple of axes for ``: A``.

    ``space`` is the object of ``: S`` when S is a space (one vector per row, R2), and the codomain
    for a kernel. ``names`` has several entries when destructuring, with ``widths`` alongside.
    ``row_wise``: in a run that has rows the value carries the batch axes. ``table``: the value is
    the table of this latent morphism, whose prior the step draws from.
    """

    names: tuple[str, ...]
    source: Source
    plate: tuple[Axis, ...] | None = None
    space: Object | None = None
    widths: tuple[int, ...] = ()
    row_wise: bool = True
    table: Generator | None = None
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True)
class ObserveStep:
    """``observe``; ``name`` may be ``_``. ``space`` as in `SampleStep`.

    ``via``: inside a grouped marginalize, the index (or indices) from rows to groups.
    """

    name: str
    source: Source
    plate: tuple[Axis, ...] | None = None
    space: Object | None = None
    row_wise: bool = True
    via: tuple[Variable, ...] = ()
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True)
class LetStep:
    """A deterministic binding."""

    name: str
    value: LetTerm
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True)
class ScoreStep:
    """Adds the value to the joint density and binds it."""

    name: str
    value: LetTerm
    span: Span = field(default=NO_SPAN, compare=False)


class Reduction(Enum):
    """How a grouped marginalize folds its class axis (7.8)."""

    LOGSUMEXP = "logsumexp"
    SUM = "sum"
    MEAN = "mean"


@dataclass(frozen=True, slots=True)
class MarginalizeStep:
    """``marginalize z <- F(…)`` and its block: z is summed (or integrated) out.

    Ungrouped: ``over`` is None; ``plate`` as in `SampleStep`, one z per element. Grouped: ``over``
    holds the axes of the groups and ``classes`` the class set. ``via`` as in `ObserveStep`, for a
    block inside a grouped one.
    """

    name: str
    source: FamilyCall
    body: tuple["Step", ...]
    plate: tuple[Axis, ...] | None = None
    over: tuple[Axis, ...] | None = None
    classes: Finite | None = None
    reduction: Reduction = Reduction.LOGSUMEXP
    via: tuple[Variable, ...] = ()
    span: Span = field(default=NO_SPAN, compare=False)


Step = SampleStep | ObserveStep | LetStep | ScoreStep | MarginalizeStep


@dataclass(frozen=True, slots=True)
class InputSlot:
    """A named part of the input: columns ``start:start+width``; ``whole`` if single."""

    name: str
    obj: Object
    start: int
    width: int
    whole: bool = False


@dataclass(frozen=True, slots=True)
class VariableInfo:
    """What is known of a bound name before a run: for cards, completions and hovers.

    ``axes`` is None where the own axes are only known from data.
    """

    name: str
    row_wise: bool
    axes: tuple[Axis, ...] | None
    event: tuple[int, ...] = ()
    integer: bool = False
    simplex: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """A checked program ``dom -> cod``."""

    name: str
    dom: Object
    cod: Object
    inputs: tuple[InputSlot, ...]
    steps: tuple[Step, ...]
    returns: tuple[tuple[str, str], ...]  # (label, variable)
    returns_tuple: bool
    reads_input: bool
    sequence: bool  # an argument-less step or input is consumed as a sequence (R1)
    effects: frozenset[Effect]
    variables: tuple[VariableInfo, ...]
    host_names: tuple[str, ...]  # free names: keys the observations must have
    span: Span = field(default=NO_SPAN, compare=False)
    dom_text: str = field(default="", compare=False)  # the types in the words of the declaration
    cod_text: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Posterior:
    """A deterministic program over ``sites`` of ``model`` (7.11): its inputs are their values."""

    name: str
    model: Program
    sites: tuple[VariableInfo, ...]
    program: Program


@dataclass(frozen=True, slots=True)
class TemplateSignature:
    """An exported program with typed parameters (7.9): names and kinds, in order."""

    name: str
    params: tuple[tuple[str, str], ...]  # (name, "FinSet", "Space", "Object", "Real", "Nat", "Mor")


# --- modules --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DataSpec:
    """``data w : A -> B``: own axes named by the factors of A, an event of B after them."""

    name: str
    axes: tuple[Axis, ...]
    cod: Object
    span: Span = field(default=NO_SPAN, compare=False)


@dataclass(frozen=True, slots=True)
class Export:
    """One ``export``: its key in ``module.exports`` and what it denotes."""

    key: str
    value: Term | Program


@dataclass(frozen=True, slots=True)
class CheckedModule:
    """A checked source file. ``morphisms`` holds declared morphisms, lets and programs by name.

    ``groups`` maps a replicated name to its members' names; ``objects`` keeps declaration order.
    """

    source: SourceText
    objects: tuple[tuple[str, Object], ...]
    morphisms: tuple[tuple[str, Term | Program], ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    data: tuple[DataSpec, ...]
    exports: tuple[Export, ...]
    sizes: tuple[str, ...]  # names of sizes that are fixed at load or by data (R8)
    warnings: tuple[Diagnostic, ...] = ()
    posteriors: tuple[Posterior, ...] = ()
    templates: tuple[TemplateSignature, ...] = ()  # those that are exported
    data_keys: tuple[str, ...] = ()  # that `from_data` reads
