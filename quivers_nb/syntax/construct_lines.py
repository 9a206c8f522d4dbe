"""Constructors of declarations, steps and entries that are more than a node and its fields."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax import mistakes, tree
from quivers_nb.syntax.construct import Builder, Constructor, claiming, line
from quivers_nb.syntax.layout import Trivia
from quivers_nb.syntax.raw import RawCall
from quivers_nb.syntax.shapes import step_call

# --- declarations ---------------------------------------------------------------------------------


def morphism(b: Builder, children: list[Any], span: Span) -> Any:
    """A morphism: what stands after ``~`` is ``F(args)`` if it can be read so."""
    *others, init = children
    if isinstance(init, RawCall) and (call := step_call(init)) is not None:
        init = call
    return _MORPHISM(b, [*others, init], span)


_MORPHISM = claiming(tree.MorphismDecl, "name", "dom", "cod", "init", required="morphism")


def composition(b: Builder, children: list[Any], span: Span) -> Any:
    """A composition; its level is one of four."""
    level: tree.Name | None = children[1]
    if level is not None and level.text not in mistakes.LEVELS:
        b.refuse(mistakes.unknown_level(level))
    return line(tree.CompositionDecl, "name", "level", "entries?")(b, children, span)


def kind_mor(b: Builder, children: list[Any], span: Span) -> tree.KindMor:
    """``Mor[A, B]``."""
    name, dom, cod = children
    if name.text != "Mor":
        b.refuse(mistakes.unknown_kind(name))
    return tree.KindMor(b.settle(dom), b.settle(cod), span=span)


def params(b: Builder, children: list[Any], _span: Span) -> tuple[tree.Param, ...]:
    """Parameters: all input names, or all typed."""
    if finding := mistakes.mixed_parameters(children):
        b.refuse(finding)
    return tuple(children)


def param(b: Builder, children: list[Any], span: Span) -> tree.Param:
    """A parameter; its kind is one of a few."""
    name, kind = children
    if isinstance(kind, tree.Name) and kind.text not in mistakes.KINDS:
        b.refuse(mistakes.unknown_kind(kind))
    return tree.Param(name, kind, span=span)


def return_tuple(b: Builder, children: list[Any], span: Span) -> tree.ReturnStep:
    """``return (a, b)``, with labels for all or for none."""
    items: Sequence[tuple[tree.Name, tree.Name | None]] = children[0]
    labels = tuple(first for first, second in items if second is not None)
    names = tuple(first if second is None else second for first, second in items)
    if 0 < len(labels) < len(items):
        b.refuse(mistakes.some_labels(items))
    return tree.ReturnStep(names, labels or None, True, **b.around(span), span=span)


def return_name(b: Builder, children: list[Any], span: Span) -> tree.ReturnStep:
    """``return a``."""
    return tree.ReturnStep((children[0],), **b.around(span), span=span)


def pair(_b: Builder, children: list[Any], _span: Span) -> tuple[Any, Any]:
    """Two children; the second may be absent."""
    first, second = children
    return first, second


def binder(b: Builder, children: list[Any], _span: Span) -> tuple[Any, tree.Obj]:
    """``v : A`` or ``v, w : A``."""
    names, obj = children
    return names, b.settle(obj)


# --- pragmas --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OuterPragma:
    """A pragma line until the declaration is read that it belongs to."""

    options: tree.Options
    leading: tuple[str, ...] = ()
    docs: tuple[str, ...] = ()


def outer_pragma(b: Builder, children: list[Any], span: Span) -> OuterPragma:
    """``#[…]`` on a line of its own."""
    options = tree.Options(children[0], span=span)
    trivia = b.trivia.get(span.start, Trivia())
    after = () if trivia.trailing is None else (trivia.trailing,)
    return OuterPragma(options, (*trivia.leading, *after), tuple(trivia.docs))


