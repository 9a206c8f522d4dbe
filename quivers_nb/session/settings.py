"""The settings of a fit as a form has them: text in, values or a reason out.

A `Setting` reads one field; `read` reads a form and checks what concerns several fields together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.inference.ranges import (
    ANY,
    COUNTED,
    PARTICLES,
    POSITIVE,
    SEEDS,
    SHARE,
    THREADS,
    TIER,
    TREE_DEPTH,
    WHOLE,
    Range,
)

Value = str | int | float | bool | None
NO_YES = ("no", "yes")  # the choices of what is true or false

GUIDES = (
    "AutoNormalGuide",
    "AutoMultivariateNormal",
    "AutoLowRankMultivariateNormal",
    "AutoStructured",
    "AutoMixture",
    "AutoNormalizingFlow",
    "AutoDAIS",
    "AutoDelta",
    "AmortizedNormalGuide",
)
ESTIMATORS: Mapping[str, tuple[str, ...]] = {  # that an objective takes
    "ELBO": ("Reparameterized", "StickingTheLanding", "ClosedFormEntropy", "ScoreFunction"),
    "IWAE": ("Reparameterized", "DoublyReparameterized"),
    "VRIWAE": ("Reparameterized", "DoublyReparameterized"),
    "Renyi": ("Reparameterized",),
}
ALL_ESTIMATORS = tuple(dict.fromkeys(name for names in ESTIMATORS.values() for name in names))


@dataclass(frozen=True, slots=True)
class Setting:
    """One field; a number is within ``limits``, those of the option that it is for."""

    name: str
    label: str
    default: str
    help: str
    choices: tuple[str, ...] = ()
    whole: bool = False
    empty: str = ""  # what an empty field means, if it may be empty
    limits: Range = ANY

    def read(self, text: str) -> Value:
        """The value of a field. Raises `UserError` with what would be right."""
        text = text.strip()
        if self.choices == NO_YES:
            return self.choice(text) == "yes"
        if self.choices:
            return self.choice(text)
        if not text and self.empty:
            return None
        number = self._number(text)
        if not self.limits.holds(number):
            raise UserError(f"{self.label} {text} must be {self.limits}")
        return number

    def choice(self, text: str) -> str:
        """The choice that a text is. Raises `UserError` with the nearest one."""
        if self.choices == NO_YES:
            text = {"True": "yes", "False": "no"}.get(text, text)
        if text in self.choices:
            return text
        meant = nearest(text, self.choices)
        hint = f"; did you mean {meant}?" if meant else ""
        raise UserError(f"{self.label} {text!r} is not one of {', '.join(self.choices)}{hint}")

    def _number(self, text: str) -> int | float:
        kind = "whole number" if self.whole else "number"
        try:
            number = int(text.replace("_", "")) if self.whole else float(text)
        except ValueError:
            what = repr(text) if text else "is empty: it"
            raise UserError(f"{self.label} {what} must be a {kind}, {self.limits}") from None
        if not isfinite(number):
            raise UserError(f"{self.label} {text} must be finite")
        return number


_SEED = Setting(
    "seed", "Seed", "", "empty: one is drawn, and shown in the code", whole=True, empty="random",
    limits=SEEDS,
)  # fmt: skip
_THREADS = Setting(
    "threads", "Threads", "", "of torch; empty: one less than there are cores", whole=True,
    empty="automatic", limits=THREADS,
)  # fmt: skip

SVI_SETTINGS = (
    Setting("guide", "Guide", GUIDES[0], "the family of densities that is fitted", GUIDES),
    Setting(
        "objective", "Objective", "ELBO", "the bound that is raised; VRIWAE, Renyi: alpha 0.5",
        tuple(ESTIMATORS),
    ),
    Setting(
        "estimator", "Estimator", "Reparameterized", "how its gradient is found", ALL_ESTIMATORS
    ),
    Setting("particles", "Particles", "1", "draws per step", whole=True, limits=PARTICLES),
    Setting("lr", "Learning rate", "0.01", "of the optimizer", limits=POSITIVE),
    Setting(
        "schedule", "Schedule", "constant", "of the learning rate, down to a hundredth of it",
        ("constant", "cosine", "exponential"),
    ),
    Setting(
        "optimizer", "Optimizer", "Adam", "of torch.optim", ("Adam", "AdamW", "RMSprop", "SGD")
    ),
    Setting("steps", "Steps", "2000", "of the optimizer", whole=True, limits=COUNTED),
    Setting(
        "minibatch", "Minibatch", "", "rows per step; empty: all of them", whole=True,
        empty="all rows", limits=COUNTED,
    ),
    _SEED,
    _THREADS,
)  # fmt: skip

NUTS_SETTINGS = (
    Setting("chains", "Chains", "4", "independent ones", whole=True, limits=COUNTED),
    Setting("warmup", "Warm-up", "1000", "transitions per chain that are thrown away",
            whole=True, limits=WHOLE),
    Setting("draws", "Draws", "1000", "per chain, after warm-up", whole=True, limits=COUNTED),
    Setting("target_accept", "Target acceptance", "0.8", "higher: smaller steps, fewer divergences",
            limits=SHARE),
    Setting("max_tree_depth", "Tree depth", "10", "a trajectory has at most 2^depth steps",
            whole=True, limits=TREE_DEPTH),
    Setting("mass_matrix", "Mass matrix", "diagonal", "what warm-up learns of the scales",
            ("diagonal", "dense", "low_rank", "identity")),
    Setting("recenter", "Recentre effects", "no",
            "yes: a pilot run chooses coordinates for the effects of hierarchical models", NO_YES),
    Setting("tier", "Tier", "auto", "what computes the gradient",
            TIER.words),
    _SEED,
    _THREADS,
)  # fmt: skip

SETTINGS: Mapping[str, tuple[Setting, ...]] = {"svi": SVI_SETTINGS, "nuts": NUTS_SETTINGS}


@dataclass(frozen=True, slots=True)
class Reading:
    """A form that was read: values by name, and by name what is wrong."""

    values: Mapping[str, Value]
    problems: Mapping[str, str]

    @property
    def good(self) -> bool:
        return not self.problems


def as_text(value: object) -> str:
    """A value as a field has it."""
    return NO_YES[value] if isinstance(value, bool) else str(value)


def defaults(method: str) -> dict[str, str]:
    """The texts that a fresh form has."""
    return {setting.name: setting.default for setting in SETTINGS[method]}


def read(method: str, texts: Mapping[str, str], rows: int | None) -> Reading:
    """Read a form. ``rows`` is the number of rows of the input, None if the model has none.

    Raises `UserError` if there is no such setting.
    """
    known = {setting.name: setting for setting in SETTINGS[method]}
    for name in texts:
        if name not in known:
            meant = nearest(name, known)
            hint = f"did you mean {meant}?" if meant else f"there are {', '.join(known)}"
            raise UserError(f"{name} is not a setting of {method.upper()}: {hint}")
    values: dict[str, Value] = {}
    problems: dict[str, str] = {}
    for name, text in {**defaults(method), **texts}.items():
        try:
            values[name] = known[name].read(text)
        except UserError as error:
            problems[name] = str(error)
    if method == "svi" and not problems:
        problems = _together(values, rows)
    return Reading(values, problems)


def _together(values: Mapping[str, Value], rows: int | None) -> dict[str, str]:
    """What is wrong between the fields of a variational fit."""
    found: dict[str, str] = {}
    objective, estimator = str(values["objective"]), str(values["estimator"])
    minibatch, particles = values["minibatch"], values["particles"]
    taken = ESTIMATORS[objective]
    if estimator not in taken:
        found["estimator"] = f"{objective} takes {' or '.join(taken)}, not {estimator}"
    elif estimator == "ScoreFunction" and particles == 1:
        found["particles"] = "ScoreFunction compares particles: take at least 2"
    if isinstance(minibatch, int) and rows is None:
        found["minibatch"] = "Minibatch must be empty: the input of this model has no rows"
    elif isinstance(minibatch, int) and rows is not None and minibatch > rows:
        found["minibatch"] = f"Minibatch {minibatch} must be at most {rows}, the number of rows"
    if values["guide"] == "AmortizedNormalGuide" and rows is None:
        found["guide"] = "AmortizedNormalGuide reads the input: it needs a model with rows"
    return found
