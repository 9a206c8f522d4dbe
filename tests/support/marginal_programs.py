"""Generated programs with grouped `marginalize` blocks, and their densities by enumeration (7.8).

A program is built as text and as closures at the same time: every term of a linear predictor has
its spelling, and its number at given classes and at a given row. The oracle knows nothing of axes:
it walks over groups, classes and rows one by one, in plain Python.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import exp, lgamma, log, pi, prod
from random import Random
from typing import Any

import numpy as np

Classes = Mapping[str, int]  # the class of each enclosing block
At = Callable[[Classes, tuple[int, ...]], float]  # a number at classes and at a row
LETTERS = "cdef"


@dataclass(frozen=True)
class Number:
    """A number of a program: how it is written, and what it is."""

    text: str
    at: At


@dataclass(frozen=True)
class Observe:
    """Rows observed in a block; ``via`` are their groups."""

    name: str
    shape: tuple[int, ...]
    via: np.ndarray  # (*shape,) flat group numbers
    log_prob: At  # of the response at a row


@dataclass(frozen=True)
class Block:
    """A class of ``count`` values for each of ``groups``; ``up`` leads to the outer groups."""

    name: str
    count: int
    groups: tuple[int, ...]
    up: np.ndarray | None
    p: Callable[[Classes, int, int], float]  # probability of a class, at outer classes and a group
    reduction: str
    observes: tuple[Observe, ...]
    blocks: tuple["Block", ...]


@dataclass(frozen=True)
class Generated:
    """A program with its block, and what it must be worth."""

    source: str
    values: dict[str, Any]
    block: Block
    prior: float


# --- the oracle ---------------------------------------------------------------------------------


def table(block: Block, outer: Classes) -> list[float]:
    """The contribution of each group, at given outer classes."""
    found = []
    for g in range(prod(block.groups)):
        terms = []
        for c in range(block.count):
            inner = {**outer, block.name: c}
            total = log(max(block.p(outer, g, c), 1e-38))
            for each in block.observes:
                rows = np.ndindex(*each.shape)
                total += sum(each.log_prob(inner, n) for n in rows if each.via[n] == g)
            for nested in block.blocks:
                below = table(nested, inner)
                total += sum(v for h, v in enumerate(below) if up_of(nested, h) == g)
            terms.append(total)
        found.append(reduced(block.reduction, terms))
    return found


def up_of(block: Block, group: int) -> int:
    return group if block.up is None else int(block.up[group])


def reduced(how: str, terms: Sequence[float]) -> float:
    if how == "logsumexp":
        top = max(terms)
        return top + log(sum(exp(t - top) for t in terms))
    return sum(terms) / (len(terms) if how == "mean" else 1)


def contribution(block: Block) -> float:
    """What the block adds, by formula 7.8, group by group."""
    return sum(table(block, {}))


def joint_contribution(block: Block) -> float:
    """The same by every assignment of classes to all groups of all blocks at once."""
    return reduced("logsumexp", list(_joint_table(block).values()))


def joint_probabilities(block: Block) -> dict[tuple[str, int], list[float]]:
    """The probability of each class of each group of each block."""
    sums, level = _joint_table(block), joint_contribution(block)
    found = {(b.name, g): [0.0] * b.count for b, g in sites_of(block)}
    for classes, value in sums.items():
        for site, c in zip(found, classes, strict=True):
            found[site][c] += exp(value - level)
    return found


def _joint_table(block: Block) -> dict[tuple[int, ...], float]:
    sites = [(b.name, g) for b, g in sites_of(block)]
    every = product(*(range(b.count) for b, _ in sites_of(block)))
    return {classes: _joint(block, dict(zip(sites, classes, strict=True))) for classes in every}


def assignments(block: Block) -> int:
    """How many terms `joint_contribution` has."""
    return prod(b.count for b, _ in sites_of(block))


def sites_of(block: Block) -> Iterator[tuple[Block, int]]:
    """Every block with every group of it."""
    yield from ((block, g) for g in range(prod(block.groups)))
    for nested in block.blocks:
        yield from sites_of(nested)


def _joint(
    block: Block, drawn: Mapping[tuple[str, int], int], chain: Sequence[Block] = ()
) -> float:
    """Log density of all rows and classes, the classes being given."""
    total = 0.0
    lineage = (*chain, block)
    for g in range(prod(block.groups)):
        outer = _classes_at(chain, block, g, drawn)
        total += log(max(block.p(outer, g, drawn[block.name, g]), 1e-38))
    for each in block.observes:
        for n in np.ndindex(*each.shape):
            total += each.log_prob(_classes_of(lineage, int(each.via[n]), drawn), n)
    return total + sum(_joint(nested, drawn, lineage) for nested in block.blocks)


def _classes_at(
    chain: Sequence[Block], block: Block, group: int, drawn: Mapping[tuple[str, int], int]
) -> dict[str, int]:
    return {} if not chain else _classes_of(chain, up_of(block, group), drawn)


def _classes_of(
    lineage: Sequence[Block], group: int, drawn: Mapping[tuple[str, int], int]
) -> dict[str, int]:
    """The classes of a group of the innermost block and of the groups around it."""
    found = {}
    for block in reversed(lineage):
        found[block.name] = drawn[block.name, group]
        group = up_of(block, group)
    return found


# --- scalar densities ---------------------------------------------------------------------------


def normal(y: float, loc: float, scale: float) -> float:
    return -0.5 * ((y - loc) / scale) ** 2 - log(scale) - 0.5 * log(2 * pi)


def poisson_log(y: float, log_rate: float) -> float:
    return y * log_rate - exp(log_rate) - lgamma(y + 1)


def bernoulli_logit(y: float, logit: float) -> float:
    return -log(1 + exp(-logit)) if y else -log(1 + exp(logit))


# --- the generator ------------------------------------------------------------------------------


@dataclass
class Maker:
    """Builds one program; what is drawn depends on the seed alone."""

    rng: Random
    numbers: np.random.Generator
    objects: list[str] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    prior: float = 0.0
    blocks: int = 0
    names: int = 0

    def fresh(self, stem: str) -> str:
        self.names += 1
        return f"{stem}{self.names}"

    def plate(self, size: int) -> str:
        name = self.fresh("P")
        self.objects.append(f"object {name} : FinSet {size}")
        return name

    def some(self, *shape: int) -> np.ndarray:
        return self.numbers.normal(size=shape)

    def host(self, stem: str, value: np.ndarray) -> str:
        """Host data under a fresh name."""
        name = self.fresh(stem)
        self.values[name] = value
        return name

    def site(self, object_name: str | None, shape: tuple[int, ...]) -> tuple[str, np.ndarray]:
        """A latent with a standard normal prior."""
        name, value = self.fresh("mu"), self.some(*shape)
        place = "" if object_name is None else f" : {object_name}"
        self.steps.append(f"    sample {name}{place} <- Normal(0.0, 1.0)")
        self.values[name] = value if shape else float(value)
        self.prior += sum(normal(float(v), 0, 1) for v in np.ravel(value))
        return name, value


@dataclass(frozen=True)
class Scope:
    """The classes in sight: their names, sizes and objects, the innermost last."""

    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    objects: tuple[str, ...] = ()


def generate(seed: int) -> Generated:
    """The program of a seed."""
    make = Maker(Random(seed), np.random.default_rng(seed))
    depth = make.rng.choice([1, 1, 2, 2, 3])
    block = _block(make, Scope(), None, (), depth, "    ")
    make.steps.append("    let one = 1.0")
    lines = [*make.objects, *make.data, "program p : P1 -> P1", *make.steps, *make.body,
             "    return one", "export p"]  # fmt: skip
    return Generated("\n".join(lines) + "\n", make.values, block, make.prior)


def _block(
    make: Maker,
    scope: Scope,
    outer_groups: tuple[str, ...] | None,
    outer_sizes: tuple[int, ...],
    depth: int,
    indent: str,
) -> Block:
    rng = make.rng
    name = LETTERS[make.blocks]
    make.blocks += 1
    same = outer_groups is not None and rng.random() < 0.3
    if same:
        assert outer_groups is not None
        groups, sizes, up, via = outer_groups, outer_sizes, None, ""
    else:
        sizes = tuple(rng.randint(1, 3) for _ in range(rng.choice([1, 1, 2])))
        groups = tuple(make.plate(n) for n in sizes)
        up, via = None, ""
        if outer_groups is not None:
            up, via = _via(make, outer_sizes, sizes)
    count = rng.randint(2, 3)
    classes = make.plate(count)
    inside = Scope((*scope.names, name), (*scope.sizes, count), (*scope.objects, classes))
    spelled, p = _probabilities(make, scope, sizes, count, indent)
    reduction = rng.choice(["logsumexp", "logsumexp", "logsumexp", "sum", "mean"])
    options = [f"over={groups[0] if len(groups) == 1 else _listed(groups)}"]
    options += [f"reduction={reduction}"] if reduction != "logsumexp" or rng.random() < 0.2 else []
    options += [via] if via else []
    family = rng.choice(["Categorical", "CategoricalProbs"])
    make.body.append(
        f"{indent}marginalize {name} : {classes} <- {family}({spelled}) [{', '.join(options)}]"
    )
    deeper = indent + "    "
    observes = [
        _observe(make, inside, sizes, deeper)
        for _ in range(rng.choice([0, 1, 2] if depth > 1 else [1, 2]))
    ]
    blocks = [_block(make, inside, groups, sizes, depth - 1, deeper)] if depth > 1 else []
    if depth == 2 and rng.random() < 0.3:
        blocks.append(_block(make, inside, groups, sizes, 1, deeper))
    return Block(name, count, sizes, up, p, reduction, tuple(observes), tuple(blocks))


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(names)}]"


def _via(make: Maker, groups: tuple[int, ...], shape: tuple[int, ...]) -> tuple[np.ndarray, str]:
    """Random groups of rows: flat numbers, and the option."""
    parts = [make.numbers.integers(0, n, size=shape) for n in groups]
    names = [make.host("i", part) for part in parts]
    flat = np.ravel_multi_index(parts, groups)
    if len(names) == 1:
        return flat.reshape(-1) if len(shape) > 1 else flat, f"via={names[0]}"
    text = make.rng.choice([_listed(names), f"product({', '.join(names)})"])
    return flat.reshape(-1) if len(shape) > 1 else flat, f"via={text}"


def _probabilities(
    make: Maker, scope: Scope, groups: tuple[int, ...], count: int, indent: str
) -> tuple[str, Callable[[Classes, int, int], float]]:
    """Shared, per group, by the class of an outer block, or by both."""
    by_class = bool(scope.names) and make.rng.random() < 0.6
    by_group = make.rng.random() < 0.5
    shape = ((scope.sizes[-1],) if by_class else ()) + (groups if by_group else ())
    p = make.numbers.dirichlet(np.ones(count), size=shape) if shape else (
        make.numbers.dirichlet(np.ones(count)))  # fmt: skip
    name = make.fresh("p")
    if not by_class and not by_group and make.rng.random() < 0.5 and count > 1:
        ones = ", ".join(["1.0"] * count)
        make.steps.append(f"    sample {name} <- Dirichlet({ones})")
        make.prior += lgamma(count)
        make.values[name] = p
        return name, lambda _o, _g, c: float(p[c])
    host = make.host("h", p)
    if by_class:
        outer = scope.names[-1]
        make.body.append(f"{indent}let {name} = {host}[{outer}]")
    else:
        outer = ""
        make.steps.append(f"    let {name} = 1.0 * {host}")

    def at(classes: Classes, group: int, c: int) -> float:
        index: tuple[int, ...] = (classes[outer],) if outer else ()
        if by_group:
            index += tuple(int(k) for k in np.unravel_index(group, groups))
        return float(p[(*index, c)])

    return name, at


def _observe(make: Maker, scope: Scope, groups: tuple[int, ...], indent: str) -> Observe:
    rng = make.rng
    shape = tuple(rng.randint(1, 4) for _ in range(rng.choice([1, 1, 1, 2])))
    rows = tuple(make.plate(n) for n in shape)
    via, option = _via(make, groups, shape)
    via = via.reshape(shape)
    terms = [_term(make, scope, rows, shape) for _ in range(rng.randint(1, 3))]
    mean = f"m{make.names}"
    make.body.append(f"{indent}let {mean} = {' + '.join(t.text for t in terms)}")

    def predictor(classes: Classes, n: tuple[int, ...]) -> float:
        return sum(t.at(classes, n) for t in terms)

    name = make.fresh("y")
    kind = rng.choice(["Normal", "Normal", "PoissonLog", "BernoulliLogit"])
    if kind == "Normal":
        spelled, log_prob = _normal(make, scope, name, shape, mean, predictor)
    else:
        count = make.numbers.integers(0, 2 if kind == "BernoulliLogit" else 4, size=shape)
        make.values[name] = count
        density = poisson_log if kind == "PoissonLog" else bernoulli_logit
        spelled = f"{kind}({mean})"

        def log_prob(classes: Classes, n: tuple[int, ...]) -> float:
            return density(float(count[n]), predictor(classes, n))

    make.body.append(f"{indent}observe {name} : {' * '.join(rows)} <- {spelled} [{option}]")
    return Observe(name, shape, via, log_prob)


def _normal(
    make: Maker, scope: Scope, name: str, shape: tuple[int, ...], mean: str, predictor: At
) -> tuple[str, At]:
    y = make.some(*shape)
    make.values[name] = y
    if make.rng.random() < 0.5:
        k = make.rng.randrange(len(scope.names))
        scales = np.exp(0.3 * make.some(scope.sizes[k]))
        host = make.host("sd", scales)
        letter = scope.names[k]
        return f"Normal({mean}, {_bound(make, host)}[{letter}])", lambda o, n: normal(
            float(y[n]), predictor(o, n), float(scales[o[letter]])
        )
    return f"Normal({mean}, 0.8)", lambda o, n: normal(float(y[n]), predictor(o, n), 0.8)


def _bound(make: Maker, host: str) -> str:
    """Host data under a bound name, as step arguments need it."""
    name = make.fresh("v")
    make.steps.append(f"    let {name} = 1.0 * {host}")
    return name


def _term(make: Maker, scope: Scope, rows: tuple[str, ...], shape: tuple[int, ...]) -> Number:
    """One summand of a predictor: of a class, of two, of the row, or of both."""
    rng = make.rng
    k = rng.randrange(len(scope.names))
    letter, size, obj = scope.names[k], scope.sizes[k], scope.objects[k]
    kind = rng.choice(["site", "site", "slope", "pair", "effect", "shared", "literal"])
    if kind == "site":
        name, mu = make.site(obj, (size,))
        return Number(f"{name}[{letter}]", lambda o, _n: float(mu[o[letter]]))
    if kind == "slope":
        name, mu = make.site(obj, (size,))
        x = make.some(*shape)
        host = make.host("x", x)
        return Number(f"{name}[{letter}] * {host}", lambda o, n: float(mu[o[letter]] * x[n]))
    if kind == "pair":
        j = rng.randrange(len(scope.names))
        other = scope.names[j]
        values = make.some(size, scope.sizes[j])
        host = make.host("t", values)
        return Number(
            f"{host}[{letter}, {other}]", lambda o, _n: float(values[o[letter], o[other]])
        )
    if kind == "effect":
        width = rng.randint(1, 4)
        values, who = make.some(size, width), make.numbers.integers(0, width, size=shape)
        host, index = make.host("t", values), make.host("w", who)
        return Number(f"{host}[{letter}, {index}]", lambda o, n: float(values[o[letter], who[n]]))
    if kind == "shared":
        name, b = make.site(None, ())
        x = make.some(*shape)
        host = make.host("x", x)
        return Number(f"{name} * {host}", lambda _o, n: float(b * x[n]))
    values = np.round(make.some(size), 2)
    rows_text = ", ".join(
        f"{i} -> {v}" if v >= 0 else f"{i} -> (0.0 - {-v})" for i, v in enumerate(values)
    )
    name = make.fresh("f")
    make.steps.append(f"    let {name} = factor q : {obj} in {{{rows_text}}}")
    return Number(f"{name}[{letter}]", lambda o, _n: float(values[o[letter]]))