def inner_pragma(b: Builder, children: list[Any], span: Span) -> tree.PragmaLine:
    """``#![…]``: about the module."""
    options = tree.Options(children[0], span=span)
    around = b.around(span)
    if around.get("docs"):
        b.refuse(mistakes.docs_before_pragma(options))
    return tree.PragmaLine(options, **around, span=span)


def module(b: Builder, children: list[Any], _span: Span) -> tuple[tree.Declaration, ...]:
    """Outer pragmas join the declaration that follows them."""
    declarations: list[tree.Declaration] = []
    waiting: list[OuterPragma] = []
    for child in children:
        if isinstance(child, OuterPragma):
            waiting.append(child)
        elif waiting and not isinstance(child, tree.PragmaLine):
            declarations.append(_with_pragmas(child, waiting))
            waiting = []
        else:
            declarations.append(child)
    for pragma in waiting:
        b.refuse(mistakes.pragma_without_declaration(pragma.options))
    return tuple(declarations)


def _with_pragmas(declaration: Any, pragmas: Iterable[OuterPragma]) -> Any:
    return replace(
        declaration,
        leading=(*(text for p in pragmas for text in p.leading), *declaration.leading),
        docs=(*(text for p in pragmas for text in p.docs), *declaration.docs),
        pragmas=tuple(p.options for p in pragmas),
    )


# --- deductions and structure ---------------------------------------------------------------------


def trail(_b: Builder, children: list[Any], span: Span) -> tuple[tree.Options, ...]:
    """A pragma at the end of a line."""
    return (tree.Options(children[0], span=span),)


def any_category(_b: Builder, _children: list[Any], _span: Span) -> str:
    """``*``: every declared atom."""
    return "*"


def headed(cls: type, *fields: str) -> Constructor:
    """The first children are these fields, and all the others a tuple in the last one."""
    plain = line(cls, *fields)
    count = len(fields) - 1

    def build(b: Builder, children: list[Any], span: Span) -> Any:
        return plain(b, [*children[:count], tuple(children[count:])], span)

    return build


def sort_entry(b: Builder, children: list[Any], span: Span) -> Any:
    """A sort; its kind is one of three."""
    kind: tree.Name = children[1]
    if kind.text not in mistakes.SORT_KINDS:
        b.refuse(mistakes.unknown_sort_kind(kind))
    return line(tree.SortEntry, "name", "kind", "options")(b, children, span)


def bound_var(_b: Builder, children: list[Any], span: Span) -> tree.BoundVar:
    """``x : S`` or ``x : S : ty : T``."""
    name, sort, label, of = children
    return tree.BoundVar(name, sort, None if label is None else (label, of), span=span)


def edge_entry(b: Builder, children: list[Any], span: Span) -> Any:
    """``e : A -> B`` or ``e : A -- B``."""
    name, source, arrow, target = children
    fields = [name, source, arrow.text == "->", target]
    return line(tree.EdgeEntry, "name", "source", "directed", "target")(b, fields, span)


def coder(*fields: str) -> Constructor:
    """An entry whose kind is its first word."""
    plain = line(tree.CoderEntry, "kind", *fields)

    def build(b: Builder, children: list[Any], span: Span) -> Any:
        return plain(b, [children[0].text, *children[1:]], span)

    return build


def loss(b: Builder, children: list[Any], span: Span) -> tree.LossDecl:
    """A loss; the comments around its one line of body move above it."""
    name, options, (body, inside) = children
    around = b.around(span)
    ends = () if inside.trailing is None else (inside.trailing,)
    around["leading"] = (*around.get("leading", ()), *inside.leading, *ends)
    around["docs"] = (*around.get("docs", ()), *inside.docs)
    return tree.LossDecl(name, options, body, **around, span=span)


def loss_body(b: Builder, children: list[Any], span: Span) -> tuple[Any, Trivia]:
    """The expression of a loss, and the comments around it."""
    return children[0], b.trivia.get(span.start, Trivia())
