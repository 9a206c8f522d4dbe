"""Generated programs with ungrouped `marginalize` blocks, and their densities by enumeration (7.8).

One site per run, per row of the input or per element of a plate; blocks nest up to three deep. As
in `marginal_programs`, each number is text and a closure, and the oracle goes value by value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb, exp, log
from random import Random
from typing import Any

import numpy as np

from tests.support.marginal_programs import (
    LETTERS,
    At,
    Maker,
    Number,
    bernoulli_logit,
    normal,
    poisson_log,
    reduced,
)

Values = Mapping[str, int]


@dataclass(frozen=True)
class Observe:
    """What the block observes at one place (a row, an element): all rows of it, summed."""

    log_prob: At


@dataclass(frozen=True)
class Site:
    """A site of ``count`` values and what its block adds."""

    name: str
    count: int
    log_prob: Callable[[Values, tuple[int, ...], int], float]
    observes: tuple[Observe, ...]
    inner: "Site | None"


@dataclass(frozen=True)
class Chain:
    """A program; ``places`` is the shape of rows or of the plate, ``rows`` which it is."""

    source: str
    values: dict[str, Any]
    site: Site
    places: tuple[int, ...]
    rows: bool
    x: np.ndarray | None
    prior: float

    @property
    def expected(self) -> np.ndarray:
        """`log_joint`: per row, or one number."""
        each = np.array([summed(self.site, {}, n) for n in np.ndindex(*self.places)])
        return self.prior + (each if self.rows else each.sum())


def summed(site: Site, outer: Values, place: tuple[int, ...]) -> float:
    """log sum over the values of ``site`` and of those inside, at one place."""
    terms = []
    for z in range(site.count):
        inner = {**outer, site.name: z}
        total = site.log_prob(outer, place, z)
        total += sum(each.log_prob(inner, place) for each in site.observes)
        terms.append(total if site.inner is None else total + summed(site.inner, inner, place))
    return reduced("logsumexp", terms)


@dataclass
class Place:
    """Where a chain runs: the index of its steps, the input's name, how many rows."""

    index: str  # "", or the plate as it is written
    shape: tuple[int, ...]
    input: str  # name of the input, or ""
    x: np.ndarray | None


def generate_chain(seed: int) -> Chain:
    """The program of a seed."""
    make = Maker(Random(seed), np.random.default_rng(seed))
    rng = make.rng
    kind = rng.choice(["once", "rows", "plate", "plate"])
    head = "program p : 1 -> 1"
    if kind == "rows":
        x = make.some(rng.randint(1, 4), 1)
        place, head = Place("", (len(x),), "a", x), "program p(a) : Real 1 -> Real 1"
    elif kind == "once":
        place = Place("", (), "", None)
    else:
        shape = tuple(rng.randint(1, 3) for _ in range(rng.choice([1, 1, 2])))
        place = Place(" : " + " * ".join(make.plate(n) for n in shape), shape, "", None)
    site = _site(make, place, (), (), rng.choice([1, 1, 2, 3]), "    ")
    make.steps.append("    let one = 1.0")
    lines = [*make.objects, head, *make.steps, *make.body, "    return one", "export p"]
    return Chain("\n".join(lines) + "\n", make.values, site, place.shape, kind == "rows",
                 place.x, make.prior)  # fmt: skip


def _site(
    make: Maker,
    place: Place,
    names: tuple[str, ...],
    sizes: tuple[int, ...],
    depth: int,
    indent: str,
) -> Site:
    name = LETTERS[make.blocks]
    make.blocks += 1
    spelled, count, log_prob = _source(make, place, names, sizes, indent)
    make.body.append(f"{indent}marginalize {name}{place.index} <- {spelled}")
    inside, counts = (*names, name), (*sizes, count)
    deeper = indent + "    "
    observes = [
        _observe(make, place, inside, counts, deeper) for _ in range(make.rng.choice([1, 1, 2]))
    ]
    if not place.index and make.rng.random() < 0.3:
        observes.append(_score(make, place, inside, counts, deeper))
    inner = _site(make, place, inside, counts, depth - 1, deeper) if depth > 1 else None
    return Site(name, count, log_prob, tuple(observes), inner)


