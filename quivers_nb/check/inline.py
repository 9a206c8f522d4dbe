"""Inline families: `Normal(mu, 1.0)` in a step (7.3, section 8 notes 1 and 5, R7)."""

from dataclasses import dataclass

from quivers_nb.check.axes import Axes
from quivers_nb.check.draw import Draw, Remainder
from quivers_nb.check.environment import Environment
from quivers_nb.check.families import Given, check_arguments
from quivers_nb.check.term import FamilyCall
from quivers_nb.check.values import Value
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.spaces.families import FAMILIES, MATRIX_SPACES
from quivers_nb.spaces.family import Family, Parameter
from quivers_nb.spaces.space import Finite, Object, Space, is_finite, width
from quivers_nb.spaces.support import is_discrete
from quivers_nb.syntax import tree


@dataclass(frozen=True, slots=True)
class SizeHint:
    """Where the size of an event axis may come from: `over=`, `: S`, the program's codomain."""

    over: Object | None = None
    over_name: str | None = None
    space: Space | None = None
    cod: Object | None = None
    cod_span: Span | None = None
    marginal: bool = False  # in a marginalize an untyped Categorical takes probabilities (R7)


def inline_draw(call: tree.Call, env: Environment, hint: SizeHint) -> Draw | None:
    """The draw of an inline family, or None after an error."""
    family = FAMILIES[call.name.text]
    given = check_arguments(call, family, env)
    if given is None:
        return None
    family = _resolved(family, given, hint)
    before = env.scope.report.count
    event_size: Finite | int | None = None
    if family.name == "Dirichlet":
        event_size, remainders, event = _dirichlet(given[0], hint, call, env)
    elif _is_sized(family, given):
        event_size, remainders, event = _sized(family, given, hint, call, env)
    else:
        remainders = tuple(
            Remainder(_left_over(g, p, family, env), g.span, g.value.rows)
            for g, p in zip(given, family.parameters, strict=True)
        )
        event = _event(family, given)
    if env.scope.report.count > before:
        return None
    source = FamilyCall(
        family=family.name,
        args=tuple(g.slot for g in given),
        untyped=call.name.text == "Categorical" and not given[0].value.simplex,
        event_size=event_size,
        written=call.name.text,
        span=call.span,
    )
    return Draw(
        source, rows=frozenset[str]().union(*(g.value.rows for g in given)),
        remainders=remainders, event=event, discrete=is_discrete(family.support),
        simplex=family.simplex,
    )  # fmt: skip


def _resolved(family: Family, given: tuple[Given, ...], hint: SizeHint) -> Family:
    """R7: a `Categorical` takes probabilities of a simplex-typed value and in a marginalize."""
    if family.name != "Categorical":
        return family
    probabilities = given[0].value.simplex or hint.marginal
    return FAMILIES["CategoricalProbs" if probabilities else "CategoricalLogit"]


def _left_over(given: Given, parameter: Parameter, family: Family, env: Environment) -> Axes | None:
    """The own axes that a parameter of some rank does not consume."""
    own = given.value.own
    if own is None:
        return None
    rank = _rank(parameter, given.value)
    if len(own) >= rank:
        return own[: len(own) - rank]
    words = "a vector" if parameter.rank == 1 else "a matrix"
    matrix = "say how large it is: `: Covariance 3` behind the name, or `[over=…]`"
    report = env.scope.report
    labels = [] if given.value.span is None else [Label(given.value.span, "bound here")]
    report.error(
        "Q0608",
        f"`{parameter.name}` of {family.name} is {words}, got `{report.text(given.span)}`, "
        f"which has {len(own) or 'no'} own axes",
        given.span,
        labels=labels,
        because=[Because(f"{family.name}: {family.summary}")],
        hint="write a list, as in `[0.2, 0.8]`, or bind a vector first" if rank == 1 else matrix,
    )
    return None


def _rank(parameter: Parameter, value: Value) -> int:
    """A matrix of a declared space is carried as one flat vector (3.2)."""
    if parameter.rank != 2 or not isinstance(value.obj, Space) or value.obj.dim == 1:
        return parameter.rank
    return min(2, len(value.event))


