"""From grammar rules to tree nodes: a table, one row per rule of ``grammar.lark``.

A constructor gets the children that the rule keeps (absent options as None) and the span of the
rule. Most rows only name the node and its fields. Constructors never fail: what the grammar lets
through but the language refuses is reported with `Builder.refuse`, and parsing goes on.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax import mistakes, tree
from quivers_nb.syntax.layout import Trivia
from quivers_nb.syntax.raw import RawCall, RawKeyword, RawList, Trailing
from quivers_nb.syntax.shapes import settle_call, step_call
from quivers_nb.syntax.tokens import Token


@dataclass(slots=True)
class Builder:
    """What constructors may know beyond their children: comments by place, and who to tell."""

    trivia: dict[int, Trivia]
    findings: list[Diagnostic] = field(default_factory=list)

    def refuse(self, finding: Diagnostic) -> None:
        """Report something that the grammar accepts and the language does not."""
        self.findings.append(finding)

    def expr(self, value: Any) -> tree.Expr:
        """A finished morphism expression: a call is read as what its name says."""
        return settle_call(value, self.refuse) if isinstance(value, RawCall) else value

    def obj(self, value: Any) -> tree.Obj:
        """A finished object expression: the option block after it is its own."""
        return value.attach(self.refuse) if isinstance(value, Trailing) else value

    def claim(self, value: Any) -> tuple[tree.Obj, tree.Options | None]:
        """An object expression and the option block of the declaration it ends."""
        return (value.obj, value.block) if isinstance(value, Trailing) else (value, None)


Constructor = Callable[[Builder, list[Any], Span], Any]


def node(cls: type, *fields: str, **constants: object) -> Constructor:
    """Children, in order, are these fields of ``cls``."""

    def build(b: Builder, children: list[Any], span: Span) -> object:
        return cls(**dict(zip(fields, children, strict=True)), **constants, span=span)

    return build


def line(cls: type, *fields: str, **constants: object) -> Constructor:
    """As `node`, for what owns a line: comments around it come along; see `_FINISH`."""
    finishers = [(name, _FINISH[name]) for name in fields if name in _FINISH]

    def build(b: Builder, children: list[Any], span: Span) -> object:
        given = dict(zip(fields, children, strict=True))
        for name, finish in finishers:
            given[name] = finish(b, given[name])
        return cls(**given, **constants, **_around(b, span), span=span)

    return build


def _around(b: Builder, span: Span) -> dict[str, object]:
    trivia = b.trivia.get(span.start)
    if trivia is None:
        return {}
    return {
        "leading": tuple(trivia.leading),
        "trailing": trivia.trailing,
        "docs": tuple(trivia.docs),
    }


def _finish_obj(b: Builder, value: Any) -> Any:
    return None if value is None else b.obj(value)


def _finish_expr(b: Builder, value: Any) -> Any:
    return b.expr(value)


def _finish_tuple(_b: Builder, value: Any) -> tuple[Any, ...]:
    return () if value is None else tuple(value)


_FINISH: dict[str, Callable[[Builder, Any], Any]] = {
    "dom": _finish_obj, "cod": _finish_obj, "index": _finish_obj, "conclusion": _finish_obj,
    "params": _finish_tuple, "members": _finish_tuple, "args": _finish_tuple,
    "entries": _finish_tuple, "sections": _finish_tuple, "where": _finish_tuple,
}  # fmt: skip


# --- small pieces -----------------------------------------------------------------------------


def sequence(_b: Builder, children: list[Any], _span: Span) -> tuple[Any, ...]:
    """A list rule: its items."""
    return tuple(children)


def only(_b: Builder, children: list[Any], _span: Span) -> Any:
    """A rule that adds nothing to its one child."""
    return children[0]


def _objs(b: Builder, children: list[Any], _span: Span) -> tuple[tree.Obj, ...]:
    return tuple(b.obj(child) for child in children)


def _options(_b: Builder, children: list[Any], span: Span) -> tree.Options:
    return tree.Options(entries=children[0] or (), span=span)


def _option_list(_b: Builder, children: list[Any], span: Span) -> tree.OptionList:
    return tree.OptionList(items=children[0] or (), span=span)


def _option_call(_b: Builder, children: list[Any], span: Span) -> tree.OptionCall:
    return tree.OptionCall(name=children[0], args=children[1] or (), span=span)


def _positional(_b: Builder, children: list[Any], _span: Span) -> tuple[None, Any]:
    return None, children[0]


def _pair(_b: Builder, children: list[Any], _span: Span) -> tuple[Any, Any]:
    return children[0], children[1]


def _option_keyword(_b: Builder, children: list[Any], span: Span) -> RawKeyword:
    return RawKeyword(key=children[0], value=children[1], span=span)


def _option_args(_b: Builder, children: list[Any], _span: Span) -> tuple[Any, ...]:
    return tuple((c.key, c.value) if isinstance(c, RawKeyword) else c for c in children)


def _negative(_b: Builder, children: list[Any], span: Span) -> tree.Number:
    number: tree.Number = children[1]
    return tree.Number(value=-number.value, text="-" + number.text, span=span)


# --- objects ------------------------------------------------------------------------------------


def _flat(cls: type, name: str) -> Constructor:
    """``A * B`` or ``A + B``, flattened; an option block after the last one floats to the top."""

    def build(b: Builder, children: list[Any], span: Span) -> object:
        left, right = b.obj(children[0]), children[2]
        obj, blocks = b.claim(right)
        parts = [getattr(p, name) if isinstance(p, cls) else (p,) for p in (left, obj)]
        place = span if blocks is None else Span(span.start, obj.span.stop)
        whole = cls(**{name: (*parts[0], *parts[1])}, span=place)
        return whole if blocks is None else Trailing(obj=whole, block=blocks, span=span)

    return build


def _quotient(b: Builder, children: list[Any], span: Span) -> object:
    argument, block = b.claim(children[2])
    op: Token = children[1]
    place = span if block is None else Span(span.start, argument.span.stop)
    whole = tree.ObjSlash(op=op.text, result=b.obj(children[0]), argument=argument, span=place)
    return whole if block is None else Trailing(obj=whole, block=block, span=span)


def _obj_blocks(b: Builder, children: list[Any], span: Span) -> Trailing:
    """An atom and its option blocks: the last one may turn out to be the declaration's."""
    obj = children[0]
    for block in children[1:-1]:
        obj = Trailing(obj=obj, block=block, span=obj.span | block.span).attach(b.refuse)
    return Trailing(obj=obj, block=children[-1], span=span)