Source = tuple[str, int, Callable[[Values, tuple[int, ...], int], float]]


def _source(
    make: Maker, place: Place, names: tuple[str, ...], sizes: tuple[int, ...], indent: str
) -> Source:
    """A family of finite support, with parameters of the place or of an outer site."""
    kind = make.rng.choice(["table", "table", "logits", "bernoulli", "binomial", "ordered"])
    if kind in {"table", "logits"}:
        return _table(make, place, names, sizes, indent, logits=kind == "logits")
    number = _linear(make, place, names, sizes, 2)
    name = make.fresh("q")
    if kind == "bernoulli":
        make.body.append(f"{indent}let {name} = {number.text}")
        return f"BernoulliLogit({name})", 2, lambda o, n, z: bernoulli_logit(z, number.at(o, n))
    if kind == "binomial":
        trials = make.rng.randint(1, 3)
        make.body.append(f"{indent}let {name} = sigmoid({number.text})")

        def binomial(o: Values, n: tuple[int, ...], z: int) -> float:
            p = 1 / (1 + exp(-number.at(o, n)))
            return log(comb(trials, z)) + z * log(p) + (trials - z) * log(1 - p)

        return f"Binomial({trials}, {name})", trials + 1, binomial
    cuts = np.sort(make.some(make.rng.randint(2, 3)))
    bound = make.fresh("k")
    make.steps.append(f"    let {bound} = 1.0 * {make.host('cuts', cuts)}")
    make.body.append(f"{indent}let {name} = {number.text}")

    def ordered(o: Values, n: tuple[int, ...], z: int) -> float:
        below = [0.0, *(1 / (1 + exp(-(c - number.at(o, n)))) for c in cuts), 1.0]
        return log(below[z + 1] - below[z])

    return f"OrderedLogistic({name}, {bound})", len(cuts) + 1, ordered


def _table(
    make: Maker,
    place: Place,
    names: tuple[str, ...],
    sizes: tuple[int, ...],
    indent: str,
    *,
    logits: bool,
) -> Source:
    """A vector of probabilities or logits: shared, by the outer site, or by the element."""
    rng = make.rng
    count = rng.randint(2, 3)
    outer = names[-1] if names and rng.random() < 0.7 else ""
    by_element = bool(place.index) and not outer and rng.random() < 0.5
    shape = (sizes[-1],) if outer else place.shape if by_element else ()
    p = make.numbers.dirichlet(np.ones(count), size=shape or None)
    host, name = make.host("h", np.log(p) + 0.5 if logits else p), make.fresh("w")
    make.body.append(
        f"{indent}let {name} = {host}[{outer}]" if outer else f"{indent}let {name} = 1.0 * {host}"
    )
    family = "CategoricalLogit" if logits else rng.choice(["Categorical", "CategoricalProbs"])

    def at(o: Values, n: tuple[int, ...], z: int) -> float:
        return log(p[(o[outer], z) if outer else (*n, z) if by_element else (z,)])

    return f"{family}({name})", count, at


def _linear(
    make: Maker, place: Place, names: tuple[str, ...], sizes: tuple[int, ...], most: int
) -> Number:
    terms = [_term(make, place, names, sizes) for _ in range(make.rng.randint(1, most))]
    return Number(" + ".join(t.text for t in terms), lambda o, n: sum(t.at(o, n) for t in terms))


def _sum(a: Number, b: Number) -> Number:
    return Number(f"{a.text} + {b.text}", lambda o, n: a.at(o, n) + b.at(o, n))


