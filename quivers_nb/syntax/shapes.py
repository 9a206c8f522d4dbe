"""What a call is: the reserved words of morphism expressions, then families and declared names.

``settle_call`` reads a `RawCall` as a morphism expression and reports what does not fit;
``step_call`` reads it as what may follow ``~`` alone, a family or a call.
"""

from collections.abc import Callable
from typing import Any

from quivers_nb.syntax import mistakes, tree
from quivers_nb.syntax.raw import RawCall, RawKeyword, RawList, Refuse

Reader = Callable[[RawCall, Refuse], tree.Expr | None]


def settle_call(call: RawCall, refuse: Refuse) -> tree.Expr:
    """The expression that ``call`` denotes; if it does not fit, a finding and its name."""
    read = READERS.get(call.name.text, _declared)
    found = read(call, refuse)
    if found is not None:
        return found
    refuse(mistakes.call_shape(call.name, call.span))
    return tree.ExprName(name=call.name, span=call.span)


def step_call(call: RawCall) -> tree.Call | None:
    """``Family(args)`` or ``name(args)`` with step arguments; None if it is something else."""
    if call.name.text in READERS:
        return None
    args = tuple(_step_arg(arg) for arg in call.args)
    found = tuple(arg for arg in args if arg is not None)
    return tree.Call(name=call.name, args=found, span=call.span) if found == args else None


def _step_arg(arg: Any) -> tree.StepArg | None:
    match arg:
        case tree.ExprName(name=name):
            return name
        case tree.Number() | tree.ArgIndexed():
            return arg
        case RawKeyword():
            value = _step_arg(arg.value)
            return None if value is None else tree.ArgKeyword(arg.key, value, span=arg.span)
        case RawList(items=items) | RawCall(args=items):
            return _step_args(arg, tuple(_step_arg(item) for item in items))
        case _:
            return None


def _step_args(
    arg: RawList | RawCall, items: tuple[tree.StepArg | None, ...]
) -> tree.StepArg | None:
    found = tuple(item for item in items if item is not None)
    if len(found) < len(items):
        return None
    if isinstance(arg, RawList):
        return tree.ArgList(found, span=arg.span)
    return tree.ArgCall(arg.name, found, span=arg.span)


# --- one reader per reserved word ---------------------------------------------------------------


def _structural(call: RawCall, _refuse: Refuse) -> tree.Expr | None:
    match call.args:
        case (tree.ExprName(name=obj),):
            return tree.ExprStructural(kind=call.name, obj=obj, span=call.span)
        case _:
            return None


def _from_data(call: RawCall, _refuse: Refuse) -> tree.Expr | None:
    match call.args:
        case (tree.String() as key,):
            return tree.ExprFromData(key=key, span=call.span)
        case _:
            return None


def _fan(call: RawCall, refuse: Refuse) -> tree.Expr | None:
    if not call.args or not all(_is_expr(arg) for arg in call.args):
        return None
    return tree.ExprFan(parts=tuple(_expr(arg, refuse) for arg in call.args), span=call.span)


def _repeat(call: RawCall, refuse: Refuse) -> tree.Expr | None:
    match call.args:
        case (body,) if _is_expr(body):
            return tree.ExprRepeat(body=_expr(body, refuse), count=None, span=call.span)
        case (body, tree.Number(value=int()) as count) if _is_expr(body):
            return tree.ExprRepeat(body=_expr(body, refuse), count=count, span=call.span)
        case _:
            return None


def _stack(call: RawCall, refuse: Refuse) -> tree.Expr | None:
    match call.args:
        case (body, tree.Number(value=int()) as count) if _is_expr(body):
            return tree.ExprStack(body=_expr(body, refuse), count=count, span=call.span)
    return None


def _scan(call: RawCall, refuse: Refuse) -> tree.Expr | None:
    match call.args:
        case (cell,) if _is_expr(cell):
            return tree.ExprScan(cell=_expr(cell, refuse), init=None, span=call.span)
        case (cell, RawKeyword(key=key, value=tree.ExprName(name=init))) if _is_expr(cell):
            if key.text == "init":
                return tree.ExprScan(cell=_expr(cell, refuse), init=init, span=call.span)
        case _:
            pass
    return None


def _parser(call: RawCall, refuse: Refuse) -> tree.Expr | None:
    """``parser``, ``ccg``, ``lambek``, ``chart_fold``: keyword arguments of known names."""
    keys = FOLD_KEYS if call.name.text == "chart_fold" else PARSER_KEYS
    args = []
    for arg in call.args:
        if not isinstance(arg, RawKeyword):
            return None
        if arg.key.text not in keys:
            refuse(mistakes.unknown_argument(call.name, arg.key, keys))
        value = _parser_value(arg.value, keys is FOLD_KEYS, refuse)
        if value is None:
            return None
        args.append(tree.ParserArg(key=arg.key, value=value, span=arg.span))
    return tree.ExprParser(kind=call.name, args=tuple(args), span=call.span)


def _parser_value(
    value: Any, fold: bool, refuse: Refuse
) -> tree.Name | tree.Number | tuple[tree.Name, ...] | tree.Expr | None:
    match value:
        case tree.ExprName(name=name):
            return name
        case tree.Number(value=int()):
            return value
        case RawList(items=items) if all(isinstance(i, tree.ExprName) for i in items):
            return tuple(item.name for item in items)
    return _expr(value, refuse) if fold and _is_expr(value) else None


def _declared(call: RawCall, refuse: Refuse) -> tree.Expr | None:
    """A contraction or a template: declared names and numbers."""
    if not call.args:
        refuse(mistakes.no_arguments(call.name, call.span))
    args: list[tree.Name | tree.Number] = []
    for arg in call.args:
        match arg:
            case tree.ExprName(name=name):
                args.append(name)
            case tree.Number():
                args.append(arg)
            case _:
                return None
    return tree.ExprCall(name=call.name, args=tuple(args), span=call.span)


def _is_expr(arg: Any) -> bool:
    return isinstance(arg, RawCall | tree.Expr)


def _expr(arg: Any, refuse: Refuse) -> tree.Expr:
    return settle_call(arg, refuse) if isinstance(arg, RawCall) else arg


PARSER_KEYS = ("rules", "categories", "terminal", "start", "depth", "constructors")
FOLD_KEYS = ("lex", "binary", "unary", "start", "depth", "effect_depth")

READERS: dict[str, Reader] = {
    "identity": _structural,
    "cup": _structural,
    "cap": _structural,
    "from_data": _from_data,
    "fan": _fan,
    "repeat": _repeat,
    "stack": _stack,
    "scan": _scan,
    "parser": _parser,
    "ccg": _parser,
    "lambek": _parser,
    "chart_fold": _parser,
}
