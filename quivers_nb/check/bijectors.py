"""The bijectors of `Pushforward` (section 8.1): names, domains, and where intervals go."""

from collections.abc import Callable, Mapping
from math import exp, inf, log, log1p, tanh

from quivers_nb.check.environment import Environment
from quivers_nb.check.families import Given, given_argument
from quivers_nb.check.intervals import Ends, Interval
from quivers_nb.check.term import Literal
from quivers_nb.diagnostics.diagnostic import Because
from quivers_nb.diagnostics.suggest import nearest
from quivers_nb.syntax import tree

IMAGES: Mapping[str, tuple[Ends, Ends]] = {
    "Identity": ((-inf, inf), (-inf, inf)),
    "Affine": ((-inf, inf), (-inf, inf)),
    "Exp": ((-inf, inf), (0.0, inf)),
    "Softplus": ((-inf, inf), (0.0, inf)),
    "Sigmoid": ((-inf, inf), (0.0, 1.0)),
    "Log": ((0.0, inf), (-inf, inf)),
    "Logit": ((0.0, 1.0), (-inf, inf)),
    "StickBreaking": ((-inf, inf), (0.0, 1.0)),
}  # the domain and the image of each bijector
FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "Exp": lambda x: exp(x) if x < 709.0 else inf,
    "Log": log,
    "Sigmoid": lambda x: 0.5 + 0.5 * tanh(0.5 * x),
    "Logit": lambda x: log(x) - log1p(-x),
    "Softplus": lambda x: log1p(exp(-abs(x))) + max(x, 0.0),
}


def read_bijector(arg: tree.StepArg, env: Environment) -> tuple[str, tuple[Given, ...]] | None:
    """A bijector by name; Affine may have a location and a scale."""
    report = env.scope.report
    if isinstance(arg, tree.Name) and arg.text in IMAGES:
        return arg.text, ()
    if isinstance(arg, tree.ArgCall) and arg.name.text == "Affine" and len(arg.args) == 2:
        given = tuple(given_argument(item, env) for item in arg.args)
        scale = given[1].slot
        if isinstance(scale, Literal) and scale.value <= 0:
            report.error("Q0605", "the scale of Affine must be positive", given[1].span)
            return None
        return "Affine", given
    name = arg.text if isinstance(arg, tree.Name) else getattr(arg, "name", None)
    near = nearest(name, IMAGES) if isinstance(name, str) else None
    report.error(
        "Q0611",
        f"`{report.text(arg.span)}` is not a bijector",
        arg.span,
        because=[
            Because(f"the bijectors are {', '.join(IMAGES)}; Affine may be Affine(loc, scale)")
        ],
        hint=None if near is None else f"did you mean `{near}`?",
    )
    return None


def image(name: str, interval: Interval, given: tuple[Given, ...]) -> Interval:
    """Where the ends of an interval go; an end that is a name goes where only a run will tell."""
    if name == "Identity" or (name == "Affine" and not given):
        return interval
    domain, ends = IMAGES[name]
    low, high = interval
    return (
        ends[0] if low == domain[0] else _end(name, low, given),
        ends[1] if high == domain[1] else _end(name, high, given),
    )


def _end(name: str, end: str | float | None, given: tuple[Given, ...]) -> float | None:
    if not isinstance(end, float):
        return None
    if name != "Affine":
        return FUNCTIONS[name](end)
    loc, scale = (g.slot for g in given)
    if isinstance(loc, Literal) and isinstance(scale, Literal):
        return float(loc.value) + float(scale.value) * end
    return None