def _obj_space(_b: Builder, children: list[Any], span: Span) -> tree.ObjSpace:
    return tree.ObjSpace(ctor=children[0], sizes=tuple(children[1:]), span=span)


def _obj_finset(b: Builder, children: list[Any], span: Span) -> tree.ObjFinSet:
    size = children[0]
    if isinstance(size, tree.Number) and not isinstance(size.value, int):
        b.refuse(mistakes.fractional_size(size))
    return tree.ObjFinSet(size=size, span=span)


def _obj_apply(b: Builder, children: list[Any], span: Span) -> tree.Obj:
    name, args = children
    settings = {a.key.text: a for a in args if isinstance(a, RawKeyword)}
    objs = tuple(b.obj(a) for a in args if not isinstance(a, RawKeyword))
    free = _FREE.get(name.text)
    if free is None:
        for setting in settings.values():
            b.refuse(mistakes.setting_without_owner(name, setting.key))
        return tree.ObjApply(name=name, args=objs, span=span)
    cls, types = free
    given = {key: s.value for key, s in settings.items() if key in types}
    fits = all(isinstance(given[key], types[key]) for key in given)
    if (
        len(objs) != 1
        or not isinstance(objs[0], tree.ObjName)
        or len(given) != len(settings)
        or not fits
        or (name.text == "FreeMonoid" and not given)
    ):
        b.refuse(mistakes.free_object(name, span))
        return tree.ObjApply(name=name, args=objs, span=span)
    return cls(generators=objs[0].name, **given, span=span)


