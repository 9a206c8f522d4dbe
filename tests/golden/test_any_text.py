"""Whatever is typed, `loads` answers with a module, a `ParseError` or a `CompileError`."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quivers_nb.dsl import CompileError, ParseError, loads
from tests.oracles.programs import CASES
from tests.support.seed import MODULE

TOKEN = re.compile(r"[A-Za-z_]\w*|\d+(?:\.\d+)?|>=>|>>|<<|->|<-|[^\s\w]|\n *| +")
SEED = MODULE.read_text(encoding="utf-8")
TEXTS = [SEED, *(case.source for case in CASES)]
WORDS = sorted({token for text in TEXTS for token in TOKEN.findall(text)} | {
    "marginalize", "composition", "deduction", "signature", "latent", "observed", "discretize",
    "repeat", "scan", "identity", "cup", "1e400", "99999999999999999999", "\t", "é", "\u22a2",
    "\"", "#{", "}#", "#!", "#[", "#![", "|-", "|->", "--", ";", "@", "%", "\r\n", "\x00", "\ufeff",
})  # fmt: skip
quickly = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def answered(source: str) -> None:
    """Compile; only our two errors may come out, and they must be able to show themselves."""
    error = refusal(source)
    if error is not None:
        assert error.diagnostics
        assert all(0 <= d.span.start <= d.span.stop <= len(source) for d in error.diagnostics)
        assert all(d.message for d in error.diagnostics)
        assert str(error)


def refusal(source: str) -> ParseError | CompileError | None:
    try:
        loads(source)
    except (ParseError, CompileError) as error:
        return error
    return None


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A program of the suite with one to four tokens deleted, doubled, swapped or replaced."""
    tokens = TOKEN.findall(draw(st.sampled_from(TEXTS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(tokens) - 2))
        match draw(st.sampled_from(["delete", "double", "swap", "replace", "insert"])):
            case "delete":
                del tokens[at]
            case "double":
                tokens.insert(at, tokens[at])
            case "swap":
                other = draw(st.integers(0, len(tokens) - 1))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case "replace":
                tokens[at] = draw(st.sampled_from(WORDS))
            case "insert":
                tokens.insert(at, draw(st.sampled_from(WORDS)))
    return "".join(tokens)


@quickly
@given(mutated())
def test_mutated_programs(source: str) -> None:
    answered(source)


@quickly
@given(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
def test_words_of_the_language_in_any_order(source: str) -> None:
    answered(source)


@quickly
@given(st.text(max_size=200))
def test_any_text_at_all(source: str) -> None:
    answered(source)


EXPRESSIONS = st.recursive(
    st.sampled_from(["f", "g", "k", "e", "p", "G", "missing", "identity(X)", "f_0"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([">>", "<<", "@", ">=>", "*>"]), inner).map(" ".join),
        inner.map("({})".format),
        inner.map("repeat({}, 2)".format),
        inner.map("stack({}, 3)".format),
        inner.map("scan({})".format),
        inner.map("{}.dagger".format),
        st.lists(inner, min_size=1, max_size=3).map(lambda es: f"fan({', '.join(es)})"),
    ),
    max_leaves=6,
)
DECLARATIONS = """\
object X : FinSet 3
object R : Real 2
object H : Real 4
morphism e : X -> R [role=embed]
morphism f : R -> R [role=kernel] ~ Normal
morphism g : R -> H [role=kernel, param_source=linear] ~ Normal
morphism k : H -> X [role=kernel] ~ Categorical
morphism G : R -> R [role=kernel, replicate=2] ~ Normal
program p : X -> X
    sample u <- Normal(0.0, 1.0)
    return u
"""


@quickly
@given(EXPRESSIONS)
def test_morphism_expressions_well_typed_or_not(expression: str) -> None:
    answered(f"{DECLARATIONS}let h = {expression}\nexport h\n")


LETS = st.recursive(
    st.sampled_from(["u", "v", "1", "2.5", "i", "data", "[1, u]", '"s"']),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(" ".join),
        inner.map("(-({}))".format),
        inner.map("v[{}]".format),
        inner.map("factor j : X in {}".format),
        inner.map("factor j : X in {{0 -> u, 1 -> {}, 2 -> v}}".format),
        st.tuples(
            st.sampled_from(["exp", "sum", "logsumexp", "clamp", "map", "fold", "nope", "dot"]),
            st.lists(inner, max_size=3),
        ).map(lambda call: f"{call[0]}({', '.join(call[1])})"),
        inner.map("fold(v, 0.0, a -> b -> {})".format),
    ),
    max_leaves=6,
)
STEPS = st.sampled_from(
    [
        "observe y : X <- Normal(t, 1.0)",
        "observe y <- Bernoulli(t)",
        "sample w : X <- Gamma(t, 1.0)",
        "sample w : R <- Normal(t, 1.0)",
        "sample w <- f(t)",
        "sample w <- Categorical(t)",
        "score s = t",
    ]
)


@quickly
@given(LETS, STEPS)
def test_programs_with_generated_lets(let: str, step: str) -> None:
    answered(
        f"{DECLARATIONS}program q(i) : X -> X\n    sample u <- Normal(0.0, 1.0)\n"
        f"    sample v : X <- Normal(0.0, 1.0)\n    let t = {let}\n    {step}\n"
        "    return t\nexport q\n"
    )


DEEP = {
    "parentheses in a let": "object X : FinSet 3\nprogram p : X -> X\n    let a = "
    + "(" * 500 + "1.0" + ")" * 500 + "\n    return a\nexport p\n",
    "parentheses in an expression": DECLARATIONS + "let h = " + "(" * 500 + "f" + ")" * 500
    + "\nexport h\n",
    "a sum of a thousand terms": "object X : FinSet 3\nprogram p : X -> X\n    let a = "
    + " + ".join(["1.0"] * 1000) + "\n    return a\nexport p\n",
    "a chain of a thousand kernels": DECLARATIONS + "let h = " + " >> ".join(["f"] * 1000)
    + "\nexport h\n",
    "unclosed brackets": "object X : " + "(" * 5000,
    "a megabyte of comments": "# a comment of some length\n" * 40_000,
    "a megabyte of one name": "object " + "x" * 1_000_000 + " : FinSet 3\n",
}  # fmt: skip


@pytest.mark.parametrize("source", DEEP.values(), ids=list(DEEP))
def test_deep_and_large_texts(source: str) -> None:
    answered(source)


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_line_endings_do_not_matter(ending: str) -> None:
    assert loads(SEED.replace("\n", ending)).morphism is not None


@pytest.mark.parametrize("prefix", ["\ufeff", "\n\n", "# first\n", "#{ a\nb }#\n"])
def test_what_may_stand_before_a_module(prefix: str) -> None:
    assert loads(prefix + SEED).morphism is not None


def test_the_seed_file_is_read_by_path_as_text_and_as_path_object(tmp_path: Path) -> None:
    from quivers_nb.dsl import load

    path = tmp_path / "m.qvr"
    path.write_text(SEED.rstrip("\n"), encoding="utf-8")
    assert load(path).morphism is not None
    assert load(str(path)).morphism is not None
