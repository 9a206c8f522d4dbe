"""A fit as a value: from the settings of a form to the fit, and to the code that repeats it.

Both are made of the same `Call`s, so the code says what was run.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from quivers_nb.session.settings import Value, as_text, defaults

_PLACES = {
    "partial": "functools",
    "Cosine": "quivers_nb.session.schedules",
    "Exponential": "quivers_nb.session.schedules",
}
_GENERATED = (
    "AutoLowRankMultivariateNormal",
    "AutoMixture",
    "AutoNormalizingFlow",
    "AmortizedNormalGuide",
)


@dataclass(frozen=True, slots=True)
class Name:
    """A public name: of `quivers_nb.inference` unless `_PLACES` or a dot says otherwise."""

    text: str

    def make(self) -> Any:
        if self.text.startswith("torch.optim."):
            return getattr(torch.optim, self.text.rpartition(".")[2])
        return getattr(import_module(self.module), self.text)

    @property
    def module(self) -> str:
        return _PLACES.get(self.text, "quivers_nb.inference")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Seeded:
    """A generator with a seed."""

    seed: int

    def make(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def __str__(self) -> str:
        return f"torch.Generator().manual_seed({self.seed})"


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a public name with plain arguments."""

    name: Name
    first: tuple["Expression", ...] = ()
    options: tuple[tuple[str, "Expression"], ...] = ()

    def make(self) -> Any:
        made = {key: make(value) for key, value in self.options}
        first = [make(value) for value in self.first]
        return self.name.make()(*first, **made)

    def __str__(self) -> str:
        options = [f"{key}={text(value)}" for key, value in self.options]
        return f"{self.name}({', '.join([*map(text, self.first), *options])})"


Expression = Name | Seeded | Call | Value


def make(value: Expression) -> Any:
    """The object that an expression stands for."""
    return value.make() if isinstance(value, Name | Seeded | Call) else value


def text(value: Expression) -> str:
    """An expression as code."""
    return str(value) if isinstance(value, Name | Seeded | Call) else repr(value)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The options of ``fit_svi`` or ``fit_nuts``, only those that are not the default."""

    method: str  # "svi" or "nuts"
    options: tuple[tuple[str, Expression], ...]

    def made(self) -> dict[str, Any]:
        """The options as objects."""
        return {key: make(value) for key, value in self.options}

    def start(self, fit: Callable[..., Any], *given: Any, **more: Any) -> Any:
        """Call ``fit`` with what is given and these options."""
        return fit(*given, **self.made(), **more)

    def code(self, names: tuple[str, str, str], after: str | None = None) -> str:
        """Code that repeats the fit, imports first. ``names``: of model, input and data.

        ``after``: the variable of a variational run whose guide NUTS starts from.
        """
        call = f"run = fit_{self.method}(" if after is None else f"draws = {after}.then_nuts("
        given = list(names) if after is None else []
        lines = [*given, *(f"{key}={text(value)}" for key, value in self.options)]
        body = "\n".join([call, *(f"    {line}," for line in lines), ")"])
        imports = [] if after is not None else [f"from quivers_nb import fit_{self.method}"]
        return "\n".join([*self._imports(imports), body, ""])

    def _imports(self, first: list[str]) -> list[str]:
        found: dict[str, set[str]] = {}
        needs_torch = False
        for part in _parts([value for _, value in self.options]):
            if isinstance(part, Seeded) or (isinstance(part, Name) and "." in part.text):
                needs_torch = True
            elif isinstance(part, Name):
                found.setdefault(part.module, set()).add(part.text)
        lines = [
            f"from {module} import {', '.join(sorted(names))}" for module, names in found.items()
        ]
        lines = sorted([*first, *lines])
        if needs_torch:
            lines.insert(0, "import torch")
        return [*lines, ""] if lines else []


def _parts(values: list[Expression]) -> Iterator[Expression]:
    for value in values:
        yield value
        if isinstance(value, Call):
            yield from _parts([value.name, *value.first, *(each for _, each in value.options)])


def recipe(method: str, values: Mapping[str, Value], seed: int, features: int | None) -> Recipe:
    """The fit that a form describes.

    ``seed`` is used where the form has none; ``features`` is the width of the input, for guides
    that read it.
    """
    chosen = {**values, "seed": seed if values["seed"] is None else values["seed"]}
    options = _svi(chosen, features) if method == "svi" else _nuts(chosen)
    return Recipe(method, tuple(options))


def _nuts(values: Mapping[str, Value]) -> Iterator[tuple[str, Expression]]:
    usual = defaults("nuts")
    for name, value in values.items():
        if value is not None and as_text(value) != usual[name]:
            yield name, value


def _svi(values: Mapping[str, Value], features: int | None) -> Iterator[tuple[str, Expression]]:
    seed = values["seed"]
    assert isinstance(seed, int)  # `recipe` has put one there
    guide = _guide(str(values["guide"]), seed, features)
    if guide is not None:
        yield "guide", guide
    objective = _objective(values)
    if objective is not None:
        yield "objective", objective
    lr, steps = values["lr"], values["steps"]
    if values["optimizer"] != "Adam":
        yield (
            "optimizer",
            Call(Name("partial"), (Name(f"torch.optim.{values['optimizer']}"),), (("lr", lr),)),
        )
    else:
        yield "lr", lr
    if values["schedule"] != "constant":
        yield "scheduler", Call(Name(str(values["schedule"]).capitalize()), (steps,))
    yield "steps", steps
    for name in ("minibatch", "seed", "threads"):
        if values[name] is not None:
            yield name, values[name]


def _guide(name: str, seed: int, features: int | None) -> Expression:
    """None for the default; guides that draw their first parameters get a generator."""
    if name == "AutoNormalGuide":
        return None
    if name not in _GENERATED:
        return Name(name)
    options: tuple[tuple[str, Expression], ...] = (("generator", Seeded(seed)),)
    if name == "AmortizedNormalGuide":
        options = (("in_features", features), *options)
    return Call(Name("partial"), (Name(name),), options)


def _objective(values: Mapping[str, Value]) -> Expression:
    """None for the default."""
    name, estimator = str(values["objective"]), str(values["estimator"])
    options: list[tuple[str, Expression]] = []
    if name in ("VRIWAE", "Renyi"):
        options.append(("alpha", 0.5))
    if name != "ELBO" or values["particles"] != 1:
        options.append(("num_particles", values["particles"]))
    if estimator != "Reparameterized":
        options.append(("estimator", Call(Name(estimator))))
    return Call(Name(name), (), tuple(options)) if options else None