def _term(make: Maker, place: Place, names: tuple[str, ...], sizes: tuple[int, ...]) -> Number:
    """A summand: of a site, of the place, of both, or of neither."""
    kinds = ["shared"] + ["class", "class", "number", "effect"] * bool(names)
    kinds += ["input", "slope"] * bool(place.input) + ["element"] * bool(place.index)
    kind = make.rng.choice(kinds)
    k = make.rng.randrange(len(names)) if names else 0
    letter, size = (names[k], sizes[k]) if names else ("", 1)
    if kind == "shared":
        name, b = make.site("1" if place.input else None, (1,) if place.input else ())
        return Number(name, lambda _o, _n: float(np.ravel(b)[0]))
    if kind == "class":
        name, mu = make.site(make.plate(size), (size,))
        return Number(f"{name}[{letter}]", lambda o, _n: float(mu[o[letter]]))
    if kind == "number":
        return Number(f"0.7 * {letter}", lambda o, _n: 0.7 * o[letter])
    if kind == "input":
        return Number(place.input, lambda _o, n: float(place.x[n[0], 0]))  # type: ignore[index]
    if kind == "slope":
        name, mu = make.site(make.plate(size), (size,)) if names else make.site("1", (1,))
        text = f"{name}[{letter}]" if names else name
        return Number(
            f"{text} * {place.input}",
            lambda o, n: float(mu[o[letter] if names else 0] * place.x[n[0], 0]),  # type: ignore[index]
        )
    if kind == "element":
        x = make.some(*place.shape)
        return Number(f"1.0 * {make.host('x', x)}", lambda _o, n: float(x[n]))
    return _effect(make, place, letter, size)


def _effect(make: Maker, place: Place, letter: str, size: int) -> Number:
    """A table by the site and by a group of the element."""
    if not place.index:
        values = make.some(size)
        host = make.host("t", values)
        return Number(f"{host}[{letter}]", lambda o, _n: float(values[o[letter]]))
    width = make.rng.randint(1, 3)
    values, who = make.some(size, width), make.numbers.integers(0, width, size=place.shape)
    text = f"{make.host('t', values)}[{letter}, {make.host('w', who)}]"
    return Number(text, lambda o, n: float(values[o[letter], who[n]]))


def _observe(
    make: Maker, place: Place, names: tuple[str, ...], sizes: tuple[int, ...], indent: str
) -> Observe:
    """One number per place; without a plate also several, over an axis of their own."""
    rng = make.rng
    number = _linear(make, place, names, sizes, 3)
    mean, name = make.fresh("m"), make.fresh("y")
    if not place.index and rng.random() < 0.4:
        return _several(make, place, number, mean, name, indent)
    make.body.append(f"{indent}let {mean} = {number.text}")
    family = rng.choice(["Normal", "PoissonLog", "BernoulliLogit"])
    drawn = make.some(*place.shape) if family == "Normal" else (
        make.numbers.integers(0, 2, size=place.shape))  # fmt: skip
    make.values[name] = drawn if place.shape else drawn.item()  # type: ignore[union-attr]
    arguments = f"{mean}, 0.8" if family == "Normal" else mean
    make.body.append(f"{indent}observe {name}{place.index} <- {family}({arguments})")
    y = np.asarray(drawn)
    density = {"PoissonLog": poisson_log, "BernoulliLogit": bernoulli_logit}.get(family)

    def log_prob(o: Values, n: tuple[int, ...]) -> float:
        if density is None:
            return normal(float(y[n]), number.at(o, n), 0.8)
        return density(float(y[n]), number.at(o, n))

    return Observe(log_prob)


def _several(
    make: Maker, place: Place, number: Number, mean: str, name: str, indent: str
) -> Observe:
    """Numbers over a plate that all see the same value of the site."""
    size = make.rng.randint(1, 4)
    plate = make.plate(size)
    shift_name, shift = make.site(plate, (size,))
    if place.input:  # row-wise, so that there is a row of numbers per row of the input (R4)
        number = _sum(number, Number(place.input, lambda _o, n: float(place.x[n[0], 0])))  # type: ignore[index]
    make.body.append(f"{indent}let {mean} = {number.text} + {shift_name}")
    y = make.some(*place.shape, size)
    make.values[name] = y
    make.body.append(f"{indent}observe {name} : {plate} <- Normal({mean}, 1.2)")
    return Observe(
        lambda o, n: sum(
            normal(float(y[(*n, k)]), number.at(o, n) + float(shift[k]), 1.2) for k in range(size)
        )
    )


def _score(
    make: Maker, place: Place, names: tuple[str, ...], sizes: tuple[int, ...], indent: str
) -> Observe:
    number = _linear(make, place, names, sizes, 2)
    name = make.fresh("s")
    make.body.append(f"{indent}score {name} = 0.5 * ({number.text})")
    return Observe(lambda o, n: 0.5 * number.at(o, n))