_FREE: dict[str, tuple[Any, dict[str, type]]] = {
    "FreeMonoid": (tree.ObjFreeMonoid, {"max_length": tree.Number}),
    "FreeResiduated": (tree.ObjFreeResiduated, {"depth": tree.Number, "ops": tuple}),
}


# --- morphism expressions -----------------------------------------------------------------------


def _expr_binary(b: Builder, children: list[Any], span: Span) -> tree.ExprBinary:
    left, op, right = children
    return tree.ExprBinary(
        op=op.text, left=b.expr(left), right=b.expr(right),
        op_span=Span(op.start, op.stop), span=span,
    )  # fmt: skip


def _expr_method(b: Builder, children: list[Any], span: Span) -> tree.ExprMethod:
    receiver, method, *rest = children
    args = tuple(b.expr(a) for a in rest[0] or ()) if rest else None
    built = tree.ExprMethod(receiver=b.expr(receiver), method=method, args=args, span=span)
    if finding := mistakes.method_shape(built):
        b.refuse(finding)
    return built


def _expr_call(_b: Builder, children: list[Any], span: Span) -> RawCall:
    return RawCall(name=children[0], args=children[1] or (), span=span)


def _expr_group(b: Builder, children: list[Any], _span: Span) -> tree.Expr:
    return b.expr(children[0])


def _raw_list(_b: Builder, children: list[Any], span: Span) -> RawList:
    return RawList(items=children[0] or (), span=span)


# --- let arithmetic and step arguments ----------------------------------------------------------


def _let_binary(_b: Builder, children: list[Any], span: Span) -> tree.LetBinary:
    left, op, right = children
    return tree.LetBinary(op=op.text, left=left, right=right, span=span)


def _let_negate(_b: Builder, children: list[Any], span: Span) -> tree.LetNegate:
    return tree.LetNegate(operand=children[1], span=span)


def _with_list(cls: type, *fields: str) -> Constructor:
    """The last child is a list that may be absent."""

    def build(_b: Builder, children: list[Any], span: Span) -> object:
        values = (*children[:-1], children[-1] or ())
        return cls(**dict(zip(fields, values, strict=True)), span=span)

    return build


def _binder(b: Builder, children: list[Any], _span: Span) -> tuple[tree.Name, tree.Obj]:
    return children[0], b.obj(children[1])


# --- declarations -------------------------------------------------------------------------------


def _required_options(b: Builder, cod: Any, kind: str, name: tree.Name) -> Any:
    obj, block = b.claim(cod)
    if block is None:
        b.refuse(mistakes.missing_options(kind, name, obj.span))
    return obj, block or tree.Options(entries=())


def _morphism(b: Builder, children: list[Any], span: Span) -> tree.MorphismDecl:
    name, dom, cod, init = children
    cod, options = _required_options(b, cod, "morphism", name)
    return tree.MorphismDecl(
        name=name, dom=b.obj(dom), cod=cod, options=options, init=_init(b, init),
        **_around(b, span), span=span,
    )  # fmt: skip


def _init(b: Builder, value: Any) -> tree.Call | tree.Expr | None:
    """What stands after ``~``: ``F(args)`` if it can be read so, else an expression."""
    if isinstance(value, RawCall) and (call := step_call(value)) is not None:
        return call
    return None if value is None else b.expr(value)


def _contraction(b: Builder, children: list[Any], span: Span) -> tree.ContractionDecl:
    name, inputs, dom, cod = children
    cod, options = _required_options(b, cod, "contraction", name)
    return tree.ContractionDecl(
        name=name, inputs=inputs, dom=b.obj(dom), cod=cod, options=options,
        **_around(b, span), span=span,
    )  # fmt: skip


def _contraction_input(b: Builder, children: list[Any], span: Span) -> tree.ContractionInput:
    name, dom, cod = children
    return tree.ContractionInput(name=name, dom=b.obj(dom), cod=b.obj(cod), span=span)


