"""Options that do not exist, or have a value of another type, are refused by name.

What is said has the option that was meant and all there are, or the kind of value that is wanted.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import wraps
from inspect import Parameter, Signature, signature
from operator import index
from types import UnionType
from typing import Any, TypeVar, get_args

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.suggest import nearest

CODE = "Q0801"
TYPE_CODE = "Q0802"
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


def names_in(option: str, given: Collection[str]) -> frozenset[str]:
    """The names given for an option. Raises `UserError` for a text: they would be its letters."""
    if isinstance(given, str):
        raise UserError(f"{option}={given!r} is a text: give names, {option}=[{given!r}]")
    if not isinstance(given, Iterable):
        raise UserError(f"{option}={given!r:.60} has no names: give some, {option}=['y']")
    return frozenset(given)


def known_options(target: Target) -> Target:
    """Have a function, or the constructor of a class, refuse unknown options by `UnknownOption`,
    and numbers, texts and truth values that are none by `WrongOption`.
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
    plain = {each.name: types for each in found if (types := _plain(each.annotation))}

    @wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        unknown = next((each for each in options if each not in known), None)
        if unknown is not None:
            raise UnknownOption(_message(name, unknown, accepted))
        with suppress(_Misfit):
            given = _given(declared, args, options)
            for option in plain.keys() & given.keys():
                _check(name, declared.parameters[option], given[option], plain[option])
        return function(*args, **options)

    return checked


class _Misfit(Exception):
    """Arguments that do not fit the signature: the call itself says so."""


def _given(declared: Signature, args: Any, options: Any) -> dict[str, Any]:
    try:
        return dict(declared.bind_partial(*args, **options).arguments)
    except TypeError as error:
        raise _Misfit from error


def _plain(annotation: Any) -> tuple[type, ...]:
    """The types of an annotation such as ``int | None``, if it is of plain types alone."""
    types = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return types if all(each in (*_WORDS, type(None)) for each in types) else ()


_WORDS: dict[type, str] = {
    int: "a whole number", float: "a number", str: "a text", bool: "True or False",
}  # fmt: skip


def _is(value: Any, wanted: type) -> bool:
    """Whether a value can stand for one of a plain type; a truth value is no number."""
    if wanted not in (int, float):
        return isinstance(value, wanted)
    if isinstance(value, str | bool):
        return False
    try:
        index(value) if wanted is int else float(value)  # numpy, and tensors of one number, too
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def _check(name: str, option: Parameter, value: Any, types: tuple[type, ...]) -> None:
    if value is option.default or any(_is(value, each) for each in types):
        return
    words = [_WORDS[each] for each in types if each in _WORDS]
    words += ["None"] if type(None) in types else []
    such = "" if option.default in (None, Parameter.empty) else f", such as {option.default!r}"
    raise WrongOption(
        f"`{option.name}` of `{name}` is {value!r:.60} ({type(value).__name__}): "
        f"{' or '.join(words)} is wanted{such} ({TYPE_CODE})"
    )


def _message(name: str, unknown: str, accepted: list[str]) -> str:
    meant = _meant(unknown, accepted)
    hint = "" if meant is None else f"; `{meant}` is what it has for that"
    return f"`{name}` has no option `{unknown}`{hint}. It takes {', '.join(accepted)} ({CODE})"


def _meant(unknown: str, accepted: list[str]) -> str | None:
    for names in SAME:
        if unknown in names:
            return next((each for each in names if each in accepted), None)
    return nearest(unknown, accepted)
