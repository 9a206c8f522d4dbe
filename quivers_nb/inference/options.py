"""Options that do not exist are refused by name, with the one that was meant and all there are."""

from functools import wraps
from inspect import Parameter, signature
from typing import Any, TypeVar

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.suggest import nearest

CODE = "Q0801"
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


def known_options(target: Target) -> Target:
    """Have a function, or the constructor of a class, refuse unknown options by `UnknownOption`."""
    if isinstance(target, type):
        target.__init__ = _checked(target.__init__, target.__name__)  # type: ignore[misc]
        return target
    return _checked(target, target.__name__)  # type: ignore[attr-defined,no-any-return]


def _checked(function: Any, name: str) -> Any:
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    found = signature(function).parameters.values()
    accepted = [each.name for each in found if each.kind in kinds and each.name != "self"]
    known = frozenset(accepted)

    @wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        unknown = next((each for each in options if each not in known), None)
        if unknown is not None:
            raise UnknownOption(_message(name, unknown, accepted))
        return function(*args, **options)

    return checked


def _message(name: str, unknown: str, accepted: list[str]) -> str:
    meant = _meant(unknown, accepted)
    hint = "" if meant is None else f"; `{meant}` is what it has for that"
    return f"`{name}` has no option `{unknown}`{hint}. It takes {', '.join(accepted)} ({CODE})"


def _meant(unknown: str, accepted: list[str]) -> str | None:
    for names in SAME:
        if unknown in names:
            return next((each for each in names if each in accepted), None)
    return nearest(unknown, accepted)
