"""The laws of the typed term hold for what is checked, and each catches the term that breaks it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from quivers_nb.check import check_source
from quivers_nb.check.term import (
    CheckedModule,
    Compose,
    Export,
    FamilyCall,
    Generator,
    LetStep,
    Named,
    Program,
    SampleStep,
    Variable,
)
from quivers_nb.check.verify import verify
from quivers_nb.diagnostics.errors import InternalError
from quivers_nb.spaces.space import Space

MODULE = check_source("""\
object X : FinSet 3
object R : Real 2
morphism e : X -> R [role=embed]
morphism f : R -> R [role=kernel] ~ Normal
let h = e >> f >> f
program p(a) : X -> R
    sample u <- h(a)
    let m = sum(u) + offset
    sample v <- Normal(m, 1.0)
    observe y <- f(u)
    return v
export p
export h
""")


def with_chain(change: Callable[[Compose], Compose]) -> CheckedModule:
    """The module with another chain in its second export."""
    export = MODULE.exports[1]
    assert isinstance(export.value, Named)
    assert isinstance(export.value.body, Compose)
    value = replace(export.value, body=change(export.value.body))
    return replace(MODULE, exports=(MODULE.exports[0], Export("h", value)))


def with_program(change: Callable[[Program], Program]) -> CheckedModule:
    program = MODULE.exports[0].value
    assert isinstance(program, Program)
    return replace(MODULE, exports=(Export("p", change(program)),))


def drop_the_first(chain: Compose) -> Compose:
    return replace(chain, parts=chain.parts[1:])


def repeat_the_first(chain: Compose) -> Compose:
    first, _, third = chain.parts
    return replace(chain, parts=(first, first, third))


def nest(chain: Compose) -> Compose:
    inner = replace(chain, parts=chain.parts[:2])
    return replace(chain, parts=(inner, *chain.parts[2:]))


def one_owner(chain: Compose) -> Compose:
    first, second, third = chain.parts
    assert isinstance(first, Generator)
    assert isinstance(second, Generator)
    return replace(chain, parts=(replace(first, owner=second.owner), second, third))


def widen(chain: Compose) -> Compose:
    first, *rest = chain.parts
    return replace(chain, parts=(replace(first, cod=Space("Real", (3,))), *rest))


def forget_the_input(program: Program) -> Program:
    return replace(program, inputs=())


def forget_the_data(program: Program) -> Program:
    return replace(program, host_names=())


def return_nothing(program: Program) -> Program:
    return replace(program, returns=(("w", "w"),))


def read_ahead(program: Program) -> Program:
    first, *rest = program.steps
    early = LetStep("early", Variable("v"))
    return replace(program, steps=(first, early, *rest))


def drop_an_argument(program: Program) -> Program:
    steps = list(program.steps)
    step = steps[2]
    assert isinstance(step, SampleStep)
    assert isinstance(step.source, FamilyCall)
    steps[2] = replace(step, source=replace(step.source, args=step.source.args[:1]))
    return replace(program, steps=tuple(steps))


def test_what_was_checked_obeys_every_law() -> None:
    verify(MODULE)


@pytest.mark.parametrize(
    ("change", "law"),
    [
        (drop_the_first, "a chain has the type of its ends"),
        (repeat_the_first, "types meet"),
        (nest, "chains are flat"),
        (one_owner, "sharing"),
        (widen, "a generator has its morphism's type|types meet"),
    ],
)
def test_a_broken_chain_is_caught(change: Callable[[Compose], Compose], law: str) -> None:
    with pytest.raises(InternalError, match=law):
        verify(with_chain(change))


@pytest.mark.parametrize(
    ("change", "law"),
    [
        (forget_the_input, "reads a"),
        (forget_the_data, "reads offset"),
        (return_nothing, "returns w"),
        (read_ahead, "reads v"),
        (drop_an_argument, "as many arguments"),
    ],
)
def test_a_broken_program_is_caught(change: Callable[[Program], Program], law: str) -> None:
    with pytest.raises(InternalError, match=law):
        verify(with_program(change))
