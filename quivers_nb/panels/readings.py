"""Badge channels of the live diagram that read a model and a fit: numbers by id of the diagram.

    shape      what a box maps, in sizes; the shape of a site
    device     dtype and device of a box's weights
    observed   which sites were given
    gradient   the norm of a box's gradient; of a group the largest
    log p      log density of a site's value under the model, summed over rows
    KL         what a site costs in the bound: mean of log q - log p over draws of the guide
    time       one evaluation of a box alone at random inputs

`reserved` says how wide a text may become, so that nothing moves when it changes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import Generator, Tensor

from quivers_nb.check.describe import site_lines
from quivers_nb.check.paths import calls, leaf_paths, own_segment
from quivers_nb.check.term import Generator as Box
from quivers_nb.check.term import Program, Term
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagrams.badges import parameter_paths_of
from quivers_nb.diagrams.graph import Diagram, Item, Kind, walk
from quivers_nb.inference.vi.guide import Guide
from quivers_nb.lower.model import Model
from quivers_nb.lower.module import Kernel
from quivers_nb.lower.storage import Storage
from quivers_nb.spaces.space import Object, factors, is_finite, width

DRAWS = 4  # of the guide, the same noise each time, so that a curve of updates is smooth
ROWS = 64  # at which a box is timed
WIDEST = "-8.88e+88"

Values = Mapping[str, float]  # by id of the diagram
Texts = Mapping[str, str]


@dataclass(frozen=True)
class Subject:
    """What is drawn, and the fit that is followed, if there is one."""

    diagram: Diagram
    value: Term | Program
    obj: Any = None  # a model or a kernel
    x: Any = None
    data: Mapping[str, Any] | None = None
    guide: Guide | None = None
    remembered: dict[str, Values] = field(default_factory=dict, compare=False)

    @property
    def model(self) -> Model:
        if not isinstance(self.obj, Model):
            raise UserError("this badge channel needs a model: the object is not a program")
        return self.obj


@dataclass(frozen=True)
class Live:
    """A channel whose values change. ``whole``: how a group's value comes from its parts'.

    ``roles``: of the sites that get a value; without any, boxes do.
    """

    word: str
    read: Callable[[Subject], Values]
    whole: Callable[[list[float]], float] = max
    roles: frozenset[str] = frozenset()
    unit: str = ""

    def reserved(self, subject: Subject) -> Texts:
        """The widest text of everything that may get a value."""
        found: dict[str, float] = {
            item.id: 0.0 for _, item in walk(subject.diagram) if self._speaks_of(item)
        }
        for item in subject.diagram.items:
            _gather(item, found, self.whole)
        return dict.fromkeys(found, self._written(WIDEST))

    def _speaks_of(self, item: Item) -> bool:
        if self.roles:
            return item.kind is Kind.SITE and item.role in self.roles
        return item.kind in {Kind.BOX, Kind.CONTRACTION}

    def text(self, value: float) -> str:
        return self._written(f"{value:.3g}")

    def _written(self, number: str) -> str:
        return f"{self.word} {number}{self.unit}".strip()

    def values(self, subject: Subject) -> Values:
        """What was read, and the groups' shares of it."""
        found = dict(self.read(subject))
        for item in subject.diagram.items:
            _gather(item, found, self.whole)
        return found


def _gather(item: Item, found: dict[str, float], whole: Callable[[list[float]], float]) -> None:
    if item.body is None:
        return
    for inner in item.body.items:
        _gather(inner, found, whole)
    inside = [found[inner.id] for inner in item.body.items if inner.id in found]
    if inside:
        found[item.id] = whole(inside)


def levels(values: Values) -> dict[str, float]:
    """From 0, the least, to 1, the largest of the finite values."""
    finite = {ident: value for ident, value in values.items() if isfinite(value)}
    if not finite:
        return {}
    low, high = min(finite.values()), max(finite.values())
    room = high - low
    return {ident: (value - low) / room if room else 0.0 for ident, value in finite.items()}


# --- fixed channels ---------------------------------------------------------------------------


def shapes(subject: Subject) -> Texts:
    """``Fin 32 → ℝ16`` of boxes and groups, ``(rows, 32)`` of sites."""
    found = {
        item.id: f"{_sizes(item.ins)} → {_sizes(item.outs)}"
        for _, item in walk(subject.diagram)
        if item.kind in {Kind.BOX, Kind.CONTRACTION} or (item.body is not None and item.ins)
    }
    if isinstance(subject.value, Program):
        found |= {line.name: line.shape for line in site_lines(subject.value)}
    return found


def _sizes(types: tuple[Any, ...]) -> str:
    return " * ".join(wire.size or wire.name for wire in types) or "1"


def devices(subject: Subject) -> Texts:
    """``float32 · cpu``."""
    found: dict[str, str] = {}
    tensors = _tensors(subject)
    for ident, path in parameter_paths_of(subject.diagram, subject.value).items():
        weights = tensors.get(path, ())
        kinds = {f"{str(t.dtype).removeprefix('torch.')} · {t.device}" for t in weights}
        if kinds:
            found[ident] = ", ".join(sorted(kinds))
    return found


def observed(subject: Subject) -> Texts:
    """Of every site: given, or inferred."""
    given = {*(subject.data or {}), *_observe_names(subject.value)}
    return {
        item.id: "observed" if item.id in given else "inferred"
        for _, item in walk(subject.diagram)
        if item.kind is Kind.SITE and item.role in {"sample", "observe"}
    }


