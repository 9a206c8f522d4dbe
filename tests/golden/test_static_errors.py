"""Section 12 of the language reference: each wrong module, the line to blame, what must be said."""

from dataclasses import dataclass

import pytest

from quivers_nb.dsl import CompileError, ParseError, loads

P = "object X : FinSet 3\nobject Y : FinSet 4\nobject R : Real 2\n"
KERNELS = P + (
    "morphism g : X -> R [role=kernel] ~ Normal\nmorphism l : R -> R [role=kernel] ~ Normal\n"
)


@dataclass(frozen=True)
class Wrong:
    """Number ``n`` of section 12. ``words``: alternatives are separated by ``|``."""

    n: str
    source: str
    line: int
    words: tuple[str, ...]
    error: type[Exception] = CompileError


def parse(n: str, source: str, line: int, *words: str) -> Wrong:
    return Wrong(n, source, line, words, ParseError)


def after(n: str, prelude: str, source: str, line: int, *words: str) -> Wrong:
    """``line`` counts from the end of the prelude."""
    return Wrong(n, prelude + source, prelude.count("\n") + line, words)


def objects(n: str, source: str, line: int, *words: str) -> Wrong:
    return Wrong(n, source, line, words)


def prog(n: str, steps: str, line: int, *words: str, prelude: str = P) -> Wrong:
    body = "".join(f"    {step}\n" for step in steps.split("; "))
    return after(n, prelude, f"program p : X -> X\n{body}export p\n", line + 1, *words)


def marginal(source: str, options: str) -> str:
    """A program whose third line marginalizes; its observe has no ``via``."""
    return (
        "program p : X -> X\n    let p = 1.0 * probs\n"
        f"    marginalize c : X <- {source} {options}\n"
        "        observe y : Y <- Normal(0.0, 1.0)\n    return p\n"
    )


TEMPLATE = """\
program tmpl(G : FinSet, w : Real) : G -> G
    sample e : G <- Normal(0.0, w)
    return e
"""
LATENT = P + "morphism f : X -> Y [role=latent]\nmorphism k : Y -> X [role=kernel]\n"