def _kind_mor(b: Builder, children: list[Any], span: Span) -> tree.KindMor:
    name, dom, cod = children
    if name.text != "Mor":
        b.refuse(mistakes.unknown_kind(name))
    return tree.KindMor(dom=b.obj(dom), cod=b.obj(cod), span=span)


def _params(b: Builder, children: list[Any], _span: Span) -> tuple[tree.Param, ...]:
    if finding := mistakes.mixed_parameters(children):
        b.refuse(finding)
    return tuple(children)


def _param(b: Builder, children: list[Any], span: Span) -> tree.Param:
    name, kind = children
    if isinstance(kind, tree.Name) and kind.text not in mistakes.KINDS:
        b.refuse(mistakes.unknown_kind(kind))
    return tree.Param(name=name, kind=kind, span=span)


def _program(b: Builder, children: list[Any], span: Span) -> tree.ProgramDecl:
    name, params, dom, cod, steps, returns = children
    cod, options = b.claim(cod)
    return tree.ProgramDecl(
        name=name, params=params or (), dom=b.obj(dom), cod=cod, options=options,
        steps=steps, returns=returns, **_around(b, span), span=span,
    )  # fmt: skip


def _deduction(b: Builder, children: list[Any], span: Span) -> tree.DeductionDecl:
    name, dom, cod, entries = children
    cod, options = b.claim(cod)
    return tree.DeductionDecl(
        name=name, dom=b.obj(dom), cod=cod, options=options, entries=entries,
        **_around(b, span), span=span,
    )  # fmt: skip


def _composition(b: Builder, children: list[Any], span: Span) -> tree.CompositionDecl:
    name, level, entries = children
    if level is not None and level.text not in mistakes.LEVELS:
        b.refuse(mistakes.unknown_level(level))
    return tree.CompositionDecl(
        name=name, level=level, entries=entries or (), **_around(b, span), span=span
    )


def _composition_entry(b: Builder, children: list[Any], span: Span) -> tree.CompositionEntry:
    name, params, value = children
    return tree.CompositionEntry(
        name=name, params=params, value=value, **_around(b, span), span=span
    )


def _let_decl(b: Builder, children: list[Any], span: Span) -> tree.LetDecl:
    name, value, *where = children
    return tree.LetDecl(
        name=name, value=b.expr(value), where=where[0] if where else (),
        **_around(b, span), span=span,
    )  # fmt: skip


def _export(b: Builder, children: list[Any], span: Span) -> tree.ExportDecl:
    return tree.ExportDecl(value=b.expr(children[0]), **_around(b, span), span=span)


def _object(b: Builder, children: list[Any], span: Span) -> tree.ObjectDecl:
    name, value = children
    return tree.ObjectDecl(name=name, value=b.obj(value), **_around(b, span), span=span)


def _return_tuple(b: Builder, children: list[Any], span: Span) -> tree.ReturnStep:
    items: Sequence[tuple[tree.Name, tree.Name | None]] = children[0]
    labelled = [first for first, second in items if second is not None]
    names = tuple(first if second is None else second for first, second in items)
    if 0 < len(labelled) < len(items):
        b.refuse(mistakes.some_labels(items))
        labelled = []
    return tree.ReturnStep(
        names=names, labels=tuple(labelled) or None, is_tuple=True,
        **_around(b, span), span=span,
    )  # fmt: skip


def _return_name(b: Builder, children: list[Any], span: Span) -> tree.ReturnStep:
    return tree.ReturnStep(names=(children[0],), **_around(b, span), span=span)


def _module(b: Builder, children: list[Any], span: Span) -> tuple[tree.Declaration, ...]:
    """Outer pragmas join the declaration that follows them."""
    declarations: list[tree.Declaration] = []
    waiting: list[_OuterPragma] = []
    for child in children:
        if isinstance(child, _OuterPragma):
            waiting.append(child)
        elif waiting and not isinstance(child, tree.PragmaLine):
            declarations.append(_with_pragmas(child, waiting))
            waiting = []
        else:
            declarations.append(child)
    for pragma in waiting:
        b.refuse(mistakes.pragma_without_declaration(pragma.options))
    return tuple(declarations)


