"""Expressions of every kind as text: objects, morphisms, lets, step arguments, options.

``level`` is how tightly an expression holds together; an operand that holds less tightly than its
place demands is put in parentheses.
"""

from collections.abc import Callable, Iterable
from typing import Any

from quivers_nb.syntax import tree

_LOOSEST, _ATOM = 0, 4
Printed = tuple[int, str]  # how tightly it holds together, and the text


def names(items: Iterable[tree.Name]) -> str:
    """``a, b``."""
    return ", ".join(item.text for item in items)


def name_list(items: Iterable[tree.Name]) -> str:
    """``[a, b]``."""
    return f"[{names(items)}]"


def text(leaf: tree.Name | tree.Number | tree.String) -> str:
    """A name or a literal."""
    match leaf:
        case tree.Name():
            return leaf.text
        case tree.String():
            return f'"{leaf.raw}"'
        case tree.Number():
            return leaf.text or repr(leaf.value)


def obj(node: tree.Obj, level: int = _LOOSEST) -> str:
    """An object expression."""
    return _place(OBJECTS, node, level)


def expr(node: tree.Expr, level: int = _LOOSEST) -> str:
    """A morphism expression."""
    return _place(MORPHISMS, node, level)


def let(node: tree.LetExpr, level: int = _LOOSEST) -> str:
    """A let expression."""
    return _place(LETS, node, level)


def _place(table: dict[type, Callable[[Any], Printed]], node: object, level: int) -> str:
    tight, printed = table[type(node)](node)
    return printed if tight >= level else f"({printed})"


def call(node: tree.Call) -> str:
    """What stands at the right of ``<-`` and ``~``."""
    return node.name.text if node.args is None else f"{node.name.text}({_args(node.args)})"


# --- options --------------------------------------------------------------------------------------


def options(block: tree.Options | None) -> str:
    """An option block with the blank before it, or nothing."""
    return "" if block is None else f" [{option_entries(block)}]"


def option_entries(block: tree.Options) -> str:
    """``key=value, flag``."""
    return ", ".join(map(_option_entry, block.entries))


def _option_entry(entry: tree.OptionEntry) -> str:
    return entry.key.text if entry.value is None else f"{entry.key.text}={_option(entry.value)}"


def _option(value: tree.OptionValue) -> str:
    match value:
        case tree.OptionList(items=items):
            return f"[{', '.join(map(text, items))}]"
        case tree.OptionCall(name=name, args=args):
            return f"{name.text}({', '.join(_option_arg(key, item) for key, item in args)})"
        case leaf:
            return text(leaf)


def _option_arg(key: tree.Name | None, item: tree.OptionItem) -> str:
    return text(item) if key is None else f"{key.text}={text(item)}"


# --- objects --------------------------------------------------------------------------------------


def _slash(node: tree.ObjSlash) -> Printed:
    return 2, f"{obj(node.result, 2)} {node.op} {obj(node.argument, 3)}"


def _space(node: tree.ObjSpace) -> Printed:
    sizes = "".join(f" {text(size)}" for size in node.sizes)
    return _ATOM, f"{node.ctor.text}{sizes}{options(node.options)}"


def _free_residuated(node: tree.ObjFreeResiduated) -> Printed:
    depth = "" if node.depth is None else f", depth={text(node.depth)}"
    ops = "" if node.ops is None else f", ops={name_list(node.ops)}"
    return _ATOM, f"FreeResiduated({node.generators.text}{depth}{ops})"


def _free_monoid(node: tree.ObjFreeMonoid) -> Printed:
    return _ATOM, f"FreeMonoid({node.generators.text}, max_length={text(node.max_length)})"


OBJECTS: dict[type, Callable[[Any], Printed]] = {
    tree.ObjName: lambda n: (_ATOM, n.name.text),
    tree.ObjInt: lambda n: (_ATOM, text(n.value)),
    tree.ObjFinSet: lambda n: (_ATOM, f"FinSet {text(n.size)}"),
    tree.ObjSpace: _space,
    tree.ObjProduct: lambda n: (3, " * ".join(obj(f, 3) for f in n.factors)),
    tree.ObjSum: lambda n: (1, " + ".join(obj(t, 1) for t in n.terms)),
    tree.ObjSlash: _slash,
    tree.ObjApply: lambda n: (_ATOM, f"{n.name.text}({', '.join(map(obj, n.args))})"),
    tree.ObjEnum: lambda n: (_ATOM, f"{{{names(n.labels)}}}"),
    tree.ObjFreeMonoid: _free_monoid,
    tree.ObjFreeResiduated: _free_residuated,
}


# --- morphism expressions -------------------------------------------------------------------------


