"""Option blocks: keys that are known, written once, with values of the right form (4.1)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

from quivers_nb.check.report import Report
from quivers_nb.check.term import ParamSource, SourceKind
from quivers_nb.diagnostics.diagnostic import Because, Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.syntax import tree

MOST = 100_000  # of what a count may be: copies, members, hidden units, bins
Plain = float | int | str | tuple[tree.Name, ...] | ParamSource


@dataclass(frozen=True, slots=True)
class Kind:
    """The form of an option's value: what is expected in words, and how to read it."""

    expected: str
    read: Callable[[tree.OptionValue | None], Plain | None]


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that was read, and where it stands."""

    value: Plain
    span: Span
    key_span: Span

    @property
    def number(self) -> float:
        return float(self.value)  # type: ignore[arg-type]

    @property
    def integer(self) -> int:
        return int(self.value)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        return str(self.value)

    @property
    def plain(self) -> float | int | str:
        """The value of an option that is a number or a name."""
        assert isinstance(self.value, float | int | str)
        return self.value

    @property
    def names(self) -> tuple[tree.Name, ...]:
        return self.value if isinstance(self.value, tuple) else ()


Settings = Mapping[str, Setting]


def _number(value: tree.OptionValue | None) -> float | int | None:
    return value.value if isinstance(value, tree.Number) and isfinite(value.value) else None


def _count(value: tree.OptionValue | None) -> int | None:
    number = _number(value)
    return number if isinstance(number, int) and 1 <= number <= MOST else None


def _positive(value: tree.OptionValue | None) -> float | int | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _name(value: tree.OptionValue | None) -> str | None:
    return value.text if isinstance(value, tree.Name) else None


def names_of(value: tree.OptionValue | None) -> tuple[tree.Name, ...] | None:
    """A name, or a list of names."""
    if isinstance(value, tree.Name):
        return (value,)
    if not isinstance(value, tree.OptionList):
        return None
    names = tuple(item for item in value.items if isinstance(item, tree.Name))
    return names if len(names) == len(value.items) else None


def _source(value: tree.OptionValue | None) -> ParamSource | None:
    args: tuple[tuple[tree.Name | None, tree.OptionItem], ...] = ()
    if isinstance(value, tree.String):
        kind = value.raw
    elif isinstance(value, tree.Name):
        kind = value.text
    elif isinstance(value, tree.OptionCall):
        kind, args = value.name.text, value.args
    else:
        return None
    if kind not in {k.value for k in SourceKind}:
        return None
    return _source_call(SourceKind(kind), args)


def _source_call(
    kind: SourceKind, args: tuple[tuple[tree.Name | None, tree.OptionItem], ...]
) -> ParamSource | None:
    numbers = [item.value for _, item in args if isinstance(item, tree.Number)]
    if len(numbers) < len(args) or not all(isinstance(n, int) and n >= 1 for n in numbers):
        return None
    keys = [key.text if key is not None else None for key, _ in args]
    whole = tuple(int(n) for n in numbers)
    if kind is SourceKind.MLP and not any(keys):
        return ParamSource(kind, widths=whole, explicit=True)
    if kind is SourceKind.ATTENTION and keys in ([], ["heads"], [None]):
        return ParamSource(kind, heads=whole[0] if whole else 4, explicit=True)
    return ParamSource(kind, explicit=True) if not args else None


NUMBER = Kind("a number", _number)
BOUND = Kind("a number", _number)
COUNT = Kind("a positive integer (100000 at most)", _count)
POSITIVE = Kind("a positive number", _positive)
NAME = Kind("a name", _name)
NAMES = Kind("a name or a list of names", names_of)
SOURCE = Kind(
    "one of mlp, mlp(64, 64), linear, identity, attention, attention(heads=4), lookup", _source
)


def kind_of(default: float | int | str) -> Kind:
    """The form of a family setting, by its default."""
    if isinstance(default, str):
        return NAME
    return COUNT if isinstance(default, int) else POSITIVE


def read_options(
    options: tree.Options | None, allowed: Mapping[str, Kind], report: Report, *, what: str
) -> dict[str, Setting]:
    """Read every entry that ``allowed`` knows; report unknown, repeated and ill-formed ones.

    ``what`` names who takes the options, for messages: ``a latent morphism``.
    """
    found: dict[str, Setting] = {}
    seen: dict[str, Span] = {}
    for entry in options.entries if options is not None else ():
        key = entry.key.text
        if key in seen:
            report.error(
                "Q0304",
                f"option `{key}` is written twice",
                entry.key.span,
                labels=[Label(seen[key], "first here")],
                hint="keep one of the two",
            )
            continue
        seen[key] = entry.key.span
        if key not in allowed:
            _unknown(entry, allowed, report, what)
            continue
        value = allowed[key].read(entry.value)
        if value is None:
            _wrong(entry, allowed[key], report)
            continue
        span = entry.value.span if entry.value is not None else entry.key.span
        found[key] = Setting(value, span, entry.key.span)
    return found


def _unknown(
    entry: tree.OptionEntry, allowed: Mapping[str, Kind], report: Report, what: str
) -> None:
    near = nearest(entry.key.text, allowed)
    takes = ", ".join(f"`{key}`" for key in allowed) or "no options"
    report.error(
        "Q0303",
        f"unknown option `{entry.key.text}` on {what}",
        entry.key.span,
        because=[Because(f"{what} takes {takes}")],
        hint=None if near is None else f"did you mean `{near}`?",
    )


def _wrong(entry: tree.OptionEntry, kind: Kind, report: Report) -> None:
    key = entry.key.text
    got = "no value" if entry.value is None else f"`{report.text(entry.value.span)}`"
    report.error(
        "Q0305",
        f"`{key}` expects {kind.expected}, got {got}",
        entry.span if entry.value is None else entry.value.span,
    )