WRONG = (
    parse("1", "object X : FinSet 3\n@@@\n", 2, "@"),
    parse("2", "object X : FinSet 3\nmorphism f : X -> X\n", 2, "[role"),
    parse("3", "object X : FinSet 3\nmorphism f : X -> X [role=latent, scale=.5]\n", 2, ".5"),
    parse("4", "object X : FinSet 3\nprogram p : X -> X\n    sample v <- Normal(0.0, 1.0)\n", 2,
          "p", "return"),
    parse("5", "object X : FinSet 3\nprogram p : X -> X\n    v <- Normal(0.0, 1.0)\n    return v\n",
          3, "sample", "observe"),
    parse("6", "object X : FinSet 3\nprogram p : X -> X\n    sample w <- Normal(0.0, 1.0)\n"
          "    sample v <- Normal(w + 1.0, 1.0)\n    return v\n", 4, "let"),
    parse("7", P + "morphism f : R -> R [role=kernel]\n    ~ Normal\n", 5, "~|indent|line"),
    parse("8", P + "program q(a, G : FinSet) : X -> X\n    let u = 1.0\n    return u\n", 4,
          "mix|typed"),
    parse("9", "object X : FinSet 3\nprogram p : X -> X\n      let u = 1.0\n    return u\n", 4,
          "indent"),
    parse("10", "object X : FinSet 3\nprogram p : X -> X\n    let u = a[0][1]\n    return u\n", 3,
          "index"),
    objects("11", "object X : FinSet 0\n", 1, "1", "cardinality|element|size"),
    after("12", P, "object X : FinSet 5\n", 1, "X", "already"),
    objects("13", "object A : {a, b}\nobject W : FreeMonoid(A, max_length=2)\n", 2, "A", "enum"),
    objects("14", "object N : FinSet 2\nobject C : FreeResiduated(N, depth=1)\n", 2, "enum"),
    objects("15", "object Z : Real 2 + Real 3\n", 1, "coproduct|sum"),
    objects("16", "object A : {a, a}\n", 1, "a", "twice|duplicate|already|repeated"),
    objects("17", "object S : Simplx 4\n", 1, "Simplx", "Simplex"),
    after("18", P, "morphism f : Q -> Y [role=latent]\n", 1, "Q"),
    objects("19", "object U : Real 2 [low=1.0, high=0.0]\n", 1, "empty|low", "high|interval"),
    after("20", P, "object T : X / Y\nmorphism f : T -> X [role=latent]\n", 2, "T", "pattern"),
    after("21", P, "morphism f : X -> X []\n", 1, "role"),
    after("22", P, "morphism f : X -> X [role=prior]\n", 1, "prior", "kernel", "latent", "embed"),
    after("23", P, "morphism f : R -> R [role=latent]\n", 1, "R", "finite"),
    after("24", P, "morphism f : X -> X [role=latent] ~ identity(X)\n", 1, "family|prior"),
    after("25", P, "morphism f : X -> X [role=observed]\n", 1, "observed"),
    after("26", P, "morphism f : X -> X [role=observed] ~ Normal(0.0, 1.0)\n", 1, "Normal|family"),
    after("28", P, "morphism f : X -> R [role=kernel] ~ Nrmal\n", 1, "Nrmal", "Normal"),
    after("29", P, "morphism f : X -> Y [role=kernel] ~ Normal\n", 1, "Normal", "Y|finite"),
    after("30", P, "morphism f : X -> R [role=kernel] ~ Categorical\n", 1, "Categorical", "finite"),
    after("31", P, "morphism f : X -> X [role=kernel] ~ Bernoulli\n", 1, "Bernoulli", "3", "two|2"),
    after("32", P, "morphism f : R -> R [role=kernel] ~ TruncatedNormal\n", 1,
          "TruncatedNormal", "bound|low"),
    after("33", P, "morphism e : R -> X [role=embed]\n", 1, "embed", "finite"),
    after("33b", P, "morphism e : X -> Y [role=embed]\n", 1, "embed", "space"),
    after("34", P, "morphism d : R -> FinSet 4 [role=discretize, bins=4]\n", 1, "discretize"),
    objects("35", "object U : Real 1 [low=0.0, high=1.0]\n"
            "morphism d : U -> FinSet 4 [role=discretize]\n", 2, "bins|discretize"),
    after("36", P, "morphism f : X -> X [role=latent, scal=0.1]\n", 1, "scal", "scale"),
    after("37", P, "morphism f : X -> X [role=latent, scale=big]\n", 1, "scale", "number"),
    after("38", P, "morphism f : X -> X [role=latent, replicate=1.5]\n", 1, "replicate",
          "integer|whole"),
    after("41", P, "morphism f : X -> Y [role=latent]\nmorphism f : X -> Y [role=latent]\n", 2,
          "f", "already"),
    after("45", LATENT, "let h = gg\n", 1, "gg"),
    after("46", LATENT, "let h = repeat(f)\n", 1, "repeat"),
    after("53", P, "object Q : Real 3\nmorphism a : X -> R [role=kernel] ~ Normal\n"
          "morphism b : Q -> R [role=kernel] ~ Normal\nlet h = a >> b\n", 4, "2", "3"),
    after("54", P, "object Q : Real 3\nmorphism a : R -> R [role=kernel] ~ Normal\n"
          "morphism b : Q -> R [role=kernel] ~ Normal\nlet h = fan(a, b)\n", 4, "fan|domain"),
    after("55", P, "morphism c : R -> R [role=kernel] ~ Normal\nlet s = scan(c)\n", 2, "scan"),
    after("56", P, "morphism c : R * R -> R [role=kernel] ~ Normal\nlet s = scan(c, init=ones)\n",
          2, "zeros", "learned"),
    prog("66", "sample u <- Normal(0.0, 1.0); sample u <- Normal(0.0, 1.0); return u", 2,
         "u", "already"),
    prog("67", "sample u <- Normal(q, 1.0); return u", 1, "q", "data"),
    prog("68", "let u = q; return u", 1, "q"),
    prog("69", "let u = 1.0; return v", 2, "v"),
    prog("70", "sample u <- Normal(0.0); return u", 1, "Normal", "loc", "scale", "1"),
    prog("71", "sample u <- Normal; return u", 1, "Normal", "argument"),
    prog("72", "sample u <- zzz(1.0); return u", 1, "zzz"),
    prog("73", "sample u <- g(1.0); return u", 1, "g", prelude=KERNELS),
    after("74", P, "program p(a, b) : X -> X\n    let u = 1.0\n    return u\n", 1, "2", "1"),
    after("75", P, "program p : X -> X [effects=[Pure]]\n    sample u <- Normal(0.0, 1.0)\n"
          "    return u\n", 1, "Pure", "Sample"),
    after("75b", P, "program p : X -> X [effects=[Sample]]\n    sample u <- Normal(0.0, 1.0)\n"
          "    observe y <- Normal(u, 1.0)\n    return u\n", 1, "Score"),
    after("75c", P, "program p : X -> X [effects=[Foo]]\n    sample u <- Normal(0.0, 1.0)\n"
          "    return u\n", 1, "Foo"),
    prog("76", "sample [u, w] <- g; return u", 1, "destructure|names|two|2", prelude=KERNELS),
    prog("77", "sample u : Y <- tmpl(X, 1.0); return u", 1, "tmpl", prelude=P + TEMPLATE),
    prog("78", "sample u <- tmpl(R, 1.0); return u", 1, "R", "finite", prelude=P + TEMPLATE),
    prog("78b", "sample u <- tmpl(X); return u", 1, "tmpl", "2|w", prelude=P + TEMPLATE),
    after("79", P, marginal("Categorical(p)", "[over=Y]"), 4, "via"),
    after("80", P, marginal("Categorical(p)", "[over=Y, reduction=max]"), 3, "reduction",
          "logsumexp", "mean"),
    after("80b", P, marginal("Categorical(p)", "[over=Zed]"), 3, "Zed"),
    after("80c", P, marginal("Categorical(0.5)", "[over=Y]"), 3, "probabilit"),
    after("81", P, marginal("Normal(0.0, 1.0)", ""), 3, "support|finite"),
    prog("82", "let t = factor i : X in {0 -> 1.0, 2 -> 2.0}; return t", 1, "1"),
    prog("82b", "let t = factor i : X in {0 -> 1.0, 1 -> 2.0, 3 -> 2.0}; return t", 1, "3|2"),
    prog("82c", "let t = factor i : X in {0 -> 1.0, 0 -> 1.0, 1 -> 2.0, 2 -> 3.0}; return t", 1,
         "0"),
    prog("82d", "let t = factor i : R in 1.0; return t", 1, "R", "finite"),
    prog("82e", "let t = factor i : X, i : Y in 1.0; return t", 1, "i"),
    prog("83", "let u = foo(1.0); return u", 1, "foo"),
    prog("83b", "let a = 1.0; let u = clamp(a, 0.0); return u", 2, "clamp", "3"),
    objects("85", "export zz\n", 1, "zz"),
    # Rulings
    after("R5", P, "morphism f : R -> R [role=kernel, scale=0.1] ~ Poisson\n", 1, "scale"),
    after("R11", P, "program p(a) : Real 1 -> R\n    sample v : X <- Normal(a, 1.0)\n    return v\n"
          "export p\n", 2, "over 1|`1`|: 1"),
    after("4.1", P, "morphism f : R -> R [role=kernel, role=kernel] ~ Normal\n", 1, "role"),
    after("4.1b", P, "morphism f : R -> R [role=kernel, replicate=2] ~ Normal\nlet h = f >> f\n", 2,
          "f", "fan"),
    after("5.4", P, "morphism c : R -> R [role=kernel] ~ Normal\nlet h = repeat(c, 0)\n", 2, "0"),
    after("5.4b", P, "morphism c : R -> R [role=kernel] ~ Normal\nlet h = repeat(c)\n", 2,
          "repeat"),
)  # fmt: skip
NOT_YET = [
    ("dagger", "morphism f : X -> Y [role=latent]\nlet g = f.dagger\n", 2),
    ("parser", "let g = parser(rules=[evaluation], terminal=X)\n", 1),
    ("composition", "composition real\n", 1),
    ("deduction", "deduction D : X -> X [semiring=LogProb]\n    atoms S\n", 1),
    ("contraction", "contraction c (a : X -> Y) : X -> Y [rule=real]\n", 1),
    ("signature", "signature S\n    sorts\n        T : object\n", 1),
]  # fmt: skip

each = pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.n)


@each
def test_it_is_refused_at_its_line_in_the_right_words(wrong: Wrong) -> None:
    with pytest.raises((ParseError, CompileError)) as caught:
        loads(wrong.source)
    first = caught.value.diagnostics[0]
    said = f"{first.message} {first.hint or ''}"
    assert isinstance(caught.value, wrong.error)
    assert (caught.value.line, said) == (wrong.line, said)
    for word in wrong.words:
        assert any(choice in said for choice in word.split("|")), (word, said)


@each
def test_the_place_lies_inside_the_line(wrong: Wrong) -> None:
    with pytest.raises((ParseError, CompileError)) as caught:
        loads(wrong.source)
    error = caught.value
    line = wrong.source.splitlines()[error.line - 1]
    assert 1 <= error.column <= len(line) + 1


def test_independent_errors_of_a_module_are_reported_together() -> None:
    source = P + (
        "object S : Simplx 4\n"
        "morphism f : X -> R [role=kernel] ~ Nrmal\n"
        "morphism g : S -> R [role=kernel] ~ Normal\n"  # S failed: no second complaint
        "program p : X -> X\n    sample u <- zzz(1.0)\n    let v = u + 1.0\n    return w\n"
        "export p\n"
    )
    with pytest.raises(CompileError) as caught:
        loads(source)
    lines = [source.count("\n", 0, d.span.start) + 1 for d in caught.value.diagnostics]
    assert lines == [4, 5, 8, 10]


def test_several_syntax_errors_are_reported_together() -> None:
    source = "object X FinSet 3\nobject Y : FinSet 4\nobject Z : : FinSet 2\nexport\n"
    with pytest.raises(ParseError) as caught:
        loads(source)
    lines = [source.count("\n", 0, d.span.start) + 1 for d in caught.value.diagnostics]
    assert lines == [1, 3, 4]


@pytest.mark.parametrize(("construct", "source", "line"), NOT_YET, ids=lambda v: str(v)[:12])
def test_what_is_not_lowered_yet_is_refused_by_name(construct: str, source: str, line: int) -> None:
    with pytest.raises(CompileError) as caught:
        loads(P + source)
    assert caught.value.line in (3 + line, 3 + line + 1)
    assert construct in caught.value.diagnostics[0].message
