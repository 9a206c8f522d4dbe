"""Names in scope: what each declared name means, and where it was declared.

Three namespaces: objects; morphisms (with lets, groups, programs and what is called like them);
declared data. A name whose declaration failed is bound to None, so its uses stay silent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from quivers_nb.check.report import Report
from quivers_nb.check.term import Axis, DataSpec, Posterior, Term
from quivers_nb.check.values import Value
from quivers_nb.diagnostics.diagnostic import Label
from quivers_nb.diagnostics.source import Span
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.spaces.space import Object
from quivers_nb.spaces.table import Table
from quivers_nb.syntax import tree


@dataclass(frozen=True, slots=True)
class Pattern:
    """An alias for a category pattern (section 3.4): it denotes no set."""

    text: str


@dataclass(frozen=True, slots=True)
class ObjectBinding:
    """A declared object. ``axes``: what a plate over it adds, one per factor (R11)."""

    value: Object | Pattern | None
    axes: tuple[Axis, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Group:
    """A replicated morphism: the names of its members."""

    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A program with typed parameters."""

    decl: tree.ProgramDecl


@dataclass(frozen=True, slots=True)
class MorphismBinding:
    """What a name denotes where a morphism is wanted; None if that is not known."""

    value: Term | Group | Template | None
    span: Span
    kind: str  # "morphism", "let", "program", …: what the declaration is called


@dataclass
class Scope:
    """The names of a module so far. ``later``: names whose declarations are still to come."""

    report: Report
    tables: Mapping[str, Table] = field(default_factory=dict)  # what `from_data` can read
    sizes: Mapping[str, int] = field(default_factory=dict)
    objects: dict[str, ObjectBinding] = field(default_factory=dict)
    morphisms: dict[str, MorphismBinding] = field(default_factory=dict)
    data: dict[str, tuple[DataSpec | None, Span]] = field(default_factory=dict)
    later: dict[str, Span] = field(default_factory=dict)
    free_sizes: dict[str, None] = field(default_factory=dict)
    copies: list[int] = field(default_factory=lambda: [0])
    results: dict[str, tuple[Value, ...]] = field(default_factory=dict)  # what programs return
    extents: dict[int, tuple[int, object]] = field(default_factory=dict)  # see `extent`
    posteriors: dict[str, tuple[Posterior | None, Span]] = field(default_factory=dict)
    templates: dict[str, Template] = field(default_factory=dict)  # those that are exported
    read: dict[str, None] = field(default_factory=dict)  # keys that `from_data` reads
    composition: Span | None = None  # a `composition` line was met: algebras are not known

    def inner(self) -> "Scope":
        """A scope for `where`: sees this one, adds names that do not leave it."""
        return Scope(
            self.report, self.tables, self.sizes, self.objects, dict(self.morphisms),
            self.data, self.later, self.free_sizes, self.copies, self.results,
            self.extents, self.posteriors, self.templates, self.read, self.composition,
        )  # fmt: skip

    def size(self, name: str) -> int | None:
        """A size given when loading; what is no size at all is left for the loader to refuse."""
        given = self.sizes.get(name)
        return given if isinstance(given, int) and given >= 1 else None

    def fresh(self) -> int:
        """A number that no other copy of this module has."""
        self.copies[0] += 1
        return self.copies[0]

    def declare_object(self, name: tree.Name, binding: ObjectBinding) -> None:
        known = self.objects.get(name.text)
        if known is not None:
            self.already(name, "object", known.span)
            return
        self.objects[name.text] = binding

    def declare_morphism(self, name: tree.Name, binding: MorphismBinding) -> None:
        known = self.morphisms.get(name.text)
        if known is not None:
            self.already(name, known.kind, known.span)
            return
        self.morphisms[name.text] = binding

    def already(self, name: tree.Name, kind: str, first: Span) -> None:
        """Report a second declaration of a name."""
        line = self.report.line(first)
        self.report.error(
            "Q0201",
            f"{kind} `{name.text}` is already declared (first at line {line})",
            name.span,
            labels=[Label(first, "first declared here")],
            hint="give one of the two another name",
        )

    def hint(self, name: str, candidates: tuple[str, ...]) -> str | None:
        """What may have been meant: a name declared further down, or a near one."""
        if name in self.later:
            line = self.report.line(self.later[name])
            return f"`{name}` is declared at line {line}: move the declaration above its use"
        near = nearest(name, candidates)
        return None if near is None else f"did you mean `{near}`?"
