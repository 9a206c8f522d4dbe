"""The environment of a program's steps: names that are bound, and host data (section 7.2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from quivers_nb.check.scope import Scope
from quivers_nb.check.term import Axis
from quivers_nb.check.values import HOST, UNKNOWN, Value, at, of_object
from quivers_nb.diagnostics.diagnostic import Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import Object, Space
from quivers_nb.syntax import tree


def _rename(name: str, scope: Scope) -> str:
    if name in scope.data:
        return f"declared data are bound everywhere: rename one, or drop the line `data {name} …`"
    return "a name is bound once: give one of the two another name"


@dataclass
class Environment:
    """Names bound so far. ``pending``: names that later steps bind; ``reads``: see R1."""

    scope: Scope
    reads: bool
    dom: Object | None
    dom_span: Span
    cod: Object | None
    cod_span: Span
    dom_name: str | None  # the name of a domain that is one finite object (R11, fibration)
    inputs: frozenset[str] = frozenset()
    bound: dict[str, Value] = field(default_factory=dict)
    pending: dict[str, Span] = field(default_factory=dict)
    host: dict[str, None] = field(default_factory=dict)
    used_data: dict[str, Value] = field(default_factory=dict)
    groups: tuple[Axis, ...] | None = None  # inside a grouped marginalize: the axes of its groups
    closed: dict[str, Value] = field(default_factory=dict)  # bound in blocks that have ended
    by_row: dict[str, Span] = field(default_factory=dict)  # inputs by how they are read (R1)
    as_sequence: dict[str, Span] = field(default_factory=dict)
    anonymous: int = 0  # how many steps or components are called `_`
    _sequence: bool = False

    def bind(self, name: tree.Name, value: Value) -> None:
        """Bind a name once; ``_`` is never bound."""
        if name.text == "_":
            return
        first = self._first(name.text)
        if first is not None:
            self.scope.report.error(
                "Q0501",
                f"`{name.text}` is already bound",
                name.span,
                labels=[Label(first, "bound here")],
                hint=_rename(name.text, self.scope),
            )
            return
        self.pending.pop(name.text, None)
        self.bound[name.text] = at(value, name.span)

    def site_name(self, name: tree.Name) -> str:
        """What the site of a step is called: its name; a second ``_`` is ``_#2`` (R13)."""
        if name.text != "_":
            return name.text
        self.anonymous += 1
        return "_" if self.anonymous == 1 else f"_#{self.anonymous}"

    def _first(self, name: str) -> Span | None:
        for names in (self.bound, self.closed):
            if name in names:
                return names[name].span
        return self.scope.data[name][1] if name in self.scope.data else None

    def look_up(self, name: tree.Name) -> Value | None:
        """A bound name or declared data; None if it is neither (nothing is reported)."""
        if name.text in self.bound:
            if name.text in self.inputs:
                used = self.as_sequence if self._sequence else self.by_row
                used.setdefault(name.text, name.span)
            return self.bound[name.text]
        if name.text in self.scope.data:
            return self._data(name.text)
        return None

    def value(self, name: tree.Name) -> Value:
        """A name in a let expression: bound, or host data."""
        found = self.look_up(name)
        if found is not None:
            return found
        if self._too_early(name) or self._closed(name):
            return UNKNOWN
        if name.text == "_":
            self._undefined(name, "")
            return UNKNOWN
        self.host[name.text] = None
        return HOST

    def known(self, name: tree.Name, *, what: str) -> Value:
        """A name that must be bound, for a step argument or a bare alias."""
        found = self.look_up(name)
        if found is not None:
            return found
        if not self._too_early(name) and not self._closed(name):
            self._undefined(name, what)
        return UNKNOWN

    def is_host(self, name: str) -> bool:
        """Whether a name denotes a key of the observations."""
        return name in self.host and name not in self.bound

    @contextmanager
    def local(self, names: dict[str, Value]) -> Iterator[None]:
        """Names that are visible in one body only: binders and lambda parameters."""
        hidden = {name: self.bound[name] for name in names if name in self.bound}
        self.bound.update(names)
        try:
            yield
        finally:
            for name in names:
                del self.bound[name]
            self.bound.update(hidden)

    @contextmanager
    def reading(self, *, sequence: bool) -> Iterator[None]:
        """Inputs that are met inside are read as a sequence, or per row."""
        self._sequence = sequence
        try:
            yield
        finally:
            self._sequence = False

    def read_input(self, span: Span, *, sequence: bool) -> None:
        """A step without arguments reads the raw input."""
        (self.as_sequence if sequence else self.by_row).setdefault("", span)

    def is_input(self, arg: tree.StepArg) -> bool:
        """Whether an argument is a name of the program's input."""
        return isinstance(arg, tree.Name) and arg.text in self.inputs

    def check_reading(self) -> bool:
        """Whether the input is a sequence; reading it both ways is an error (R1)."""
        if self.as_sequence and self.by_row:
            name, span = next(iter(self.as_sequence.items()))
            other, place = next(iter(self.by_row.items()))
            what, how = (f"`{n}`" if n else "the input" for n in (name, other))
            both = f"{what} is read both as a sequence and per row"
            apart = f"{what} is read as a sequence and {how} per row: one tensor holds both"
            self.scope.report.error(
                "Q0410",
                both if name in {other, ""} or not other else apart,
                span,
                labels=[Label(place, "read per row here")],
            )
        return bool(self.as_sequence)

    def _data(self, name: str) -> Value:
        spec, span = self.scope.data[name]
        if spec is None:
            return UNKNOWN
        self.host[name] = None
        axes, rows = spec.axes, frozenset[str]()
        if self.reads and len(spec.axes) == 1 and self._is_domain(spec.axes[0]):
            axes, rows = (), frozenset({"<input>"})
        value = replace(of_object(spec.cod, rows, axes), span=span, host=True, plate=True)
        if isinstance(spec.cod, Space) and spec.cod.matrix_shape is not None:
            value = replace(value, event=spec.cod.matrix_shape)
        self.used_data[name] = value
        return value

    def _is_domain(self, axis: Axis) -> bool:
        return axis.name is not None and axis.name == self.dom_name

    @contextmanager
    def block(self, groups: tuple[Axis, ...] | None) -> Iterator[None]:
        """Names that are bound inside are not seen outside, and are not free for others."""
        before, outer = set(self.bound), self.groups
        self.groups = groups
        try:
            yield
        finally:
            self.groups = outer
            for name in [name for name in self.bound if name not in before]:
                self.closed[name] = self.bound.pop(name)

    def _closed(self, name: tree.Name) -> bool:
        inner = self.closed.get(name.text)
        if inner is None:
            return False
        labels = [] if inner.span is None else [Label(inner.span, "bound here")]
        self.scope.report.error(
            "Q0502",
            f"`{name.text}` is bound inside `marginalize`, and not seen outside its block",
            name.span,
            labels=labels,
        )
        return True

    def _too_early(self, name: tree.Name) -> bool:
        later = self.pending.get(name.text)
        if later is None:
            return False
        self.scope.report.error(
            "Q0503",
            f"`{name.text}` is used before it is bound",
            name.span,
            labels=[Label(later, "bound here")],
            hint="move the step that binds it up; host data need a name that no step binds",
        )
        return True

    def _undefined(self, name: tree.Name, what: str) -> None:
        candidates = (*self.bound, *self.scope.data)
        near = nearest(name.text, candidates)
        hint = f"did you mean `{near}`?" if near is not None else None
        if name.text == "_":
            hint = "`_` binds nothing: give the value a name"
        elif hint is None and name.text in self.scope.objects:
            hint = f"`{name.text}` is an object, not a value"
        elif hint is None and (name.text in self.scope.morphisms or name.text in FAMILIES):
            hint = f"`{name.text}` is not a value: bind a draw of it with `sample` first"
        elif hint is None:
            hint = f"if it is host data, declare it: `data {name.text} : Rows -> Real 1`"
        message = f"undefined variable `{name.text}` {what}".rstrip()
        key = (id(self), name.text)
        self.scope.report.undefined("Q0502", message, name.span, key=key, hint=hint)
