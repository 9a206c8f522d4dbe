"""Whether a program reads its input at all (R1), decided before its steps are checked."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from quivers_nb.check.scope import Scope
from quivers_nb.check.term import ProgramTerm, Term
from quivers_nb.check.walk import entered
from quivers_nb.syntax import tree


def reads_input(decl: tree.ProgramDecl, scope: Scope) -> bool:
    """An input name is used, or a step without arguments takes the raw input."""
    inputs = {param.name.text for param in decl.params}
    if any(name in inputs for name in _used(decl)):
        return True
    return any(_takes_raw(call, scope) for call in _calls(decl.steps))


def _takes_raw(call: tree.Call, scope: Scope) -> bool:
    binding = scope.morphisms.get(call.name.text)
    if call.args is not None or binding is None or not isinstance(binding.value, Term):
        return False
    term = entered(binding.value)
    return not isinstance(term, ProgramTerm) or term.program.reads_input


def _calls(steps: tuple[tree.Step, ...]) -> Iterator[tree.Call]:
    for step in steps:
        if isinstance(step, tree.SampleStep | tree.ObserveStep | tree.MarginalizeStep):
            yield step.call
        if isinstance(step, tree.MarginalizeStep):
            yield from _calls(step.body)


def _used(decl: tree.ProgramDecl) -> Iterator[str]:
    """Names in argument lists, let and score values, and the return."""
    for call in _calls(decl.steps):
        yield from _names(call.args)
    for step in _all(decl.steps):
        if isinstance(step, tree.LetStep | tree.ScoreStep):
            yield from _names(step.value)
    yield from (name.text for name in decl.returns.names)


def _all(steps: tuple[tree.Step, ...]) -> Iterator[tree.Step]:
    for step in steps:
        yield step
        if isinstance(step, tree.MarginalizeStep):
            yield from _all(step.body)


def _names(node: object) -> Iterator[str]:
    """Every identifier under a node, without recursion: expressions may be deep."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tree.Name):
            yield item.text
        elif isinstance(item, tuple):
            stack.extend(item)
        elif is_dataclass(item):
            stack.extend(getattr(item, f.name) for f in fields(item) if f.name != "span")
