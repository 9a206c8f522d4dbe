"""Constructors: what a grammar rule makes of its children. The table of rules is in `rules`.

A constructor gets the children that the rule keeps (absent options as None) and the span of the
rule. Most rules only name a node and its fields (`node`, `line`); the others are below and in
`construct_lines`. None of them fails: what the grammar lets through but the language refuses is
reported with `Builder.refuse`, and parsing goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax import mistakes, tree
from quivers_nb.syntax.layout import Trivia
from quivers_nb.syntax.raw import RawCall, RawKeyword, Trailing
from quivers_nb.syntax.scanner import Token
from quivers_nb.syntax.shapes import settle_call


@dataclass(slots=True)
class Builder:
    """What constructors may know beyond their children: comments by place, and who to tell."""

    trivia: dict[int, Trivia]
    findings: list[Diagnostic] = field(default_factory=list)

    def refuse(self, finding: Diagnostic) -> None:
        """Report something that the grammar accepts and the language does not."""
        if finding.span.stop > finding.span.start:  # what stands in for a broken statement has none
            self.findings.append(finding)

    def settle(self, value: Any) -> Any:
        """A finished value: a call is what its name says, an option block its constructor's."""
        if isinstance(value, RawCall):
            return settle_call(value, self.refuse)
        return value.attach(self.refuse) if isinstance(value, Trailing) else value

    def claim(self, value: Any) -> tuple[tree.Obj, tree.Options | None]:
        """An object expression and the option block of the declaration it ends."""
        return (value.obj, value.block) if isinstance(value, Trailing) else (value, None)

    def around(self, span: Span) -> dict[str, Any]:
        """The comments that belong to the line that starts here, as fields of `tree.Line`."""
        trivia = self.trivia.get(span.start)
        if trivia is None:
            return {}
        return {
            "leading": tuple(trivia.leading),
            "trailing": trivia.trailing,
            "docs": tuple(trivia.docs),
        }


Constructor = Callable[[Builder, list[Any], Span], Any]


def node(cls: type, *fields: str, **constants: object) -> Constructor:
    """Children, in order, are these fields of ``cls``; ``field?`` is a list that may be absent."""
    names = [name.rstrip("?") for name in fields]
    lists = {name.rstrip("?") for name in fields if name.endswith("?")}

    def build(b: Builder, children: list[Any], span: Span) -> object:
        given = {n: b.settle(v) for n, v in zip(names, children, strict=True)}
        for name in lists:
            given[name] = given[name] or ()
        return cls(**given, **constants, span=span)

    return build


def line(cls: type, *fields: str, **constants: object) -> Constructor:
    """As `node`, for what owns a line: the comments around it come along."""
    plain = node(cls, *fields, **constants)

    def build(b: Builder, children: list[Any], span: Span) -> Any:
        built = plain(b, children, span)
        around = b.around(span)
        return replace(built, **around) if around else built

    return build


def claiming(cls: type, *fields: str, required: str = "") -> Constructor:
    """As `line`, for a declaration whose options are the block after its codomain."""
    plain = line(cls, *fields, "options")
    place = fields.index("cod")

    def build(b: Builder, children: list[Any], span: Span) -> Any:
        cod, options = b.claim(children[place])
        if required and options is None:
            b.refuse(mistakes.missing_options(required, children[0], cod.span))
            options = tree.Options(entries=())
        return plain(b, [*children[:place], cod, *children[place + 1 :], options], span)

    return build


# --- lists and pairs ------------------------------------------------------------------------------


def sequence(b: Builder, children: list[Any], _span: Span) -> tuple[Any, ...]:
    """A list rule: its items."""
    return tuple(b.settle(child) for child in children)


def unsettled(_b: Builder, children: list[Any], _span: Span) -> tuple[Any, ...]:
    """A list of arguments: what they are is decided with the call."""
    return tuple(children)


def present(_b: Builder, children: list[Any], _span: Span) -> tuple[Any, ...]:
    """The children that are there."""
    return tuple(child for child in children if child is not None)


def only(b: Builder, children: list[Any], _span: Span) -> Any:
    """A rule that adds nothing to its one child."""
    return b.settle(children[0])


def maybe_list(_b: Builder, children: list[Any], _span: Span) -> tuple[Any, ...]:
    """A list in brackets that may be empty."""
    items: tuple[Any, ...] = children[0] or ()
    return items


def keyword(_b: Builder, children: list[Any], span: Span) -> RawKeyword:
    """``key=value``; what the value is, is decided with the call."""
    return RawKeyword(children[0], children[1], span=span)


def positional(_b: Builder, children: list[Any], _span: Span) -> tuple[None, Any]:
    """A positional item of an option call."""
    return None, children[0]


def option_args(_b: Builder, children: list[Any], _span: Span) -> tuple[Any, ...]:
    """The items of an option call, each with its key or None."""
    return tuple((c.key, c.value) if isinstance(c, RawKeyword) else c for c in children)


def pattern(_b: Builder, children: list[Any], _span: Span) -> tuple[tree.Name, ...]:
    """The names that a sample step binds."""
    names: tree.Name | tuple[tree.Name, ...] = children[0]
    return (names,) if isinstance(names, tree.Name) else names


