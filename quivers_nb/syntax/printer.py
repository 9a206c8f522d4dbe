"""Tree to text, the inverse of the parser: ``parse(print_module(m)) == m``, comments included.

One canonical form: four blanks per block, one blank around operators, parentheses only where
precedence or associativity asks for them. `EXPRESSIONS` and `LINES` have one row per node type.
"""

from collections.abc import Callable, Iterable
from typing import Any

from quivers_nb.syntax import tree
from quivers_nb.syntax.printer_expr import (
    call,
    expr,
    let,
    name_list,
    names,
    obj,
    option_entries,
    options,
    text,
)

INDENT = "    "
Body = list[str]


def print_module(module: tree.Module) -> str:
    """The canonical text of a module."""
    out: Body = []
    for declaration in module.declarations:
        out.extend(print_line(declaration))
    out.extend(module.trailing)
    return "".join(f"{row}\n" for row in out)


def print_line(line: tree.Line) -> list[str]:
    """The rows of a declaration, step or entry: what stands before it, itself, its block."""
    head, *block = LINES[type(line)](line)
    rows = [*line.leading, *(f"#! {doc}".rstrip() for doc in line.docs)]
    pragmas = [f"#[{option_entries(pragma)}]" for pragma in line.pragmas]
    if isinstance(line, tree.DeductionRule | tree.LexiconEntry):
        head = " ".join((head, *pragmas))
    else:
        rows += pragmas
    rows.append(head if line.trailing is None else f"{head}  {line.trailing}")
    return [*rows, *block]


def _block(lines: Iterable[tree.Line]) -> Body:
    return _indented(row for line in lines for row in print_line(line))


def _indented(rows: Iterable[str]) -> Body:
    return [INDENT + row if row else "" for row in rows]


def _params(params: tuple[tree.Name, ...]) -> str:
    return f"({names(params)})" if params else ""


def _typed(dom: tree.Obj, cod: tree.Obj, block: tree.Options | None) -> str:
    """``A -> B [options]``. Without options of its own, a codomain keeps its last block inside."""
    target = obj(cod)
    if block is None and target.endswith("]"):
        target = f"({target})"
    return f"{obj(dom)} -> {target}{options(block)}"


# --- programs -----------------------------------------------------------------------------------


def _draw(leader: str, what: str, step: Any) -> str:
    index = "" if step.index is None else f" : {obj(step.index)}"
    return f"{leader} {what}{index} <- {call(step.call)}{options(step.options)}"


def _sample(step: tree.SampleStep) -> Body:
    what = names(step.names)
    return [_draw("sample", what if len(step.names) == 1 else f"({what})", step)]


def _observe(step: tree.ObserveStep) -> Body:
    return [_draw("observe", step.name.text, step)]


def _marginalize(step: tree.MarginalizeStep) -> Body:
    return [_draw("marginalize", step.name.text, step), *_block(step.body)]


def _let_step(step: tree.LetStep) -> Body:
    return [f"let {step.name.text} = {let(step.value)}"]


def _score(step: tree.ScoreStep) -> Body:
    return [f"score {step.name.text} = {let(step.value)}"]


def _return(step: tree.ReturnStep) -> Body:
    if not step.is_tuple:
        return [f"return {step.names[0].text}"]
    if step.labels is None:
        return [f"return ({names(step.names)})"]
    pairs = zip(step.labels, step.names, strict=True)
    return [f"return ({', '.join(f'{label.text}: {name.text}' for label, name in pairs)})"]


def _param(param: tree.Param) -> str:
    match param.kind:
        case None:
            return param.name.text
        case tree.KindMor(dom=dom, cod=cod):
            return f"{param.name.text} : Mor[{obj(dom)}, {obj(cod)}]"
        case kind:
            return f"{param.name.text} : {kind.text}"


def _program(p: tree.ProgramDecl) -> Body:
    params = f"({', '.join(map(_param, p.params))})" if p.params else ""
    head = f"program {p.name.text}{params} : {_typed(p.dom, p.cod, p.options)}"
    return [head, *_block((*p.steps, p.returns))]


# --- other declarations ---------------------------------------------------------------------------


def _composition(d: tree.CompositionDecl) -> Body:
    level = "" if d.level is None else f" as {d.level.text}"
    return [f"composition {d.name.text}{level}", *_block(d.entries)]


def _composition_entry(e: tree.CompositionEntry) -> Body:
    params = "" if e.params is None else f"({names(e.params)})"
    return [f"{e.name.text}{params} = {let(e.value)}"]


def _rule(d: tree.RuleDecl) -> Body:
    premises = ", ".join(map(obj, d.premises))
    return [f"rule {d.name.text}({names(d.params)}) : {premises} => {obj(d.conclusion)}"]


def _schema(d: tree.SchemaDecl) -> Body:
    params = ", ".join(f"{names(group)} : {obj(kind)}" for group, kind in d.params)
    return [f"schema {d.name.text}({params}) : {obj(d.dom)} -> {obj(d.cod)}"]


def _morphism(d: tree.MorphismDecl) -> Body:
    head = f"morphism {d.name.text} : {_typed(d.dom, d.cod, d.options)}"
    if d.init is None:
        return [head]
    init = call(d.init) if isinstance(d.init, tree.Call) else _init_expr(d.init)
    return [f"{head} ~ {init}"]


def _init_expr(init: tree.Expr) -> str:
    """A call after ``~`` reads as a `Call`; to be an expression it needs parentheses."""
    return f"({expr(init)})" if isinstance(init, tree.ExprCall) else expr(init)


def _contraction(d: tree.ContractionDecl) -> Body:
    inputs = ", ".join(f"{i.name.text} : {obj(i.dom)} -> {obj(i.cod)}" for i in d.inputs)
    return [f"contraction {d.name.text} ({inputs}) : {_typed(d.dom, d.cod, d.options)}"]