@dataclass(frozen=True, slots=True)
class _OuterPragma:
    options: tree.Options
    leading: tuple[str, ...] = ()
    docs: tuple[str, ...] = ()


def _outer_pragma(b: Builder, children: list[Any], span: Span) -> _OuterPragma:
    options = tree.Options(entries=children[0], span=span)
    trivia = b.trivia.get(span.start, Trivia())
    after = () if trivia.trailing is None else (trivia.trailing,)
    return _OuterPragma(options, (*trivia.leading, *after), tuple(trivia.docs))


def _with_pragmas(declaration: Any, pragmas: Iterable[_OuterPragma]) -> Any:
    return replace(
        declaration,
        leading=(*(text for p in pragmas for text in p.leading), *declaration.leading),
        docs=(*(text for p in pragmas for text in p.docs), *declaration.docs),
        pragmas=tuple(p.options for p in pragmas),
    )


def _inner_pragma(b: Builder, children: list[Any], span: Span) -> tree.PragmaLine:
    options = tree.Options(entries=children[0], span=span)
    around = _around(b, span)
    if around.get("docs"):
        b.refuse(mistakes.docs_before_pragma(options))
    return tree.PragmaLine(options=options, **around, span=span)


# --- deductions and structure -------------------------------------------------------------------


def _trail(_b: Builder, children: list[Any], span: Span) -> tree.Options:
    return tree.Options(entries=children[0], span=span)


def _deduction_rule(b: Builder, children: list[Any], span: Span) -> tree.DeductionRule:
    name, premises, conclusion, trail = children
    return tree.DeductionRule(
        name=name, premises=premises, conclusion=b.obj(conclusion),
        pragmas=() if trail is None else (trail,), **_around(b, span), span=span,
    )  # fmt: skip


def _lexicon_entry(b: Builder, children: list[Any], span: Span) -> tree.LexiconEntry:
    word, category, form, trail = children
    return tree.LexiconEntry(
        word=word, category=category if isinstance(category, str | tuple) else b.obj(category),
        form=form, pragmas=() if trail is None else (trail,), **_around(b, span), span=span,
    )  # fmt: skip


def _any_category(_b: Builder, _children: list[Any], _span: Span) -> str:
    return "*"


def _headed(cls: type, *fields: str) -> Constructor:
    """The first children are these fields, and all the others a tuple in the last one."""

    def build(b: Builder, children: list[Any], span: Span) -> object:
        count = len(fields) - 1
        given = dict(zip(fields, (*children[:count], tuple(children[count:])), strict=True))
        return cls(**given, **_around(b, span), span=span)

    return build


def _sort_entry(b: Builder, children: list[Any], span: Span) -> tree.SortEntry:
    name, kind, options = children
    if kind.text not in mistakes.SORT_KINDS:
        b.refuse(mistakes.unknown_sort_kind(kind))
    return tree.SortEntry(name=name, kind=kind, options=options, **_around(b, span), span=span)


def _bound_var(_b: Builder, children: list[Any], span: Span) -> tree.BoundVar:
    name, sort, label, of = children
    annotation = None if label is None else (label, of)
    return tree.BoundVar(name=name, sort=sort, annotation=annotation, span=span)


def _edge_entry(b: Builder, children: list[Any], span: Span) -> tree.EdgeEntry:
    name, source, arrow, target = children
    return tree.EdgeEntry(
        name=name, source=source, directed=arrow.text == "->", target=target,
        **_around(b, span), span=span,
    )  # fmt: skip


def _coder_pass(b: Builder, children: list[Any], span: Span) -> tree.CoderEntry:
    kind, index, first, second, body = children
    return tree.CoderEntry(
        kind=kind.text, index=index, args=(first, second), body=body,
        **_around(b, span), span=span,
    )  # fmt: skip


