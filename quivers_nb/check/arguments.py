"""Step arguments: a literal, a bound name, or a name indexed by names (section 7.3)."""

from quivers_nb.check.environment import Environment
from quivers_nb.check.lets import gathered
from quivers_nb.check.tensors import tensor
from quivers_nb.check.term import Argument, Indexed, Literal, Variable
from quivers_nb.check.values import NUMBER, UNKNOWN, Value
from quivers_nb.diagnostics.source import Span
from quivers_nb.syntax import tree

NOTHING: Argument = Literal(0)


def check_argument(arg: tree.StepArg, env: Environment) -> tuple[Argument, Value]:
    """The argument and what is known of it; `UNKNOWN` after an error."""
    match arg:
        case tree.Number():
            return Literal(arg.value), NUMBER
        case tree.Name():
            hint = f"write the list where `{arg.text}` stands, as in `[0.2, 0.8]`"
            value = tensor(env.known(arg, what=""), arg.span, env, hint)
            return Variable(arg.text, host=env.is_host(arg.text), span=arg.span), value
        case tree.ArgIndexed():
            return _indexed(arg, env)
        case tree.ArgCall():
            env.scope.report.error(
                "Q0613",
                f"`{env.scope.report.text(arg.span)}` is a distribution, where a number is wanted",
                arg.span,
                hint="draw it first with `sample`, and pass the name; only the measure operators, "
                "as `Restrict`, take distributions",
            )
            return NOTHING, UNKNOWN
        case tree.ArgList() | tree.ArgKeyword():
            env.scope.report.error(
                "Q0602",
                f"`{env.scope.report.text(arg.span)}` cannot stand here: a name or a number is "
                "wanted",
                arg.span,
            )
            return NOTHING, UNKNOWN


def _indexed(arg: tree.ArgIndexed, env: Environment) -> tuple[Argument, Value]:
    base = tensor(env.known(arg.name, what=""), arg.name.span, env)
    variable = Variable(arg.name.text, host=env.is_host(arg.name.text), span=arg.name.span)
    indices: list[Variable] = []
    values: list[tuple[Value, Span]] = []
    for index in arg.indices:
        if not isinstance(index, tree.ObjName):
            env.scope.report.error(
                "Q0604",
                f"`{env.scope.report.text(index.span)}` is not the name of an index",
                index.span,
                hint="bind it with a `let` first, and index by that name",
            )
            continue
        value = env.value(index.name)
        indices.append(
            Variable(index.name.text, host=env.is_host(index.name.text), span=index.span)
        )
        values.append((tensor(value, index.span, env), index.span))
    value = gathered(base, arg.name, [], values, env) if base is not UNKNOWN else UNKNOWN
    return Indexed(variable, tuple(indices)), value
