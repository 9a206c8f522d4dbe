"""Substitution in syntax trees: what inlining a template does to its steps (section 7.9).

Which names a `tree.Name` may stand for depends on where it stands, so each place has a rule; all
other nodes are rebuilt with their parts. Spans stay: a fault is shown in the template's own text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from quivers_nb.syntax import tree


@dataclass(frozen=True, slots=True)
class Substitution:
    """What formal parameters become, and the new names of local variables."""

    objects: Mapping[str, tree.Name]
    numbers: Mapping[str, tree.Number | tree.Name]
    morphisms: Mapping[str, tree.Name]
    names: Mapping[str, str]

    def hiding(self, hidden: set[str]) -> "Substitution":
        """The same, where inner binders hide some names."""
        return replace(
            self,
            numbers={k: v for k, v in self.numbers.items() if k not in hidden},
            names={k: v for k, v in self.names.items() if k not in hidden},
        )

    def variable(self, name: tree.Name) -> tree.Name:
        """A local variable under its new name; an argument keeps its place in the call."""
        number = self.numbers.get(name.text)
        if isinstance(number, tree.Name):
            return number
        return replace(name, text=self.names.get(name.text, name.text))


def substituted(node: Any, s: Substitution) -> Any:
    """A tree with the substitution made everywhere in it."""
    rule = RULES.get(type(node))
    if rule is not None:
        return rule(node, s)
    if isinstance(node, tuple):
        return tuple(substituted(part, s) for part in node)
    if isinstance(node, tree.Node) and not isinstance(node, tree.Name | tree.Number | tree.String):
        return _rebuilt(node, s)
    return node


def _rebuilt(node: Any, s: Substitution) -> Any:
    parts = {f.name: substituted(getattr(node, f.name), s) for f in fields(node)}
    return replace(node, **parts)


# --- objects ----------------------------------------------------------------------------------


def _object_name(node: tree.ObjName, s: Substitution) -> tree.Obj:
    number = s.numbers.get(node.name.text)
    if isinstance(number, tree.Number):
        return tree.ObjInt(replace(number, span=node.span), span=node.span)
    return replace(node, name=_object(node.name, s))


def _object(name: tree.Name, s: Substitution) -> tree.Name:
    return replace(name, text=s.objects[name.text].text) if name.text in s.objects else name


def _size(size: tree.Number | tree.Name, s: Substitution) -> tree.Number | tree.Name:
    if isinstance(size, tree.Number):
        return size
    number = s.numbers.get(size.text)
    return replace(number, span=size.span) if number is not None else _object(size, s)


def _finset(node: tree.ObjFinSet, s: Substitution) -> tree.ObjFinSet:
    return replace(node, size=_size(node.size, s))


def _space(node: tree.ObjSpace, s: Substitution) -> tree.ObjSpace:
    return replace(node, sizes=tuple(_size(size, s) for size in node.sizes))


# --- let expressions --------------------------------------------------------------------------


def _let_name(node: tree.LetName, s: Substitution) -> tree.LetExpr:
    number = s.numbers.get(node.name.text)
    if isinstance(number, tree.Number):
        return replace(number, span=node.span)
    return replace(node, name=s.variable(node.name))


def _let_index(node: tree.LetIndex, s: Substitution) -> tree.LetIndex:
    return replace(node, name=s.variable(node.name), indices=substituted(node.indices, s))


def _let_method(node: tree.LetMethod, s: Substitution) -> tree.LetMethod:
    return replace(node, receiver=s.variable(node.receiver), args=substituted(node.args, s))


def _let_lambda(node: tree.LetLambda, s: Substitution) -> tree.LetLambda:
    return replace(node, body=substituted(node.body, s.hiding({node.param.text})))


def _let_factor(node: tree.LetFactor, s: Substitution) -> tree.LetFactor:
    binders = tuple((name, substituted(obj, s)) for name, obj in node.binders)
    inner = s.hiding({name.text for name, _ in node.binders})
    return replace(node, binders=binders, body=substituted(node.body, inner))


# --- steps --------------------------------------------------------------------------------------


def _call(node: tree.Call, s: Substitution) -> tree.Call:
    head = s.morphisms.get(node.name.text, node.name)
    args = None if node.args is None else tuple(_argument(arg, s) for arg in node.args)
    return replace(node, name=replace(node.name, text=head.text), args=args)


def _argument(arg: tree.StepArg, s: Substitution) -> tree.StepArg:
    match arg:
        case tree.Name():
            return _name(arg, s)
        case tree.ArgIndexed():
            indices = tuple(_index(index, s) for index in arg.indices)
            return replace(arg, name=s.variable(arg.name), indices=indices)
        case tree.ArgList():
            return replace(arg, items=tuple(_argument(item, s) for item in arg.items))
        case tree.ArgCall():
            return replace(arg, args=tuple(_argument(item, s) for item in arg.args))
        case tree.ArgKeyword():
            return replace(arg, value=_argument(arg.value, s))
        case _:
            return arg


def _name(arg: tree.Name, s: Substitution) -> tree.Name | tree.Number:
    """A variable, a number, or (in a call of another template) an object or a morphism."""
    number = s.numbers.get(arg.text)
    if isinstance(number, tree.Number):
        return replace(number, span=arg.span)
    given = s.objects.get(arg.text) or s.morphisms.get(arg.text)
    if given is not None and arg.text not in s.names:
        return replace(arg, text=given.text)
    return s.variable(arg)


def _index(index: tree.Obj, s: Substitution) -> tree.Obj:
    if isinstance(index, tree.ObjName) and index.name.text in s.names:
        return replace(index, name=s.variable(index.name))
    return index


def _option(node: tree.OptionEntry, s: Substitution) -> tree.OptionEntry:
    value = node.value
    if isinstance(value, tree.OptionList):
        value = replace(value, items=tuple(_option_name(item, s) for item in value.items))
    elif isinstance(value, tree.OptionCall):
        args = tuple((key, _option_name(item, s)) for key, item in value.args)
        value = replace(value, args=args)
    elif value is not None:
        value = _option_name(value, s)
    return replace(node, value=value)


def _option_name(item: Any, s: Substitution) -> Any:
    """An object of `over`, or an index of `via`."""
    if not isinstance(item, tree.Name):
        return item
    return s.variable(item) if item.text in s.names else _object(item, s)


def _sample(node: tree.SampleStep, s: Substitution) -> tree.SampleStep:
    return replace(_rebuilt(node, s), names=tuple(s.variable(name) for name in node.names))  # type: ignore[no-any-return]


def _named(node: Any, s: Substitution) -> Any:
    return replace(_rebuilt(node, s), name=s.variable(node.name))


RULES: dict[type, Callable[[Any, Substitution], Any]] = {
    tree.ObjName: _object_name,
    tree.ObjFinSet: _finset,
    tree.ObjSpace: _space,
    tree.LetName: _let_name,
    tree.LetIndex: _let_index,
    tree.LetMethod: _let_method,
    tree.LetLambda: _let_lambda,
    tree.LetFactor: _let_factor,
    tree.Call: _call,
    tree.OptionEntry: _option,
    tree.SampleStep: _sample,
    tree.ObserveStep: _named,
    tree.MarginalizeStep: _named,
    tree.LetStep: _named,
    tree.ScoreStep: _named,
}
