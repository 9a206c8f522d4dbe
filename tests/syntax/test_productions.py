"""Every production of expressions: a text, the node it is, and the characters it covers."""

import dataclasses
from collections.abc import Iterator

import pytest

from quivers_nb.syntax import tree as t
from quivers_nb.syntax.parser import parse
from tests.support.nodes import LOW, A, B, F, G, H, X, Y, Z, binary, covered, i, n, one, step
from tests.syntax.samples import SAMPLES

OBJECTS = [
    ("X", X),
    ("3", t.ObjInt(i(3))),
    ("FinSet 3", t.ObjFinSet(i(3))),
    ("FinSet(3)", t.ObjFinSet(i(3))),
    ("FinSet n", t.ObjFinSet(n("n"))),
    ("Real 2", t.ObjSpace(n("Real"), (i(2),))),
    ("Stiefel 4 k", t.ObjSpace(n("Stiefel"), (i(4), n("k")))),
    ("Real 2 [low=0.0]", t.ObjSpace(n("Real"), (i(2),), LOW)),
    ("Reel 2", t.ObjSpace(n("Reel"), (i(2),))),
    ("X * Y * Z", t.ObjProduct((X, Y, Z))),
    ("X * (Y * Z)", t.ObjProduct((X, Y, Z))),
    ("X + Y + Z", t.ObjSum((X, Y, Z))),
    ("X + Y * Z", t.ObjSum((X, t.ObjProduct((Y, Z))))),
    ("(X + Y) * Z", t.ObjProduct((t.ObjSum((X, Y)), Z))),
    ("X / Y / Z", t.ObjSlash("/", t.ObjSlash("/", X, Y), Z)),
    ("X / (Y \\ Z)", t.ObjSlash("/", X, t.ObjSlash("\\", Y, Z))),
    ("X / Y * Z", t.ObjSlash("/", X, t.ObjProduct((Y, Z)))),
    ("X + Y / Z", t.ObjSum((X, t.ObjSlash("/", Y, Z)))),
    ("M(X, Y)", t.ObjApply(n("M"), (X, Y))),
    ("{a, b,}", t.ObjEnum(n("a", "b"))),
    ("FreeMonoid(X, max_length=2)", t.ObjFreeMonoid(n("X"), i(2))),
    ("FreeResiduated(X)", t.ObjFreeResiduated(n("X"))),
    (
        "FreeResiduated(X, ops=[slash, unit], depth=2)",
        t.ObjFreeResiduated(n("X"), i(2), n("slash", "unit")),
    ),
    ("Real 2 [low=0.0] * X", t.ObjProduct((t.ObjSpace(n("Real"), (i(2),), LOW), X))),
    ("X * Real 2 [low=0.0]", t.ObjProduct((X, t.ObjSpace(n("Real"), (i(2),), LOW)))),
]
EXPRESSIONS = [
    ("f", F),
    ("f >> g >> h", binary(">>", binary(">>", F, G), H)),
    ("f >> (g >> h)", binary(">>", F, binary(">>", G, H))),
    ("f >> g @ h", binary(">>", F, binary("@", G, H))),
    ("f @ g >> h", binary(">>", binary("@", F, G), H)),
    ("f << g >=> h", binary(">=>", binary("<<", F, G), H)),
    ("f @ g.dagger", binary("@", F, t.ExprMethod(G, n("dagger"), None))),
    ("(f @ g).freeze", t.ExprMethod(binary("@", F, G), n("freeze"), None)),
    (
        "f.marginalize(X, Y)",
        t.ExprMethod(F, n("marginalize"), (t.ExprName(n("X")), t.ExprName(n("Y")))),
    ),
    (
        "f.change_base(softmax(X))",
        t.ExprMethod(F, n("change_base"), (t.ExprCall(n("softmax"), (n("X"),)),)),
    ),
    ("c(f, -2.0)", t.ExprCall(n("c"), (n("f"), i(-2.0)))),
    ("identity(X)", t.ExprStructural(n("identity"), n("X"))),
    ('from_data("k\\n")', t.ExprFromData(t.String("k\\n"))),
    ("fan(f, g >> h)", t.ExprFan((F, binary(">>", G, H)))),
    ("repeat(f)", t.ExprRepeat(F, None)),
    ("repeat(f >> g, 3)", t.ExprRepeat(binary(">>", F, G), i(3))),
    ("stack(f, 3)", t.ExprStack(F, i(3))),
    ("scan(f)", t.ExprScan(F, None)),
    ("scan(f, init=learned)", t.ExprScan(F, n("learned"))),
    (
        "ccg(rules=[a, b], start=S, depth=2)",
        t.ExprParser(
            n("ccg"),
            (
                t.ParserArg(n("rules"), n("a", "b")),
                t.ParserArg(n("start"), n("S")),
                t.ParserArg(n("depth"), i(2)),
            ),
        ),
    ),
    (
        "chart_fold(lex=f >> g, start=S)",
        t.ExprParser(
            n("chart_fold"),
            (t.ParserArg(n("lex"), binary(">>", F, G)), t.ParserArg(n("start"), n("S"))),
        ),
    ),
    ("fan", t.ExprName(n("fan"))),
]
LETS = [
    ("a", A),
    ("1.5e-3", i(1.5e-3)),
    ("2e5", i(2e5)),
    ('"s"', t.String("s")),
    ("a + b - 1", t.LetBinary("-", t.LetBinary("+", A, B), i(1))),
    ("a - (b - 1)", t.LetBinary("-", A, t.LetBinary("-", B, i(1)))),
    ("a + b * 2", t.LetBinary("+", A, t.LetBinary("*", B, i(2)))),
    ("-a * b", t.LetBinary("*", t.LetNegate(A), B)),
    ("a - -b", t.LetBinary("-", A, t.LetNegate(B))),
    ("-(-a)", t.LetNegate(t.LetNegate(A))),
    ("f()", t.LetCall(n("f"), ())),
    ("f(a, b)", t.LetCall(n("f"), (A, B))),
    ("a[b[1], 2]", t.LetIndex(n("a"), (t.LetIndex(n("b"), (i(1),)), i(2)))),
    ("a.m(b)", t.LetMethod(n("a"), n("m"), (B,))),
    ("[]", t.LetList(())),
    ("[a, b]", t.LetList((A, B))),
    ("a -> b -> a + b", t.LetLambda(n("a"), t.LetLambda(n("b"), t.LetBinary("+", A, B)))),
    ("1 + a -> b", t.LetBinary("+", i(1), t.LetLambda(n("a"), B))),
    ("factor", t.LetName(n("factor"))),
    ("factor + a", t.LetBinary("+", t.LetName(n("factor")), A)),
    (
        "factor i : X, j : Y in a + b",
        t.LetFactor(((n("i"), X), (n("j"), Y)), t.LetBinary("+", A, B)),
    ),
    (
        "factor i : X in {0 -> a, 1 -> b}",
        t.LetFactor(((n("i"), X),), (t.FactorCase(i(0), A), t.FactorCase(i(1), B))),
    ),
]
CALLS = [
    ("f", t.Call(n("f"), None)),
    ("f()", t.Call(n("f"), ())),
    ("f(a, -1.5)", t.Call(n("f"), (n("a"), i(-1.5)))),
    ("f(a[i, j])", t.Call(n("f"), (t.ArgIndexed(n("a"), tuple(map(t.ObjName, n("i", "j")))),))),
    ("f(g(a))", t.Call(n("f"), (t.ArgCall(n("g"), (n("a"),)),))),
    ("f([a, 1])", t.Call(n("f"), (t.ArgList((n("a"), i(1))),))),
    ("f(loc=a)", t.Call(n("f"), (t.ArgKeyword(n("loc"), n("a")),))),
]
OPTIONS = [
    ("[]", t.Options(())),
    ("[k]", t.Options((t.OptionEntry(n("k"), None),))),
    ("[k=v]", t.Options((t.OptionEntry(n("k"), n("v")),))),
    ("[k=-1]", t.Options((t.OptionEntry(n("k"), i(-1)),))),
    ('[k="s"]', t.Options((t.OptionEntry(n("k"), t.String("s")),))),
    ("[k=[]]", t.Options((t.OptionEntry(n("k"), t.OptionList(())),))),
    ("[k=[a, 1]]", t.Options((t.OptionEntry(n("k"), t.OptionList((n("a"), i(1)))),))),
    (
        "[k=f(1, h=2)]",
        t.Options((t.OptionEntry(n("k"), t.OptionCall(n("f"), ((None, i(1)), (n("h"), i(2))))),)),
    ),
]