def _observe_names(value: Term | Program) -> set[str]:
    lines = site_lines(value) if isinstance(value, Program) else ()
    return {line.name for line in lines if line.observed}


FIXED: Mapping[str, Callable[[Subject], Texts]] = {
    "shape": shapes,
    "device": devices,
    "observed": observed,
}


# --- channels of a fit ------------------------------------------------------------------------


def gradients(subject: Subject) -> Values:
    """The Euclidean norm of the gradient of a box's weights; nothing before the first step."""
    found: dict[str, float] = {}
    tensors = _tensors(subject, gradient=True)
    for ident, path in parameter_paths_of(subject.diagram, subject.value).items():
        squares = [float(t.detach().square().sum()) for t in tensors.get(path, ())]
        if squares:
            found[ident] = sum(squares) ** 0.5
    return found


def _tensors(subject: Subject, *, gradient: bool = False) -> dict[str, list[Tensor]]:
    """The weights, or their gradients, by parameter path."""
    model = subject.model
    weights = model.storage()
    found: dict[str, list[Tensor]] = {}
    for site in model.parameter_sites():
        whole = weights[site.key].grad if gradient else weights[site.key].data
        if whole is not None:
            one = whole if site.index is None else whole[site.index]
            found.setdefault(site.path.rsplit(".", 1)[0], []).append(one)
    return found


def log_densities(subject: Subject) -> Values:
    """The mean over draws of the guide."""
    return _terms(subject)[0]


def divergences(subject: Subject) -> Values:
    """A Monte-Carlo estimate, per site, for a guide whose sites are independent."""
    return _terms(subject)[1]


def _terms(subject: Subject) -> tuple[dict[str, float], dict[str, float]]:
    """Mean log p of every stochastic site, and mean log q - log p of every site of the guide."""
    model, guide = subject.model, _guide(subject)
    data = dict(subject.data or {})
    log_p: dict[str, float] = {}
    cost: dict[str, float] = {}
    with torch.no_grad():
        bound = guide.at(subject.x, data)
        for seed in range(DRAWS):
            noise = Generator().manual_seed(seed)
            drawn = bound.rsample(subject.x, generator=noise)
            sites = model.trace(subject.x, {**data, **drawn}, generator=noise).stochastic_sites
            for name, site in sites.items():
                log_p[name] = log_p.get(name, 0.0) + float(site.log_prob.sum()) / DRAWS
            for name, value in _log_q(bound, subject.x, drawn).items():
                cost[name] = cost.get(name, 0.0) + value / DRAWS
    return log_p, {name: value - log_p[name] for name, value in cost.items() if name in log_p}


def _guide(subject: Subject) -> Guide:
    if subject.guide is None:
        raise UserError("this badge channel follows a variational fit: give run=fit_svi(…)")
    return subject.guide


def _log_q(guide: Any, x: Any, drawn: Mapping[str, Tensor]) -> dict[str, float]:
    """Log density of each site under a guide that says its moments site by site; else nothing."""
    if not hasattr(guide, "moments"):
        return {}
    found = {}
    for name, (u, log_det) in guide.unconstrained(x, drawn).items():
        loc, log_scale = guide.moments(name)
        normal = torch.distributions.Normal(loc, log_scale.exp(), validate_args=False)
        found[name] = float(normal.log_prob(u).sum() - log_det.sum())
    return found


def times(subject: Subject) -> Values:
    """Milliseconds of the fastest of three evaluations of every box at `ROWS` random inputs.

    A box is timed alone; in a model, equal boxes side by side are evaluated as one batch.
    """
    if "times" not in subject.remembered:
        boxes = dict(_boxes(subject.value, subject.diagram.title))
        alone = {term.owner: _milliseconds(term) for term in boxes.values()}
        subject.remembered["times"] = {i: alone[term.owner] for i, term in boxes.items()}
    return subject.remembered["times"]


def _boxes(value: Term | Program, title: str) -> Iterator[tuple[str, Box]]:
    if isinstance(value, Program):
        return ((path, box) for step, term in calls(value) for path, box in leaf_paths(term, step))
    return leaf_paths(value, "" if title in {own_segment(value), "expression"} else title)


def _milliseconds(box: Box) -> float:
    kernel = Kernel(box.morphism.label, box, Storage())
    x = _random_input(box.dom)
    best = float("inf")
    with torch.no_grad():
        for _ in range(3):
            start = perf_counter()
            kernel.rsample(x, generator=Generator().manual_seed(0))
            best = min(best, perf_counter() - start)
    return 1000 * best


def _random_input(dom: Object) -> Tensor | None:
    """`ROWS` inputs: indices of finite sets, normal numbers elsewhere."""
    noise = Generator().manual_seed(0)
    columns = []
    for factor in factors(dom):
        if is_finite(factor):
            size = getattr(factor, "size", 1)
            high = size if isinstance(size, int) else 1
            columns.append(torch.randint(high, (ROWS, 1), generator=noise))
        else:
            columns.append(torch.randn((ROWS, width(factor)), generator=noise))
    if not columns:
        return None
    return (
        columns[0].squeeze(-1) if len(columns) == 1 and is_finite(dom) else torch.cat(columns, -1)
    )


LIVE: Mapping[str, Live] = {
    "gradient": Live("grad", gradients),
    "log p": Live("log p", log_densities, sum, frozenset({"sample", "observe"})),
    "KL": Live("KL", divergences, sum, frozenset({"sample"})),
    "time": Live("", times, sum, unit=" ms"),
}