def negative(_b: Builder, children: list[Any], span: Span) -> tree.Number:
    """A sign and a literal."""
    number: tree.Number = children[1]
    return tree.Number(-number.value, "-" + number.text, span=span)


# --- objects ------------------------------------------------------------------------------------


def flat(cls: type, name: str) -> Constructor:
    """``A * B`` or ``A + B``, flattened; an option block after the last one floats to the top."""

    def build(b: Builder, children: list[Any], span: Span) -> object:
        left, right = b.settle(children[0]), children[2]
        obj, blocks = b.claim(right)
        parts = [getattr(p, name) if isinstance(p, cls) else (p,) for p in (left, obj)]
        place = span if blocks is None else Span(span.start, obj.span.stop)
        whole = cls(**{name: (*parts[0], *parts[1])}, span=place)
        return whole if blocks is None else Trailing(obj=whole, block=blocks, span=span)

    return build


def quotient(b: Builder, children: list[Any], span: Span) -> object:
    r"""``X / Y`` or ``X \ Y``; a block after it floats to the top as in `flat`."""
    argument, block = b.claim(children[2])
    op: Token = children[1]
    place = span if block is None else Span(span.start, argument.span.stop)
    whole = tree.ObjSlash(op=op.text, result=b.settle(children[0]), argument=argument, span=place)
    return whole if block is None else Trailing(obj=whole, block=block, span=span)


def obj_blocks(b: Builder, children: list[Any], span: Span) -> Trailing:
    """An atom and its option blocks: the last one may turn out to be the declaration's."""
    obj = children[0]
    for block in children[1:-1]:
        obj = Trailing(obj=obj, block=block, span=obj.span | block.span).attach(b.refuse)
    return Trailing(obj=obj, block=children[-1], span=span)


def obj_space(_b: Builder, children: list[Any], span: Span) -> tree.ObjSpace:
    """A constructor and its sizes."""
    return tree.ObjSpace(ctor=children[0], sizes=tuple(children[1:]), span=span)


def obj_finset(b: Builder, children: list[Any], span: Span) -> tree.ObjFinSet:
    """``FinSet n``; a finite set has a whole number of elements."""
    size = children[0]
    if isinstance(size, tree.Number) and not isinstance(size.value, int):
        b.refuse(mistakes.fractional_size(size))
    return tree.ObjFinSet(size=size, span=span)


def obj_apply(b: Builder, children: list[Any], span: Span) -> tree.Obj:
    """``Name(args)``: a pattern, or a free construction with its settings."""
    name, args = children
    settings = {a.key.text: a for a in args if isinstance(a, RawKeyword)}
    objs = tuple(a for a in args if not isinstance(a, RawKeyword))
    if name.text in _FREE:
        return _free(b, name, objs, {key: s.value for key, s in settings.items()}, span)
    for setting in settings.values():
        b.refuse(mistakes.setting_without_owner(name, setting.key))
    return tree.ObjApply(name, objs, span=span)


def _free(
    b: Builder, name: tree.Name, objs: tuple[Any, ...], settings: dict[str, Any], span: Span
) -> tree.Obj:
    cls, types, required = _FREE[name.text]
    fits = required <= settings.keys() <= types.keys() and all(
        isinstance(value, types[key]) for key, value in settings.items()
    )
    match objs:
        case (tree.ObjName(name=generators),) if fits:
            built: tree.Obj = cls(generators=generators, **settings, span=span)
            return built
    b.refuse(mistakes.free_object(name, span))
    return tree.ObjApply(name, objs, span=span)


_FREE: dict[str, tuple[Any, dict[str, type], set[str]]] = {
    "FreeMonoid": (tree.ObjFreeMonoid, {"max_length": tree.Number}, {"max_length"}),
    "FreeResiduated": (tree.ObjFreeResiduated, {"depth": tree.Number, "ops": tuple}, set()),
}


# --- morphism expressions -----------------------------------------------------------------------


def expr_binary(b: Builder, children: list[Any], span: Span) -> tree.ExprBinary:
    """Composition."""
    left, op, right = children
    return tree.ExprBinary(
        op=op.text, left=b.settle(left), right=b.settle(right),
        op_span=Span(op.start, op.stop), span=span,
    )  # fmt: skip


def expr_method(b: Builder, children: list[Any], span: Span) -> tree.ExprMethod:
    """``.name`` or ``.name(args)``; the methods are a closed list."""
    receiver, method, *rest = children
    args = tuple(b.settle(a) for a in rest[0] or ()) if rest else None
    built = tree.ExprMethod(receiver=b.settle(receiver), method=method, args=args, span=span)
    if finding := mistakes.method_shape(built):
        b.refuse(finding)
    return built


def let_binary(_b: Builder, children: list[Any], span: Span) -> tree.LetBinary:
    """Arithmetic."""
    left, op, right = children
    return tree.LetBinary(op.text, left, right, span=span)


def let_negate(_b: Builder, children: list[Any], span: Span) -> tree.LetNegate:
    """Unary minus."""
    return tree.LetNegate(children[1], span=span)