@pytest.mark.parametrize(("code", "node"), OBJECTS)
def test_object_expressions(code: str, node: t.Obj) -> None:
    text = f"object o : {code}"
    found = one(text).value
    assert found == node
    assert covered(text, found).strip("()") == code.strip("()")


@pytest.mark.parametrize(("code", "node"), EXPRESSIONS)
def test_morphism_expressions(code: str, node: t.Expr) -> None:
    text = f"export {code}"
    found = one(text).value
    assert found == node
    assert covered(text, found) == code


@pytest.mark.parametrize(("code", "node"), LETS)
def test_let_expressions(code: str, node: t.LetExpr) -> None:
    found = step(f"let u = {code}").value
    assert found == node
    assert covered(f"program p : X -> X\n    let u = {code}\n", found) == code


@pytest.mark.parametrize(("code", "node"), CALLS)
def test_calls(code: str, node: t.Call) -> None:
    found = step(f"sample u <- {code} [k]").call
    assert found == node
    assert covered(f"program p : X -> X\n    sample u <- {code}\n", found) == code


@pytest.mark.parametrize(("code", "node"), OPTIONS)
def test_options(code: str, node: t.Options) -> None:
    text = f"morphism f : X -> X {code}"
    found = one(text).options
    assert found == node
    assert covered(text, found) == code


