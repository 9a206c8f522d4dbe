"""Every production of declarations and steps: a text, the node it is, what the node covers."""

import pytest

from quivers_nb.syntax import tree as t
from tests.support.nodes import LATENT, LOW, A, B, F, G, X, Y, Z, covered, i, n, one, step

REAL = t.ObjSpace(n("Real"), (i(2),))
DECLARATIONS = [
    ("composition real as algebra", t.CompositionDecl(n("real"), n("algebra"))),
    (
        "composition c\n    join(t) = a\n    unit = 1\n",
        t.CompositionDecl(
            n("c"),
            None,
            (
                t.CompositionEntry(n("join"), (n("t"),), A),
                t.CompositionEntry(n("unit"), None, i(1)),
            ),
        ),
    ),
    ("category A, B", t.CategoryDecl(n("A", "B"))),
    ("rule r(A, B) : X, Y => Z", t.RuleDecl(n("r"), n("A", "B"), (X, Y), Z)),
    (
        "schema s(A, B : X, C : Y) : X -> Y",
        t.SchemaDecl(n("s"), ((n("A", "B"), X), ((n("C"),), Y)), X, Y),
    ),
    ("bundle b = []", t.BundleDecl(n("b"), ())),
    ("bundle b = [p, q]", t.BundleDecl(n("b"), n("p", "q"))),
    ("object o : X", t.ObjectDecl(n("o"), X)),
    ("morphism f : X -> Y [role=latent]", t.MorphismDecl(n("f"), X, Y, LATENT)),
    (
        "morphism f : X -> Real 2 [low=0.0] [role=latent]",
        t.MorphismDecl(n("f"), X, t.ObjSpace(n("Real"), (i(2),), LOW), LATENT),
    ),
    (
        "contraction c (a : X -> Y, b : Y -> Z) : X -> Z [role=latent]",
        t.ContractionDecl(
            n("c"),
            (t.ContractionInput(n("a"), X, Y), t.ContractionInput(n("b"), Y, Z)),
            X,
            Z,
            LATENT,
        ),
    ),
    ("data w : X -> Real 2", t.DataDecl(n("w"), X, REAL)),
    (
        "let a = f where\n    let f = g\n",
        t.LetDecl(n("a"), F, (t.LetDecl(n("f"), G),)),
    ),
    ("export f", t.ExportDecl(F)),
    ("#![low=0.0]", t.PragmaLine(LOW)),
    (
        "program p(a, b) : X -> Y [role=latent]\n    return (a, b)",
        t.ProgramDecl(
            n("p"), tuple(map(t.Param, n("a", "b"))), X, Y, LATENT, (),
            t.ReturnStep(n("a", "b"), None, True),
        ),
    ),
    (
        "program p(S : Space, m : Mor[X, Y]) : X -> Real 2 [low=0.0]\n    return (l : a)",
        t.ProgramDecl(
            n("p"),
            (t.Param(n("S"), n("Space")), t.Param(n("m"), t.KindMor(X, Y))),
            X, REAL, LOW, (), t.ReturnStep((n("a"),), (n("l"),), True),
        ),
    ),
    (
        "deduction d : X -> Y\n    rule r : X |- Y #[low=0.0]\n    lexicon from \"f\" []\n",
        t.DeductionDecl(
            n("d"), X, Y, None,
            (
                t.DeductionRule(n("r"), (X,), Y, pragmas=(LOW,)),
                t.LexiconFile(t.String("f"), t.Options(())),
            ),
        ),
    ),
    (
        "deduction d : X -> Y\n    atoms X\n    lexicon\n"
        '        "w" : {X} = a\n        "v" : * = b',
        t.DeductionDecl(
            n("d"), X, Y, None,
            (
                t.AtomsEntry(n("atoms"), (n("X"),)),
                t.LexiconBlock(
                    (
                        t.LexiconEntry(t.String("w"), (n("X"),), A),
                        t.LexiconEntry(t.String("v"), "*", B),
                    )
                ),
            ),
        ),
    ),
    (
        "signature s(p)\n    sorts\n        S : data [low=0.0]\n"
        "    constructors\n        c : -> S\n",
        t.SignatureDecl(
            n("s"), (n("p"),),
            (
                t.SignatureSection(n("sorts"), (t.SortEntry(n("S"), n("data"), LOW),)),
                t.SignatureSection(
                    n("constructors"), (t.ConstructorEntry(n("c"), (), n("S")),)
                ),
            ),
        ),
    ),
    (
        "signature s\n    binders\n        l : binds (x : S : y : T) in (b : S) -> S\n"
        "    edge_kinds\n        e : S -- T\n",
        t.SignatureDecl(
            n("s"), (),
            (
                t.SignatureSection(
                    n("binders"),
                    (
                        t.BinderEntry(
                            n("l"), (t.BoundVar(n("x"), n("S"), n("y", "T")),),
                            (n("b", "S"),), n("S"),
                        ),
                    ),
                ),
                t.SignatureSection(
                    n("edge_kinds"), (t.EdgeEntry(n("e"), n("S"), False, n("T")),)
                ),
            ),
        ),
    ),
    ("encoder E : S(p) [low=0.0]", t.CoderDecl("encoder", n("E"), n("S"), (n("p"),), LOW, ())),
    (
        "decoder D over S\n    body |-> recursive\n    factor(v) |-> a\n",
        t.CoderDecl(
            "decoder", n("D"), n("S"), (), None,
            (
                t.CoderEntry("body"),
                t.CoderEntry("factor", args=(n("v"),), body=A),
            ),
        ),
    ),
    ("loss L\n    a\n", t.LossDecl(n("L"), None, A)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "node"), DECLARATIONS)
def test_declarations(code: str, node: t.Declaration) -> None:
    found = one(code)
    assert found == node
    assert covered(code, found) == code.rstrip()


STEPS = [
    ("sample (u, v) : X <- f", t.SampleStep(n("u", "v"), X, t.Call(n("f"), None))),
    ("sample [u, v] <- f", t.SampleStep(n("u", "v"), None, t.Call(n("f"), None))),
    ("observe y <- f [low=0.0]", t.ObserveStep(n("y"), None, t.Call(n("f"), None), LOW)),
    (
        "marginalize z <- f\n        let a = b",
        t.MarginalizeStep(n("z"), None, t.Call(n("f"), None), None, (t.LetStep(n("a"), B),)),
    ),
    ("score s = a", t.ScoreStep(n("s"), A)),
]


@pytest.mark.parametrize(("code", "node"), STEPS)
def test_steps(code: str, node: t.Step) -> None:
    assert step(code) == node