def _coder_var_init(b: Builder, children: list[Any], span: Span) -> tree.CoderEntry:
    name, source, body = children
    return tree.CoderEntry(
        kind="var_init", name=name, source=source or (), body=body, **_around(b, span), span=span
    )


def _coder_init(b: Builder, children: list[Any], span: Span) -> tree.CoderEntry:
    name, argument, body = children
    return tree.CoderEntry(
        kind="init", name=name, args=(argument,), body=body, **_around(b, span), span=span
    )


def _coder_override(b: Builder, children: list[Any], span: Span) -> tree.CoderEntry:
    kind, argument, body = children
    return tree.CoderEntry(
        kind=kind.text, args=(argument,), body=body, **_around(b, span), span=span
    )


def _var_source(_b: Builder, children: list[Any], _span: Span) -> tuple[tree.Name, ...]:
    return tuple(child for child in children if child is not None)


def _loss(b: Builder, children: list[Any], span: Span) -> tree.LossDecl:
    name, options, (body, inside) = children
    around = _around(b, span)
    if inside is not None:
        ends = () if inside.trailing is None else (inside.trailing,)
        around["leading"] = (*tuple(around["leading"]), *inside.leading, *ends)  # type: ignore[arg-type]
        around["docs"] = (*tuple(around["docs"]), *inside.docs)  # type: ignore[arg-type]
    return tree.LossDecl(name=name, options=options, body=body, **around, span=span)


def _loss_body(b: Builder, children: list[Any], span: Span) -> tuple[Any, Trivia | None]:
    return children[0], b.trivia.get(span.start)


