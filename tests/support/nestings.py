"""Generated nests of `marginalize` blocks, and their densities by enumeration of all assignments.

Up to six sites whose probabilities depend on up to two of the sites around them, and observes of up
to three of those, written in whatever block has them all in scope: chains, trees, stars and loops.
One value of each site per run, per row of the input, per element of a plate or per group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from scipy.special import logsumexp

from tests.support.oracles import Array, normal

KINDS = ("once", "rows", "plate", "grouped")
PLACES, ROWS = 3, 7


@dataclass(frozen=True)
class Nesting:
    """A program, its data, its input, and what `log_joint` must be."""

    source: str
    values: dict[str, Any]
    x: Array | None
    sizes: tuple[int, ...]
    expected: Array


@dataclass
class _Made:
    kind: str
    rng: Random
    numbers: np.random.Generator
    sizes: tuple[int, ...]
    lines: list[str]
    values: dict[str, Any]
    joint: Array  # (*sizes, places)
    x: Array

    def spread(self, table: Array, sites: Sequence[int]) -> Array:
        """``(*sizes of sites, places)`` among all sites, which stand in order."""
        shape = [1] * len(self.sizes)
        for site in sites:
            shape[site] = self.sizes[site]
        return table.reshape((*shape, table.shape[-1]))

    def name(self, kind: str, value: Any) -> str:
        name = f"{kind}{len(self.values)}"
        self.values[name] = value
        return name


def generate_nesting(seed: int) -> Nesting:
    """The program of a seed."""
    rng, numbers = Random(seed), np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    sizes = tuple(rng.choice([2, 2, 3]) for _ in range(rng.randint(2, 6)))
    places = 1 if kind == "once" else PLACES
    x = numbers.normal(size=ROWS if kind == "grouped" else places)
    made = _Made(kind, rng, numbers, sizes, [], {}, np.zeros((*sizes, places)), x)
    if kind in {"plate", "grouped"}:
        made.values["x"] = x
    if kind == "grouped":
        made.values["g"] = numbers.integers(0, places, size=ROWS)
    for site in range(len(sizes)):
        _open(made, site)
    total = logsumexp(made.joint.reshape(-1, places), axis=0)
    rows = kind == "rows"
    return Nesting(_source(made), made.values, x[:, None] if rows else None, sizes,
                   total if rows else total.sum())  # fmt: skip


def _source(made: _Made) -> str:
    objects = [f"object K{n} : FinSet {n}" for n in sorted(set(made.sizes))]
    objects += [f"object A : FinSet {PLACES}", f"object N : FinSet {ROWS}"]
    head = "program p(a) : Real 1 -> Real 1" if made.kind == "rows" else "program p : 1 -> 1"
    return "\n".join([*objects, head, *made.lines, "    let one = 1.0", "    return one",
                      "export p", ""])  # fmt: skip


def _open(made: _Made, site: int) -> None:
    """One more block, and what is observed in it."""
    last = site == len(made.sizes) - 1
    indent = "    " + "  " * site
    before = sorted(made.rng.sample(range(site), min(site, made.rng.choice([0, 1, 1, 1, 2]))))
    shape = tuple(made.sizes[k] for k in (*before, site))
    p = made.numbers.dirichlet(np.ones(shape[-1]), size=shape[:-1])
    host = made.name("h", p)
    index = f"[{', '.join(f'z{k}' for k in before)}]"
    made.lines.append(f"{indent}let w{site} = " + (f"{host}{index}" if before else f"1.0 * {host}"))
    if made.kind == "grouped":
        made.lines.append(
            f"{indent}marginalize z{site} : K{made.sizes[site]} <- Categorical(w{site}) [over=A]"
        )
    else:
        plate = " : A" if made.kind == "plate" else ""
        made.lines.append(f"{indent}marginalize z{site}{plate} <- CategoricalProbs(w{site})")
    made.joint = made.joint + made.spread(np.log(p)[..., None], (*before, site))
    for _ in range(made.rng.randint(1, 4) if last else made.rng.choice([0, 0, 1])):
        _observe(made, site, indent + "  ")


def _observe(made: _Made, site: int, indent: str) -> None:
    sites = sorted(made.rng.sample(range(site + 1), min(site + 1, made.rng.randint(1, 3))))
    table = made.numbers.normal(size=tuple(made.sizes[k] for k in sites))
    host, mean = made.name("t", table), f"m{len(made.values)}"
    where = {"once": "", "rows": " + a", "plate": " + x", "grouped": " + x"}[made.kind]
    plate = {"plate": " : A", "grouped": " : N"}.get(made.kind, "")
    index = ", ".join(f"z{k}" for k in sites)
    y = made.numbers.normal(size=made.x.shape)
    name = made.name("y", y if made.kind != "once" else float(y[0]))
    via = " [via=g]" if made.kind == "grouped" else ""
    made.lines.append(f"{indent}let {mean} = {host}[{index}]{where}")
    made.lines.append(f"{indent}observe {name}{plate} <- Normal({mean}, 0.8){via}")
    shift = 0.0 if made.kind == "once" else made.x
    terms = normal(y, table[..., None] + shift, 0.8)
    if made.kind == "grouped":
        group = made.values["g"]
        terms = np.stack([terms[..., group == k].sum(-1) for k in range(PLACES)], -1)
    made.joint = made.joint + made.spread(terms, sites)