def _binary(node: tree.ExprBinary) -> Printed:
    level = 2 if node.op == "@" else 1
    return level, f"{expr(node.left, level)} {node.op} {expr(node.right, level + 1)}"


def _method(node: tree.ExprMethod) -> Printed:
    args = "" if node.args is None else f"({', '.join(map(expr, node.args))})"
    return 3, f"{expr(node.receiver, 3)}.{node.method.text}{args}"


def _expr_call(node: tree.ExprCall) -> Printed:
    return _ATOM, f"{node.name.text}({', '.join(map(text, node.args))})"


def _repeat(node: tree.ExprRepeat) -> Printed:
    count = "" if node.count is None else f", {text(node.count)}"
    return _ATOM, f"repeat({expr(node.body)}{count})"


def _stack(node: tree.ExprStack) -> Printed:
    return _ATOM, f"stack({expr(node.body)}, {text(node.count)})"


def _scan(node: tree.ExprScan) -> Printed:
    init = "" if node.init is None else f", init={node.init.text}"
    return _ATOM, f"scan({expr(node.cell)}{init})"


def _parser(node: tree.ExprParser) -> Printed:
    args = ", ".join(f"{arg.key.text}={_parser_value(arg.value)}" for arg in node.args)
    return _ATOM, f"{node.kind.text}({args})"


def _parser_value(value: Any) -> str:
    match value:
        case tuple():
            return name_list(value)
        case tree.Name() | tree.Number():
            return text(value)
        case _:
            return expr(value)


MORPHISMS: dict[type, Callable[[Any], Printed]] = {
    tree.ExprName: lambda n: (_ATOM, n.name.text),
    tree.ExprBinary: _binary,
    tree.ExprMethod: _method,
    tree.ExprCall: _expr_call,
    tree.ExprStructural: lambda n: (_ATOM, f"{n.kind.text}({n.obj.text})"),
    tree.ExprFromData: lambda n: (_ATOM, f"from_data({text(n.key)})"),
    tree.ExprFan: lambda n: (_ATOM, f"fan({', '.join(map(expr, n.parts))})"),
    tree.ExprRepeat: _repeat,
    tree.ExprStack: _stack,
    tree.ExprScan: _scan,
    tree.ExprParser: _parser,
}


# --- let arithmetic -------------------------------------------------------------------------------


def _let_binary(node: tree.LetBinary) -> Printed:
    level = 1 if node.op in "+-" else 2
    return level, f"{let(node.left, level)} {node.op} {let(node.right, level + 1)}"


def _factor(node: tree.LetFactor) -> Printed:
    binders = ", ".join(f"{name.text} : {obj(over)}" for name, over in node.binders)
    if isinstance(node.body, tuple):
        cases = ", ".join(f"{text(case.label)} -> {let(case.body)}" for case in node.body)
        return _LOOSEST, f"factor {binders} in {{{cases}}}"
    return _LOOSEST, f"factor {binders} in {let(node.body)}"


def _lets(items: Iterable[tree.LetExpr]) -> str:
    return ", ".join(map(let, items))


LETS: dict[type, Callable[[Any], Printed]] = {
    tree.Number: lambda n: (_ATOM, text(n)),
    tree.String: lambda n: (_ATOM, text(n)),
    tree.LetName: lambda n: (_ATOM, n.name.text),
    tree.LetBinary: _let_binary,
    tree.LetNegate: lambda n: (3, f"-{let(n.operand, _ATOM)}"),
    tree.LetCall: lambda n: (_ATOM, f"{n.name.text}({_lets(n.args)})"),
    tree.LetIndex: lambda n: (_ATOM, f"{n.name.text}[{_lets(n.indices)}]"),
    tree.LetMethod: lambda n: (_ATOM, f"{n.receiver.text}.{n.method.text}({_lets(n.args)})"),
    tree.LetList: lambda n: (_ATOM, f"[{_lets(n.items)}]"),
    tree.LetLambda: lambda n: (_LOOSEST, f"{n.param.text} -> {let(n.body)}"),
    tree.LetFactor: _factor,
}


# --- step arguments -------------------------------------------------------------------------------


def _args(args: Iterable[tree.StepArg]) -> str:
    return ", ".join(map(_arg, args))


def _arg(arg: tree.StepArg) -> str:
    match arg:
        case tree.ArgIndexed(name=name, indices=indices):
            return f"{name.text}[{', '.join(map(obj, indices))}]"
        case tree.ArgCall(name=name, args=args):
            return f"{name.text}({_args(args)})"
        case tree.ArgList(items=items):
            return f"[{_args(items)}]"
        case tree.ArgKeyword(key=key, value=value):
            return f"{key.text}={_arg(value)}"
        case leaf:
            return text(leaf)
