"""Whole programs, well typed by construction (section 7): a strategy for hypothesis.

A builder writes one step after another and keeps what each name is: over which plate, per row or
shared, positive or not. Every step it can write is legal where it stands, so that whatever the
compiler refuses, or scores differently in two ways, is a fault of the compiler.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from hypothesis import strategies as st

SIZES = {"A": 3, "B": 2, "K": 2}
ROWS = 4
HEAD = """object A : FinSet 3
object B : FinSet 2
object K : FinSet 2
object R2 : Real 2
object R3 : Real 3
morphism f : R2 -> R2 [role=kernel, scale=0.5] ~ Normal
morphism g : R2 -> R3 [role=kernel, scale=0.5, param_source=linear] ~ Normal
morphism c : R2 -> A [role=kernel] ~ Categorical
morphism e : A -> R2 [role=embed, scale=0.5]
let both = f @ f
let deep = c >> e
let wide = fan(f, f) >> both
program half(u) : R2 -> R2
    sample n <- f(u)
    let m = 0.5 * n
    return m
program pair(u) : R2 -> R2 * R2
    sample n <- Normal(u, 1.0)
    sample k <- f(u)
    return (n, k)
let through = half >> g
let tall = stack(f, 2) >> repeat(half, 2)
program effect(G : FinSet, width : Real) : G -> G
    sample sd : 1 <- HalfNormal(width)
    sample z : G <- Normal(0.0, sd)
    return z
