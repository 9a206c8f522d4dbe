"""Options that do not exist, or have a value that they do not take, are refused by name.

What is said has the option that was meant and all there are, or the kind of value that is wanted,
as the annotation of the option has it: plain types, functions, generators, and the limits of
`quivers_nb.inference.ranges`. Options of other types look at their values themselves.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from operator import index
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import numpy as np
import torch
from torch import Generator

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.inference.ranges import Range, Words

CODE = "Q0801"
TYPE_CODE = "Q0802"
RANGE_CODE = "Q0804"
Target = TypeVar("Target")

# What one thing is called here, in the other half of this project, and in other systems.
SAME = (
    ("draws", "num_samples", "samples", "iter_sampling"),
    ("warmup", "num_warmup", "tune", "iter_warmup", "burnin"),
    ("chains", "num_chains"),
    ("target_accept", "target_accept_prob", "adapt_delta"),
    ("max_tree_depth", "max_treedepth"),
    ("seed", "random_seed", "rng_key", "random_state"),
    ("mass_matrix", "metric", "dense_mass"),
    ("init", "init_strategy", "start"),
    ("init_values", "initvals", "inits", "init_params"),
    ("steps", "num_steps", "n"),
    ("lr", "learning_rate"),
    ("optimizer", "optim"),
    ("objective", "loss", "elbo"),
    ("minibatch", "batch_size"),
    ("keep", "var_names"),
)


class UnknownOption(UserError, TypeError):
    """A function or class was given an option that it does not have (Q0801)."""


class WrongOption(UserError, TypeError):
    """An option was given a value of another type than it takes (Q0802)."""


class OptionOutOfRange(UserError, ValueError):
    """An option was given a number or a word that it does not take (Q0804)."""


def names_in(option: str, given: Collection[str]) -> frozenset[str]:
    """The names given for an option. Raises `UserError` for a text: they would be its letters."""
    if isinstance(given, str):
        raise UserError(f"{option}={given!r} is a text: give names, {option}=[{given!r}]")
    if not isinstance(given, Iterable):
        raise UserError(f"{option}={given!r:.60} has no names: give some, {option}=['y']")
    return frozenset(given)


def whole_numbers(given: Any) -> tuple[int, ...] | None:
    """Those of a sequence or an array of one axis; None for anything else, and for truth values."""
    listed = isinstance(given, Sequence) or hasattr(given, "__array__")
    if isinstance(given, str | bytes) or not listed:
        return None
    try:
        numbers = list(given)
    except TypeError:  # an array without axes
        return None
    return tuple(map(index, numbers)) if all(_is(each, int) for each in numbers) else None


def known_options(target: Target) -> Target:
    """Have a function, or the constructor of a class, refuse unknown options by `UnknownOption`,
    numbers, texts, functions and so on that are none by `WrongOption`, and what is out of range by
    `OptionOutOfRange`.
    """
    if isinstance(target, type):
        target.__init__ = _checked(target.__init__, target.__name__)  # type: ignore[misc]
        return target
    return _checked(target, target.__name__)  # type: ignore[attr-defined,no-any-return]


def _checked(function: Any, name: str) -> Any:
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    declared = signature(function)
    found = declared.parameters.values()
    accepted = [each.name for each in found if each.kind in kinds and each.name != "self"]
    known = frozenset(accepted)
    takes = {each.name: it for each in found if (it := _Takes.of(each.annotation)) is not None}

    @wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        unknown = next((each for each in options if each not in known), None)
        if unknown is not None:
            raise UnknownOption(_message(name, unknown, accepted))
        with suppress(_Misfit):
            given = _given(declared, args, options)
            for option in takes.keys() & given.keys():
                _check(name, declared.parameters[option], given[option], takes[option])
        return function(*args, **options)

    return checked


class _Misfit(Exception):
    """Arguments that do not fit the signature: the call itself says so."""


def _given(declared: Signature, args: Any, options: Any) -> dict[str, Any]:
    try:
        return dict(declared.bind_partial(*args, **options).arguments)
    except TypeError as error:
        raise _Misfit from error


_TRUTHS = (np.dtype(bool), torch.bool)
_WORDS: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "a text", bool: "True or False",
    Generator: "a torch.Generator", Callable: "a function",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Takes:
    """The kinds of value that an annotation allows, and the limits of each."""

    limits: dict[Any, Range | Words | None]
    nothing: bool

    @classmethod
    def of(cls, annotation: Any) -> "_Takes | None":
        """None if it is of other types than those of `_WORDS`."""
        union = get_origin(annotation) in (Union, UnionType)
        members = get_args(annotation) if union else (annotation,)
        limits: dict[Any, Range | Words | None] = {}
        for member in members:
            bare, *notes = get_args(member) if get_origin(member) is Annotated else (member,)
            bare = Callable if get_origin(bare) is Callable else bare
            limits[bare] = next((n for n in notes if isinstance(n, Range | Words)), None)
        nothing = limits.pop(type(None), 0) is None
        return cls(limits, nothing) if limits and limits.keys() <= _WORDS.keys() else None


def _is(value: Any, wanted: Any) -> bool:
    """Whether a value can stand for one of these types; a truth value is no number."""
    if wanted is Callable:
        return callable(value)
    if wanted not in (int, float):
        return isinstance(value, wanted)
    if isinstance(value, str | bool) or getattr(value, "dtype", None) in _TRUTHS:
        return False
    try:
        index(value) if wanted is int else float(value)  # numpy, and tensors of one number, too
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return True


def _check(name: str, option: Parameter, value: Any, takes: _Takes) -> None:
    if value is option.default or (value is None and takes.nothing):
        return
    fitting = [kind for kind in takes.limits if _is(value, kind)]
    such = "" if option.default in (None, Parameter.empty) else f", such as {option.default!r}"
    if not fitting:
        words = [_WORDS[kind] for kind in takes.limits] + ["None"] * takes.nothing
        raise WrongOption(
            f"`{option.name}` of `{name}` is {value!r:.60} ({type(value).__name__}): "
            f"{' or '.join(words)} is wanted{such} ({TYPE_CODE})"
        )
    kind = fitting[0]
    limits = takes.limits[kind]
    plain = index(value) if kind is int else float(value) if kind is float else value
    if limits is not None and not limits.holds(plain):
        raise OptionOutOfRange(
            f"`{option.name}` of `{name}` is {value!r:.60}: {_wanted(limits, value, such)} "
            f"({RANGE_CODE})"
        )


def _wanted(limits: Range | Words, value: Any, such: str) -> str:
    """What is wanted, and why, or what was meant."""
    if isinstance(limits, Range):
        return f"{limits.why}{', so ' * bool(limits.why)}it must be {limits}{such}"
    meant = nearest(value, limits.words)
    return f"{limits} is wanted{'' if meant is None else f'; did you mean {meant!r}?'}"


def _message(name: str, unknown: str, accepted: list[str]) -> str:
    meant = _meant(unknown, accepted)
    hint = "" if meant is None else f"; `{meant}` is what it has for that"
    return f"`{name}` has no option `{unknown}`{hint}. It takes {', '.join(accepted)} ({CODE})"


def _meant(unknown: str, accepted: list[str]) -> str | None:
    for names in SAME:
        if unknown in names:
            return next((each for each in names if each in accepted), None)
    return nearest(unknown, accepted)
