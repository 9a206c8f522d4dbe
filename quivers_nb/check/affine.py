"""Cells that are linear and Gaussian: found in the typed term, before any number is known.

A cell ``A * H -> H`` is linear Gaussian if every site is a Normal (or MultivariateNormal) whose
location is affine in the state and the sites before it and whose scale does not depend on them, and
if what it returns is affine in them, too. Then the states can be integrated exactly (Kalman 1960).
A *kernel* ``~ Normal`` is none: its network gives the scale as well, so that the scale depends on
whatever the kernel reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import prod

from quivers_nb.check.term import (
    Apply,
    Argument,
    Arithmetic,
    Factor,
    FamilyCall,
    Gather,
    Indexed,
    LetStep,
    LetTerm,
    Literal,
    Negate,
    ObserveStep,
    Program,
    SampleStep,
    ScoreStep,
    Step,
    Variable,
)

GAUSSIAN = frozenset({"Normal", "MultivariateNormal"})
LINEAR = frozenset({"sum", "mean", "cumsum", "flip"})
BILINEAR = frozenset({"matmul", "dot"})


class Degree(IntEnum):
    """How a value depends on the state."""

    FREE = 0
    AFFINE = 1
    OTHER = 2


Degrees = Mapping[str, Degree]


@dataclass(frozen=True, slots=True)
class GaussianCell:
    """``sites``: names and shapes of what is drawn; ``observed``: names of what depends on it."""

    sites: tuple[tuple[str, tuple[int, ...]], ...]
    observed: frozenset[str]

    @property
    def size(self) -> int:
        """How many numbers are drawn at each step."""
        return sum(prod(shape) for _, shape in self.sites)


def gaussian_cell(program: Program, state_width: int, whole: int) -> GaussianCell | None:
    """The pattern of a cell with an input ``whole`` wide, the last columns being its state."""
    slots, split = program.inputs, whole - state_width
    if any(slot.whole or slot.start < split < slot.start + slot.width for slot in slots):
        return None
    known = {s.name: Degree.AFFINE if s.start >= split else Degree.FREE for s in slots}
    found = [_bound(step, known, program) for step in program.steps]
    if Degree.OTHER in found or not all(known[name] < 2 for _, name in program.returns):
        return None
    sites = tuple(
        (step.names[0], _shape(step.names[0], program) or ())
        for step in program.steps
        if isinstance(step, SampleStep)
    )
    observed = {
        step.name
        for step, how in zip(program.steps, found, strict=True)
        if isinstance(step, ObserveStep) and how is Degree.AFFINE
    }
    return GaussianCell(sites, frozenset(observed)) if sites else None


def _bound(step: Step, known: dict[str, Degree], program: Program) -> Degree:
    """The degree of a step; what it binds is known from here on."""
    found = _step(step, known)
    if isinstance(step, SampleStep):
        shape = _shape(step.names[0], program)
        found = Degree.OTHER if shape is None else found
        known[step.names[0]] = max(found, Degree.AFFINE)
    else:  # the value of an observation is given
        known[step.name] = Degree.FREE if isinstance(step, ObserveStep) else found
    return found


def _shape(name: str, program: Program) -> tuple[int, ...] | None:
    """Own axes and event of a variable, where all are known numbers."""
    info = next((v for v in program.variables if v.name == name), None)
    if info is None or info.axes is None:
        return None
    sizes = tuple(axis.obj.size for axis in info.axes)
    known = tuple(size for size in sizes if isinstance(size, int))
    return (*known, *info.event) if len(known) == len(sizes) else None


def _step(step: Step, known: Degrees) -> Degree:
    match step:
        case LetStep(value=value):
            return degree(value, known)
        case ScoreStep(value=value):
            return Degree.FREE if degree(value, known) is Degree.FREE else Degree.OTHER
        case SampleStep(plate=None, source=FamilyCall() as call, names=(_,)):
            return _gaussian(call, known)
        case ObserveStep(plate=None, source=FamilyCall() as call):
            free = all(_argument(arg, known) is Degree.FREE for arg in call.args)
            return Degree.FREE if free else _gaussian(call, known)
        case _:
            return Degree.OTHER


def _gaussian(call: FamilyCall, known: Degrees) -> Degree:
    if call.family not in GAUSSIAN:
        return Degree.OTHER
    loc, scale = (_argument(arg, known) for arg in call.args)
    return Degree.AFFINE if loc < Degree.OTHER and scale is Degree.FREE else Degree.OTHER


def _argument(arg: Argument | tuple[Argument, ...], known: Degrees) -> Degree:
    match arg:
        case Variable(name=name) | Indexed(base=Variable(name=name)):
            return known.get(name, Degree.FREE)
        case tuple():
            return max((_argument(each, known) for each in arg), default=Degree.FREE)
        case _:
            return Degree.FREE


def degree(term: LetTerm, known: Degrees) -> Degree:
    """How an expression depends on the state."""
    match term:
        case Literal() | Variable():
            return _argument(term, known)
        case Negate() | Factor():
            return max(degree(part, known) for part in _inside(term))
        case Arithmetic():
            return _arithmetic(term.op, degree(term.left, known), degree(term.right, known))
        case Gather(base=base, indices=indices):
            index = max(degree(index, known) for index in indices)
            return degree(base, known) if index is Degree.FREE else Degree.OTHER
        case Apply():
            return _apply(term, [degree(arg, known) for arg in term.args])
        case _:
            return Degree.OTHER


def _inside(term: Negate | Factor) -> tuple[LetTerm, ...]:
    if isinstance(term, Negate):
        return (term.operand,)
    return term.cases if term.cases is not None else tuple(filter(None, (term.body,)))


def _arithmetic(op: str, left: Degree, right: Degree) -> Degree:
    if op in {"+", "-"}:
        return max(left, right)
    if op == "/":
        return left if right is Degree.FREE else Degree.OTHER
    return max(left, right) if Degree.FREE in {left, right} else Degree.OTHER


def _apply(term: Apply, args: list[Degree]) -> Degree:
    most = max(args, default=Degree.FREE)
    if most is Degree.FREE:
        return most
    if term.function in LINEAR and len(args) == 1:
        return most
    if term.function in BILINEAR and Degree.FREE in args:
        return most
    if term.function == "where" and args[0] is Degree.FREE:
        return most
    return Degree.OTHER


__all__ = ["Degree", "GaussianCell", "degree", "gaussian_cell"]