data of_a : B -> A
data w_k : K -> Real 1
"""
DATA = {"of_a": torch.tensor([2, 0]), "w_k": torch.tensor([0.4, 0.6]).double()}
REALS = ("Normal({0}, {1})", "Laplace({0}, {1})", "Cauchy({0}, {1})", "StudentT(4.0, {0}, {1})",
         "Gumbel({0}, {1})")  # fmt: skip
POSITIVES = ("HalfNormal({1})", "Exponential({1})", "Gamma(2.0, {1})", "LogNormal({0}, 0.5)",
             "HalfCauchy({1})", "Weibull({1}, 1.5)", "InverseGamma(3.0, {1})")  # fmt: skip
COUNTS = ("Poisson({1})", "BernoulliLogit({0})", "NegativeBinomial(2.5, 0.4)", "PoissonLog({0})",
          "Binomial(3, 0.3)")  # fmt: skip
UNITS = ("Beta({1}, 2.0)", "LogitNormal({0}, 0.8)", "Uniform(0.1, 0.9)", "Kumaraswamy(2.0, {1})")


@dataclass(frozen=True)
class Name:
    """A bound number: its plate ("" for one number), whether per row, whether positive."""

    text: str
    plate: str = ""
    rows: bool = False
    positive: bool = False


@dataclass
class Builder:
    """Writes steps. ``reads``: the program reads an input ``x`` of width 2."""

    draw: Callable[[st.SearchStrategy], object]
    reads: bool
    lines: list[str] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)  # per row, of width 2: what kernels take
    count: int = 0
    observed: int = 0

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def pick(self, choices: list[str]) -> str:
        return self.draw(st.sampled_from(choices))  # type: ignore[return-value]

    def argument(self, plate: str, *, rows: bool, positive: bool) -> str:
        """A number or a name that can stand over ``plate``; ``rows``: row-wise ones are allowed."""
        fits = [
            n.text for n in self.names
            if n.plate in {"", plate} and (rows or not n.rows) and (n.positive or not positive)
        ]  # fmt: skip
        return self.pick([*fits, *fits, "1.0", "0.7"] if positive else [*fits, *fits, "0.0", "0.4"])

    def call(self, forms: tuple[str, ...], plate: str, *, rows: bool) -> str:
        form = self.pick(list(forms))
        return form.format(
            self.argument(plate, rows=rows, positive=False),
            self.argument(plate, rows=rows, positive=True),
        )

    # --- steps

    def sample(self) -> None:
        """A scalar family: once, shared by rows, or over a plate."""
        plate = self.pick(["", "", "1", "A", "B"])
        shared = plate != "" or not self.reads
        kind = self.pick(["real", "positive", "unit"])
        forms = {"real": REALS, "positive": POSITIVES, "unit": UNITS}[kind]
        name = self.fresh("v")
        own = "" if plate == "1" else plate
        # a row-wise argument with a plate of its own would make the site a vector per row
        call = self.call(forms, own, rows=not shared)
        place = f" : {plate}" if plate else ""
        options = "" if shared else " [per=row]"
        self.lines.append(f"    sample {name}{place} <- {call}{options}")
        self.names.append(Name(name, own, not shared, kind != "real"))

    def grid(self) -> None:
        """A plate of two factors, read at indices by a factor."""
        name, table = self.fresh("v"), self.fresh("t")
        self.lines.append(f"    sample {name} : A * B <- {self.call(REALS, '', rows=False)}")
        self.lines.append(f"    let {table} = factor i : A in {name}[i, 0] - 0.5 * {name}[i, 1]")
        self.names.append(Name(table, "A"))

    def simplex(self) -> None:
        name, first = self.fresh("p"), self.fresh("t")
        call = self.pick(["Dirichlet(1.0, 2.0, 1.5)", "Dirichlet(0.8)"])
        option = " [over=A]" if call == "Dirichlet(0.8)" else ""
        self.lines.append(f"    sample {name} : B <- {call}{option}")
        self.lines.append(f"    let {first} = factor i : B in {name}[i, 0]")
        self.names.append(Name(first, "B", positive=True))

    def kernel(self) -> None:
        """A kernel or a composite at a vector per row; without an input, at a sampled vector."""
        if not self.vectors:
            name = self.fresh("h")
            option = " [per=row]" if self.reads else ""
            self.lines.append(f"    sample {name} : R2 <- Normal(0.0, 1.0){option}")
            self.vectors.append(name)
            return
        name, number = self.fresh("h"), self.fresh("t")
        which = self.pick(["f", "deep", "g", "wide", "half", "through", "pair", "tall"])
        at = self.pick(self.vectors)
        if which == "pair":
            other = self.fresh("h")
            self.lines.append(f"    sample [{name}, {other}] <- pair({at})")
            self.vectors.append(other)
        else:
            self.lines.append(f"    sample {name} <- {which}({at})")
        if which in {"f", "deep", "half", "pair", "tall"}:
            self.vectors.append(name)
        self.lines.append(f"    let {number} = mean({name})")
        self.names.append(Name(number, "", rows=True))

    def template(self) -> None:
        name, plate = self.fresh("z"), self.pick(["A", "B"])
        width = self.argument("", rows=False, positive=True)
        if any(n.text == width and n.plate for n in self.names):
            width = "1.0"
        self.lines.append(f"    sample {name} <- effect({plate}, {width})")
        self.names.append(Name(name, plate))

    def let(self) -> None:
        """Arithmetic and functions of names over one plate."""
        plate = self.pick(["", "A", "B"])
        a = self.argument(plate, rows=self.reads, positive=False)
        b = self.argument(plate, rows=False, positive=False)
        form, positive = self.draw(  # type: ignore[misc]
            st.sampled_from([
                ("{a} + 0.5 * {b}", False), ("tanh({a}) - {b}", False), ("{a} * tanh({b})", False),
                ("exp(0.3 * tanh({a}))", True), ("sigmoid({a} - {b})", True),
                ("-({a} - {b}) / 2.0", False), ("softplus({a}) + 0.1", True),
                ("where(gt({a}, {b}), 0.5, 1.5)", True), ("sqrt(1.0 + square({a}))", True),
            ])
        )  # fmt: skip
        name = self.fresh("t")
        self.lines.append(f"    let {name} = {form.format(a=a, b=b)}")
        read = [t for t, mark in ((a, "{a}"), (b, "{b}")) if mark in form]
        used = [n for n in self.names if n.text in read]
        own = next((n.plate for n in used if n.plate), "")
        rows = any(n.rows for n in used)
        self.names.append(Name(name, own, rows, positive))

    def reduce(self) -> None:
        """A number from a plate; a gather from one plate to another; a running result."""
        vectors = [n for n in self.names if n.plate and not n.rows]
        if not vectors:
            return self.let()
        name, source = self.fresh("t"), self.draw(st.sampled_from(vectors))
        form = self.pick(["sum", "mean", "logsumexp", "fold", "gather", "softmax", "scanl"])
        if form == "gather" and source.plate == "A":
            self.lines.append(f"    let {name} = {source.text}[of_a]")
            self.names.append(Name(name, "B", positive=source.positive))
        elif form in {"softmax", "scanl"}:
            text = f"softmax({source.text})" if form == "softmax" else (
                f"scanl({source.text}, 0.0, acc -> x -> 0.5 * acc + tanh(x))")  # fmt: skip
            self.lines.append(f"    let {name} = sum({text}) * 0.1")
            self.names.append(Name(name))
        else:
            text = f"fold({source.text}, 0.0, acc -> x -> 0.5 * acc + x)" if form == "fold" else (
                f"{'sum' if form == 'gather' else form}({source.text})")  # fmt: skip
            self.lines.append(f"    let {name} = {text}")
            self.names.append(Name(name))
        return None

    def score(self) -> None:
        name = self.fresh("s")
        plain = [n.text for n in self.names if not n.plate] or ["0.5"]
        self.lines.append(f"    score {name} = 0.0 - 0.5 * square(tanh({self.pick(plain)}))")

    def observe(self) -> None:
        """A response: one, one per row, or over a plate."""
        plate = self.pick(["", "A", "B"])
        name = self.fresh("y")
        call = self.call(self.draw(st.sampled_from([REALS, POSITIVES, COUNTS])), plate,  # type: ignore[arg-type]
                         rows=plate == "" and self.reads)  # fmt: skip
        place = f" : {plate}" if plate else ""
        self.lines.append(f"    observe {name}{place} <- {call}")
        self.observed += 1

    def inside(self) -> None:
        """A response over a plate in every row, or over rows where there is nothing row-wise."""
        plate, m, y = self.pick(["A", "B"]), self.fresh("m"), self.fresh("y")
        row = self.argument("", rows=True, positive=False)
        column = self.argument(plate, rows=False, positive=False)
        spread = self.argument(plate, rows=False, positive=True)
        self.lines.append(f"    let {m} = {row} - 0.5 * {column}")
        self.lines.append(f"    observe {y} : {plate} <- Normal(loc={m}, scale={spread})")

    def vector(self) -> None:
        """A vector in a space, read by component."""
        name, number = self.fresh("v"), self.fresh("t")
        call = self.pick(["Normal(0.0, 0.7)", "Laplace(0.1, 1.0)"])
        option = " [per=row]" if self.reads else ""
        self.lines.append(f"    sample {name} : R3 <- {call}{option}")
        self.lines.append(f"    let {number} = {name}[1] - 0.5 * sum({name})")
        self.names.append(Name(number, "", rows=self.reads))

    def process(self) -> None:
        """A correlated vector over a plate, observed."""
        sites = [n.text for n in self.names if n.plate == "A" and not n.rows]
        if not sites:
            return self.inside()
        k, factor, y = self.fresh("c"), self.fresh("c"), self.fresh("y")
        at = self.pick(sites)
        self.lines.append(
            f"    let {k} = cov_exp_quad(tanh({at}), 1.0, 0.8) + diag(1.0 + 0.0 * {at})"
        )
        self.lines.append(f"    let {factor} = cholesky({k})")
        self.lines.append(f"    observe {y} : 1 <- MultivariateNormal({at}, {factor})")
        return None

    def response(self) -> None:
        """An observed kernel."""
        if not self.vectors:
            return self.observe()
        y = self.fresh("y")
        self.lines.append(
            f"    observe {y} <- {self.pick(['c', 'f', 'g'])}({self.pick(self.vectors)})"
        )
        return None

    def per_row(self) -> None:
        """A site per row (or once) summed out, with one inside it."""
        z, w, m, y = self.fresh("k"), self.fresh("k"), self.fresh("m"), self.fresh("y")
        loc = self.argument("", rows=True, positive=False)
        spread = self.argument("", rows=True, positive=True)
        if loc in {"0.0", "0.4"} and self.reads:
            loc = "first"
        if any(n.text in {loc, spread} and n.plate for n in self.names):
            return self.mixture()
        self.lines += [
            f"    marginalize {z} <- BernoulliLogit({loc})",
            f"        let {m} = {loc} + 2.0 * {z}",
            f"        observe {y} <- Normal({m}, {spread})",
            f"        marginalize {w} <- Binomial(2, 0.3)",
            f"            observe {y}n <- PoissonLog({w})" if not self.reads else
            f"            let {m}n = {w} + 0.1 * {m}\n            observe {y}n <- PoissonLog({m}n)",
        ]  # fmt: skip
        return None

    def mixture(self) -> None:
        """A site summed out: per element, or per group with an index."""
        plate = self.pick(["A", "B"])
        z, m, y = self.fresh("k"), self.fresh("m"), self.fresh("y")
        shift = self.argument(plate, rows=False, positive=False)
        spread = self.argument("", rows=False, positive=True)
        if any(n.text == spread and n.plate for n in self.names):
            spread = "1.0"
        if self.draw(st.booleans()):
            self.lines += [
                f"    marginalize {z} : {plate} <- Bernoulli(0.3)",
                f"        let {m} = {shift} + 2.0 * {z}",
                f"        observe {y} : {plate} <- Normal({m}, {spread})",
            ]
            return
        self.lines += [
            f"    marginalize {z} : K <- CategoricalProbs(w_k) [over=A]",
            f"        let {m} = {shift} + 2.0 * {z}",
            f"        observe {y} : B <- Normal({m}, {spread}) [via=of_a]"
            if plate == "B" else f"        observe {y} : A <- Normal({m}, {spread}) [via=idx]",
        ]  # fmt: skip

    def text(self) -> str:
        head = "program p(x) : R2 -> R2" if self.reads else "program p : 1 -> 1"
        names = [n.text for n in self.names][-2:]
        ends = f"({', '.join(names)})" if len(names) == 2 else names[0]
        return HEAD + "\n".join([head, *self.lines, f"    return {ends}", "export p"]) + "\n"


STEPS = ("sample", "sample", "sample", "grid", "simplex", "kernel", "kernel", "template", "let",
         "let", "reduce", "score", "observe", "observe", "mixture", "inside", "vector", "process",
         "response", "per_row")  # fmt: skip


@st.composite
def programs(draw: Callable[[st.SearchStrategy], object]) -> tuple[str, bool]:
    """The text of a program, and whether it reads an input."""
    builder = Builder(draw, reads=bool(draw(st.booleans())))
    if builder.reads:
        builder.vectors.append("x")
        builder.lines.append("    let first = mean(x)")
        builder.names.append(Name("first", "", rows=True))
    else:
        builder.sample()
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=3, max_size=9)):  # type: ignore[attr-defined]
        getattr(builder, step)()
    builder.observe()
    return builder.text(), builder.reads