CONSTRUCTORS: dict[str, Constructor] = {
    "module": _module,
    "outer_pragma": _outer_pragma,
    "inner_pragma": _inner_pragma,
    "names": sequence,
    "name_list": sequence,
    "options": _options,
    "entries": sequence,
    "option_entry": node(tree.OptionEntry, "key", "value"),
    "option_list": _option_list,
    "option_call": _option_call,
    "option_items": sequence,
    "option_args": _option_args,
    "positional": _positional,
    "keyword": _option_keyword,
    "negative": _negative,
    # objects
    "obj_sum": _flat(tree.ObjSum, "terms"),
    "obj_quotient": _quotient,
    "obj_times": _flat(tree.ObjProduct, "factors"),
    "obj_blocks": _obj_blocks,
    "obj_name": node(tree.ObjName, "name"),
    "obj_int": node(tree.ObjInt, "value"),
    "obj_finset": _obj_finset,
    "obj_space": _obj_space,
    "obj_apply": _obj_apply,
    "obj_group": lambda b, children, span: b.obj(children[0]),
    "obj_args": sequence,
    "bracketed_names": lambda b, children, span: children[0] or (),
    "objs": _objs,
    "obj_enum": node(tree.ObjEnum, "labels"),
    # morphism expressions
    "expr_binary": _expr_binary,
    "expr_method": _expr_method,
    "expr_method_call": _expr_method,
    "expr_name": node(tree.ExprName, "name"),
    "expr_call": _expr_call,
    "expr_group": _expr_group,
    "args": sequence,
    "arg_indexed": node(tree.ArgIndexed, "name", "indices"),
    "raw_list": _raw_list,
    # let arithmetic
    "let_binary": _let_binary,
    "let_negate": _let_negate,
    "let_name": node(tree.LetName, "name"),
    "let_call": _with_list(tree.LetCall, "name", "args"),
    "let_index": node(tree.LetIndex, "name", "indices"),
    "let_method": _with_list(tree.LetMethod, "receiver", "method", "args"),
    "let_list": _with_list(tree.LetList, "items"),
    "let_group": only,
    "lets": sequence,
    "let_lambda": node(tree.LetLambda, "param", "body"),
    "let_factor": node(tree.LetFactor, "binders", "body"),
    "binders": sequence,
    "binder": _binder,
    "factor_cases": sequence,
    "factor_case": node(tree.FactorCase, "label", "body"),
    # declarations
    "composition": _composition,
    "composition_body": sequence,
    "composition_entry": _composition_entry,
    "category": line(tree.CategoryDecl, "names"),
    "rule": line(tree.RuleDecl, "name", "params", "premises", "conclusion"),
    "schema": line(tree.SchemaDecl, "name", "params", "dom", "cod"),
    "schema_params": sequence,
    "schema_param": _binder,
    "bundle": line(tree.BundleDecl, "name", "members"),
    "object": _object,
    "morphism": _morphism,
    "contraction": _contraction,
    "contraction_inputs": sequence,
    "contraction_input": _contraction_input,
    "data": line(tree.DataDecl, "name", "dom", "cod"),
    "let_decl": _let_decl,
    "where_body": sequence,
    "export": _export,
    # programs
    "program": _program,
    "params": _params,
    "param": _param,
    "kind_mor": _kind_mor,
    "steps": sequence,
    "sample": line(tree.SampleStep, "names", "index", "call", "options"),
    "observe": line(tree.ObserveStep, "name", "index", "call", "options"),
    "marginalize": line(tree.MarginalizeStep, "name", "index", "call", "options", "body"),
    "block": sequence,
    "let_step": line(tree.LetStep, "name", "value"),
    "score": line(tree.ScoreStep, "name", "value"),
    "return_name": _return_name,
    "return_tuple": _return_tuple,
    "return_items": sequence,
    "return_item": _pair,
    "pattern": lambda b, children, span: (
        (children[0],) if isinstance(children[0], tree.Name) else children[0]
    ),
    "call_bare": node(tree.Call, "name", args=None),
    "call": _with_list(tree.Call, "name", "args"),
    "step_args": sequence,
    "arg_keyword": node(tree.ArgKeyword, "key", "value"),
    "arg_call": _with_list(tree.ArgCall, "name", "args"),
    "arg_list": _with_list(tree.ArgList, "items"),
    # deductions
    "deduction": _deduction,
    "deduction_body": sequence,
    "atoms": line(tree.AtomsEntry, "kind", "names"),
    "deduction_rule": _deduction_rule,
    "trail": _trail,
    "lexicon_block": _headed(tree.LexiconBlock, "entries"),
    "lexicon_file": line(tree.LexiconFile, "path", "options"),
    "lexicon_entry": _lexicon_entry,
    "any_category": _any_category,
    "some_categories": only,
    # structure
    "signature": line(tree.SignatureDecl, "name", "params", "sections"),
    "signature_body": sequence,
    "section": _headed(tree.SignatureSection, "kind", "entries"),
    "sort_entry": _sort_entry,
    "constructor_entry": line(tree.ConstructorEntry, "name", "args", "result"),
    "binder_entry": line(tree.BinderEntry, "name", "variables", "scopes", "result"),
    "bound_vars": sequence,
    "bound_var": _bound_var,
    "scopes": sequence,
    "scope": _pair,
    "edge_entry": _edge_entry,
    "encoder": line(
        tree.CoderDecl, "name", "signature", "params", "options", "entries", kind="encoder"
    ),
    "encoder_body": sequence,
    "coder_dim": line(tree.CoderEntry, "name", "number", kind="dim"),
    "coder_iterations": line(tree.CoderEntry, "number", kind="iterations"),
    "coder_readout": line(tree.CoderEntry, "body", kind="readout"),
    "coder_init": _coder_init,
    "coder_pass": _coder_pass,
    "coder_var_init": _coder_var_init,
    "coder_op": line(tree.CoderEntry, "name", "args", "mode", "body", kind="op"),
    "var_source": _var_source,
    "coder_mode": _pair,
    "decoder": line(
        tree.CoderDecl, "name", "signature", "params", "options", "entries", kind="decoder"
    ),
    "decoder_body": sequence,
    "coder_body": line(tree.CoderEntry, kind="body"),
    "coder_override": _coder_override,
    "loss": _loss,
    "loss_body": _loss_body,
}