INITS = [
    ("Normal", t.ExprName(n("Normal"))),
    ("Normal(0.0, s)", t.Call(n("Normal"), (i(0.0), n("s")))),
    ("f >> g", binary(">>", F, G)),
    ("identity(X)", t.ExprStructural(n("identity"), n("X"))),
    ("f(a) >> g", binary(">>", t.ExprCall(n("f"), (n("a"),)), G)),
    ("(f(a))", t.ExprCall(n("f"), (n("a"),))),
    ('from_data("w")', t.ExprFromData(t.String("w"))),
]


@pytest.mark.parametrize(("code", "node"), INITS)
def test_initializers(code: str, node: t.Expr | t.Call) -> None:
    assert one(f"morphism f : X -> X [role=latent] ~ {code}").init == node


def nodes(value: object) -> Iterator[t.Node]:
    """All nodes in a value."""
    if isinstance(value, tuple):
        for item in value:
            yield from nodes(item)
    elif isinstance(value, t.Node):
        yield value
        for found in dataclasses.fields(value):
            yield from nodes(getattr(value, found.name))


def test_the_sample_of_everything_has_every_node_type() -> None:
    kinds = {type(node) for text in SAMPLES.values() for node in nodes(parse(text))}
    every = {cls for cls in vars(t).values() if isinstance(cls, type) and issubclass(cls, t.Node)}
    assert every - kinds == {t.Node, t.Line}


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES.keys())
def test_children_lie_inside_their_parents_and_cover_what_they_say(text: str) -> None:
    module = parse(text)
    for node in nodes(module):
        inside = [f.name for f in dataclasses.fields(node) if f.name != "pragmas"]
        for child in nodes(tuple(getattr(node, name) for name in inside)):
            assert node.span.start <= child.span.start <= child.span.stop <= node.span.stop
        if isinstance(node, t.Name):
            assert covered(text, node) == node.text
        if isinstance(node, t.Number):
            assert covered(text, node) == node.text


CONTEXTUAL = [
    "program p : X -> X\n    let NAME = INT + _NL - SPACE * COMP / fault\n    return _INDENT",
    "object INT : _NL * SPACE + COMP\nlet END = STRING >> _DEDENT",
    "object sample : FinSet 3\nobject object : sample",
    "program program : let -> in\n    sample sample <- sample(let)\n    return return",
    "morphism morphism : object -> data [role=role] ~ where\nlet let = export >> where",
    "program p : X -> X\n    let factor = let + factor\n    score score = in * over\n    return as",
    "encoder dim : init\n    dim(a) |-> a\n    dim b = 2\n    init(x, y) |-> x\n"
    "    init K(x) |-> x",
]


@pytest.mark.parametrize("text", CONTEXTUAL)
def test_keywords_are_names_where_no_keyword_can_stand(text: str) -> None:
    parse(text)