def _let_decl(d: tree.LetDecl) -> Body:
    head = f"let {d.name.text} = {expr(d.value)}"
    return [f"{head} where", *_block(d.where)] if d.where else [head]


def _deduction(d: tree.DeductionDecl) -> Body:
    head = f"deduction {d.name.text} : {_typed(d.dom, d.cod, d.options)}"
    return [head, *_block(d.entries)]


def _deduction_rule(e: tree.DeductionRule) -> Body:
    premises = ", ".join(map(obj, e.premises))
    return [f"rule {e.name.text} : {premises} |- {obj(e.conclusion)}"]


def _lexicon_entry(e: tree.LexiconEntry) -> Body:
    match e.category:
        case str() as category:
            pass
        case tuple() as labels:
            category = f"{{{names(labels)}}}"
        case pattern:
            category = obj(pattern)
    return [f"{text(e.word)} : {category} = {let(e.form)}"]


def _lexicon_file(e: tree.LexiconFile) -> Body:
    return [f"lexicon from {text(e.path)}{options(e.options)}"]


def _signature(d: tree.SignatureDecl) -> Body:
    return [f"signature {d.name.text}{_params(d.params)}", *_block(d.sections)]


def _binder_entry(e: tree.BinderEntry) -> Body:
    scopes = ", ".join(f"{name.text} : {sort.text}" for name, sort in e.scopes)
    variables = ", ".join(map(_bound_var, e.variables))
    return [f"{e.name.text} : binds ({variables}) in ({scopes}) -> {e.result.text}"]


def _bound_var(v: tree.BoundVar) -> str:
    annotation = "" if v.annotation is None else " : {} : {}".format(
        *(name.text for name in v.annotation)
    )  # fmt: skip
    return f"{v.name.text} : {v.sort.text}{annotation}"


def _constructor_entry(e: tree.ConstructorEntry) -> Body:
    args = f"{names(e.args)} " if e.args else ""
    return [f"{e.name.text} : {args}-> {e.result.text}"]


def _edge_entry(e: tree.EdgeEntry) -> Body:
    arrow = "->" if e.directed else "--"
    return [f"{e.name.text} : {e.source.text} {arrow} {e.target.text}"]


def _coder(d: tree.CoderDecl) -> Body:
    relation = ":" if d.kind == "encoder" else "over"
    head = f"{d.kind} {d.name.text} {relation} {d.signature.text}{_params(d.params)}"
    return [f"{head}{options(d.options)}", *_block(d.entries)]


def _coder_entry(e: tree.CoderEntry) -> Body:
    if e.kind == "body":
        return ["body |-> recursive"]
    head = "" if e.kind == "op" else e.kind
    name = "" if e.name is None else f" {e.name.text}"
    if e.kind in ("dim", "iterations"):
        number = "" if e.number is None else text(e.number)
        return [f"{head}{name} = {number}" if e.kind == "dim" else f"{head} {number}"]
    index = "" if e.index is None else f"[{e.index.text}]"
    mode = "" if e.mode is None else f" {e.mode[0].text} {e.mode[1].text}"
    source = "".join(
        f" {word} {name.text}" for word, name in zip(("from", "as"), e.source, strict=False)
    )
    assert e.body is not None
    left = f"{head}{index}{name}{_params(e.args)}{mode}{source}".strip()
    return [f"{left} |-> {let(e.body)}"]


LINES: dict[type, Callable[[Any], Body]] = {
    tree.SampleStep: _sample,
    tree.ObserveStep: _observe,
    tree.MarginalizeStep: _marginalize,
    tree.LetStep: _let_step,
    tree.ScoreStep: _score,
    tree.ReturnStep: _return,
    tree.ProgramDecl: _program,
    tree.CompositionDecl: _composition,
    tree.CompositionEntry: _composition_entry,
    tree.CategoryDecl: lambda d: [f"category {names(d.names)}"],
    tree.RuleDecl: _rule,
    tree.SchemaDecl: _schema,
    tree.BundleDecl: lambda d: [f"bundle {d.name.text} = {name_list(d.members)}"],
    tree.ObjectDecl: lambda d: [f"object {d.name.text} : {obj(d.value)}"],
    tree.MorphismDecl: _morphism,
    tree.ContractionDecl: _contraction,
    tree.LetDecl: _let_decl,
    tree.DataDecl: lambda d: [f"data {d.name.text} : {obj(d.dom)} -> {obj(d.cod)}"],
    tree.ExportDecl: lambda d: [f"export {expr(d.value)}"],
    tree.PragmaLine: lambda d: [f"#![{option_entries(d.options)}]"],
    tree.DeductionDecl: _deduction,
    tree.AtomsEntry: lambda e: [f"{e.kind.text} {names(e.names)}"],
    tree.DeductionRule: _deduction_rule,
    tree.LexiconBlock: lambda e: ["lexicon", *_block(e.entries)],
    tree.LexiconFile: _lexicon_file,
    tree.LexiconEntry: _lexicon_entry,
    tree.SignatureDecl: _signature,
    tree.SignatureSection: lambda s: [s.kind.text, *_block(s.entries)],
    tree.SortEntry: lambda e: [f"{e.name.text} : {e.kind.text}{options(e.options)}"],
    tree.ConstructorEntry: _constructor_entry,
    tree.BinderEntry: _binder_entry,
    tree.EdgeEntry: _edge_entry,
    tree.CoderDecl: _coder,
    tree.CoderEntry: _coder_entry,
    tree.LossDecl: lambda d: [f"loss {d.name.text}{options(d.options)}", INDENT + let(d.body)],
}