def _event(family: Family, given: tuple[Given, ...]) -> tuple[int, ...] | None:
    """The event axes of a value: of vectors, the length of a vector parameter."""
    if family.event_rank == 0:
        return ()
    grows = 1 if family.name == "LogisticNormal" else 0
    for g, parameter in zip(given, family.parameters, strict=True):
        own = g.value.own
        if parameter.rank != family.event_rank or not own:
            continue
        if parameter.rank > _rank(parameter, g.value):
            size = g.value.obj.matrix_size if isinstance(g.value.obj, Space) else None
            return None if size is None else (size, size)
        sizes = [axis.obj.size for axis in own[-parameter.rank :]]
        if all(isinstance(size, int) for size in sizes):
            return tuple(int(size) + grows for size in sizes)  # type: ignore[arg-type]
    return None


def _dirichlet(
    given: Given, hint: SizeHint, call: tree.Call, env: Environment
) -> tuple[Finite | int | None, tuple[Remainder, ...], tuple[int, ...] | None]:
    """Symmetric, or one concentration per component (note 5)."""
    report = env.scope.report
    own = given.value.own
    if given.items is not None:
        if given.items < 2:
            report.error(
                "Q0609", f"Dirichlet needs at least 2 concentrations, got {given.items}", given.span
            )
        left = Remainder((), given.span, given.value.rows)
        return given.items, (left,), (given.items,)
    if own is None:
        size = hint.over or hint.space
        return (
            _as_size(size), (Remainder(None, given.span, given.value.rows),),
            None if size is None else _event_of(size),
        )  # fmt: skip
    if own and not _is_symmetric(own, hint):
        length = own[-1].obj.size
        left = Remainder(own[:-1], given.span, given.value.rows)
        return own[-1].obj, (left,), (length,) if isinstance(length, int) else None
    size = hint.over or hint.space or hint.cod
    left = Remainder(own, given.span, given.value.rows)
    if size is None or _too_small(size):
        _no_size(call, size, hint, env)
        return None, (left,), None
    return _as_size(size), (left,), _event_of(size)


def _is_symmetric(own: Axes, hint: SizeHint) -> bool:
    """With ``over=T``, a concentration whose last axis is another object than T is one per row."""
    last = own[-1].name
    return hint.over_name is not None and last is not None and last != hint.over_name


def _is_sized(family: Family, given: tuple[Given, ...]) -> bool:
    """Whether every argument is a number, so that the size of a value comes from elsewhere."""
    if family.event_rank == 0 or family.simplex:
        return False
    ranks = [p.rank for p in family.parameters]
    numbers = all(g.value.own == () and g.items is None for g in given)
    return not any(ranks) or (max(ranks) == 2 and family.event_rank == 2 and numbers)


def _sized(
    family: Family, given: tuple[Given, ...], hint: SizeHint, call: tree.Call, env: Environment
) -> tuple[Finite | int | None, tuple[Remainder, ...], tuple[int, ...] | None]:
    """The size of a value: from `: CholeskyFactor d`, `: Real d`, `over=` or the codomain."""
    left = tuple(Remainder(g.value.own, g.span, g.value.rows) for g in given)
    ctor = MATRIX_SPACES.get(family.name, "Real")
    for source in (hint.space, hint.over, hint.cod):
        if isinstance(source, Space) and source.ctor == ctor:
            size = source.matrix_size if family.event_rank == 2 else source.dim
            return size, left, (size,) * family.event_rank
    if hint.over is not None:
        found = _event_of(hint.over)
        event = None if found is None else found * family.event_rank
        return _as_size(hint.over), left, event
    _no_size(call, None, hint, env)
    return None, left, None


def _no_size(call: tree.Call, size: Object | None, hint: SizeHint, env: Environment) -> None:
    family = call.name.text
    message = f"the size of {family} is not known"
    because = []
    if size is not None:
        message = f"{family} needs at least 2 components, got {_shown(size)}"
        if size is hint.cod:
            because = [Because("taken from the program's codomain", hint.cod_span)]
    env.scope.report.error(
        "Q0609", message, call.span, because=because,
        hint=f"say over which object its components run, `{family}(…) [over=A]`; the object behind "
        "a colon is how many there are of it",
    )  # fmt: skip


def _shown(size: Object) -> str:
    event = _event_of(size)
    return str(size) if event is None else str(event[0])


def _too_small(size: Object) -> bool:
    event = _event_of(size)
    return event is not None and event[0] < 2


def _as_size(size: Object | None) -> Finite | int | None:
    if size is None:
        return None
    return size if is_finite(size) else width(size)  # type: ignore[return-value]


def _event_of(size: Object) -> tuple[int, ...] | None:
    count = size.size if is_finite(size) else width(size)  # type: ignore[union-attr]
    return (count,) if isinstance(count, int) else None
