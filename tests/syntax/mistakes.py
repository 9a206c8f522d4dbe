"""Mistakes people make, each a text by name; ``mistakes.md`` has what they are told.

To write the expectations again, after which they must be read line by line:

    python -m tests.syntax.mistakes
"""

from pathlib import Path

from quivers_nb.diagnostics.errors import ParseError
from quivers_nb.syntax.parser import parse

GOLDEN = Path(__file__).with_name("mistakes.md")
DRAW = "sample u <- Normal(0.0, 1.0)"


def prog(*steps: str) -> str:
    """A program with these steps."""
    return "program p : X -> X\n" + "".join(f"    {step}\n" for step in steps)


MISTAKES: dict[str, str] = {
    # the ten of the language reference
    "unexpected characters": "object X : FinSet 3\n@@@\n",
    "no option block": "morphism f : X -> X\n",
    "malformed number": "morphism f : X -> X [role=latent, scale=.5]\n",
    "no return": prog(DRAW),
    "step without keyword": prog("u <- Normal(0.0, 1.0)", "return u"),
    "expression as argument": prog("sample u <- Normal(w + 1.0, 1.0)", "return u"),
    "line break before tilde": "morphism f : R -> R [role=kernel]\n    ~ Normal\n",
    "mixed parameters": "program q(a, G : FinSet) : X -> X\n    return a\n",
    "dedent to no open column": f"program p : X -> X\n    {DRAW}\n  return u\n",
    "index of an index": prog("let u = a[0][1]", "return u"),
    # signs
    "equals after object": "object X = FinSet 3\n",
    "colon after let": "let h : f >> g\n",
    "no colon": "object X FinSet 3\n",
    "no colon in a program": "program p X -> X\n    return u\n",
    "no arrow": "morphism f : X [role=latent]\n",
    "no codomain": "program p : X\n    return u\n",
    "fat arrow": "morphism f : X => Y [role=latent]\n",
    "thin arrow in a rule": "rule R(X) : X, Y -> X\n",
    "thin arrow in a deduction": "deduction D : A -> B\n    rule r : X -> Y\n",
    "thin arrow in an encoder": "encoder E : S\n    pair(a, b) -> a\n",
    "tilde for arrow": prog("sample u ~ Normal(0.0, 1.0)", "return u"),
    "equals for arrow": prog("observe y = Normal(0.0, 1.0)", "return u"),
    "no arrow in a step": prog("sample u Normal(0.0, 1.0)", "return u"),
    "no tilde": "morphism f : X -> R [role=kernel] Normal\n",
    "options after tilde": "morphism f : X -> R ~ Normal [role=kernel]\n",
    "options after the block": "morphism f : X -> R [role=kernel] scale=0.1 ~ Normal\n",
    "options without brackets": "morphism f : X -> X role=latent\n",
    "colon for tilde": "morphism f : X -> R [role=kernel] : Normal\n",
    "colon in options": "morphism f : X -> X [role: latent]\n",
    "colon after a header": "program p : X -> X:\n    return u\n",
    "arithmetic behind a step": prog(f"{DRAW} + 2.0", "return u"),
    # numbers
    "point without digits": prog("let u = 5.", "return u"),
    "two points": prog("let u = 1.2.3", "return u"),
    "underscores": prog("let u = 1_000", "return u"),
    "name with a digit": "object 3X : FinSet 3\n",
    "too large": prog("let u = 1e999", "return u"),
    "size with a fraction": "object X : FinSet 2.5\n",
    # statements
    "misspelled declaration": "morfism f : X -> Y [role=latent]\n",
    "misspelled step": prog("smaple u <- N(1.0)", "return u"),
    "misspelled return": prog(DRAW, "retrun u"),
    "unknown declaration": "tensor f : X -> Y\n",
    "declaration without keyword": "X : FinSet 3\n",
    "morphism without keyword": "f : X -> Y [role=latent]\n",
    "assignment without let": "h = f >> g\n",
    "assignment in a program": prog("v = 3.0", "return v"),
    "call as a step": prog("Normal(0.0, 1.0)", "return v"),
    "keyword twice": "object object X : FinSet 3\n",
    "two on one line": "object X : FinSet 3 object Y : FinSet 4\n",
    "semicolon": "let s = a; let t = b\n",
    "rest of a line": "export f, g\n",
    "step at top level": f"{DRAW}\n",
    "declaration in a program": prog(DRAW, "object Y : FinSet 3", "return u"),
    "step after return": prog(DRAW, "return u", "let v = u"),
    "two bodies of a loss": "loss L\n    a + b\n    c\n",
    "nothing returned": prog(DRAW, "return"),
    "some labels": prog("return (a: b, c)"),
    "number as a name": "object 3 : X\n",
    "no name": "object : X\n",
    "several returned": prog("return u, v"),
    "several sampled": prog("sample u, v <- f", "return u"),
    "let with parameters": prog("let f(x) = x", "return u"),
    "number at the left margin": "let x = 3\n",
    "lambda": prog("let f = lambda x: x", "return f"),
    # blocks
    "steps not indented": f"program p : X -> X\n{DRAW}\nreturn u\n",
    "loss without a body": "loss L\nexport f\n",
    "marginalize without a block": prog("marginalize z <- Bernoulli(0.5)", "return u"),
    "first line indented": "  object X : FinSet 3\n",
    "declaration indented": "object X : FinSet 3\n    object Y : FinSet 4\n",
    "step indented": prog(DRAW, f"    {DRAW}", "return u"),
    "tab and blanks": f"program p : X -> X\n\t{DRAW}\n    return u\n",
    "line break before >>": "let h = f\n    >> g\n",
    "line break before >> at the margin": "let h = f\n>> g\n",
    "line break after >>": "let h = f >>\n    g\n",
    "line break before where": "let h = f\nwhere\n    let f = g\n",
    # brackets, strings, comments
    "parenthesis not closed": "let h = (f >> g\nobject Y : FinSet 3\n",
    "step not closed": prog("sample u <- Normal(0.0, 1.0", "return u"),
    "block not closed": "morphism f : X -> X [role=latent\n",
    "wrong closer": prog("sample u <- Normal(0.0, 1.0]", "return u"),
    "closer too many": "let h = f >> g)\n",
    "no comma": prog("sample u <- Normal(0.0 1.0)", "return u"),
    "comma too many": prog("sample u <- Normal(0.0,, 1.0)", "return u"),
    "empty list": "object X : {}\n",
    "string not closed": prog('let u = "abc', "return u"),
    "comment not closed": "#{ never closed\nobject X : FinSet 3\n",
    "comment read as pragma": "#[this is a comment]\nobject X : FinSet 3\n",
    "pragma after a declaration": "object X : FinSet 3 #[flag]\n",
    "pragma at the end": "object X : FinSet 3\n#[flag]\n",
    # words and signs of Python and mathematics
    "def": "def f(x):\n    return x\n",
    "import": "import torch\n",
    "for": prog("for i in range(3):", "return u"),
    "double equals": prog("let a = b == c", "return a"),
    "less than": prog("let a = b < c", "return a"),
    "power": prog("let a = b ** c", "return a"),
    "caret": prog("let a = b ^ c", "return a"),
    "and": prog("let a = b and c", "return a"),
    "single quotes": prog("let a = 'x'", "return a"),
    "curly quotes": prog("let a = \u201cx\u201d", "return a"),
    "Greek letter": "object \u03b1 : FinSet 3\n",
    "accent": "object caf\u00e9 : FinSet 3\n",
    "times sign": "object Z : A \u00d7 B\n",
    "no-break space": "object\u00a0X : FinSet 3\n",
    # expressions
    "plus between morphisms": "let f = g + h\n",
    "composition between numbers": prog("let a = f >> g", "return a"),
    "no operator": "let f = g h\n",
    "no operator between numbers": prog("let a = 2.0 b", "return a"),
    "two minus signs": prog("let a = - -b", "return a"),
    "minus minus": prog("let a = b--c", "return a"),
    "index of a sum": prog("let u = (a + b)[0]", "return u"),
    "method of a call": prog("let u = f(x).m(1)", "return u"),
    "negated argument": prog("sample u <- Normal(-a, 1.0)", "return u"),
    "string argument": prog('sample u <- Normal("a", 1.0)', "return u"),
    "stack without a count": "let f = stack(g)\n",
    "no comma in a call": "let f = stack(g 2)\n",
    "call of nothing": "export p()\n",
    "fan of nothing": "let f = fan()\n",
    "scan with a count": "let f = scan(g, 3)\n",
    "call of an expression": "let f = c(g >> h)\n",
    "unknown method": "let f = g.dager\n",
    "method called": "let f = g.dagger()\n",
    "method not called": "let f = g.trace\n",
    "parser argument": "let f = parser(rule=[r])\n",
    # objects
    "no size": "object X : FinSet\n",
    "space without a size": "object R : Real\n",
    "size in parentheses": "object R : Real(2)\n",
    "options of a set": "object X : FinSet 3 [low=0.0]\n",
    "options inside": "object X : A [low=0.0] * B\n",
    "monoid without length": "object W : FreeMonoid(G)\n",
    "unknown kind": "program p(s : Reel) : X -> X\n    return s\n",
    "unknown level": "composition real as monoid\n",
    "unknown kind of sort": "signature S\n    sorts\n        a : thing\n",
    "too deep": "let h = " + "fan(" * 120 + "f" + ")" * 120 + "\n",
    # what users of numpy, PyMC and Stan write
    "several values by brackets": prog("sample u[4] <- Normal(0.0, 1.0)", "return u"),
    "matrix product by an operator": prog("let u = a @ b", "return u"),
    "attribute of a number": prog("let u = a.T", "return u"),
    "computing in return": prog(DRAW, "return u + 1.0"),
    "comment by slashes": prog("sample u <- Normal(0.0, 1.0) // prior", "return u"),
}


def report(text: str) -> str:
    """Each diagnostic of a text on two lines: the marked characters and the fact; the hint."""
    try:
        parse(text)
    except ParseError as error:
        lines = []
        for d in error.diagnostics:
            line, column = error.source.line_column(d.span.start)
            marked = text[d.span.start : d.span.stop]
            lines += [f"{line}:{column} {marked!r} {d.code} {d.message}", f"    {d.hint}"]
        return "\n".join(lines)
    return "no diagnostic"


def render() -> str:
    """The golden file."""
    parts = [
        "What the parser says about common mistakes: line and column, the marked characters,",
        "code and message; below it the hint.",
    ]
    for name, text in MISTAKES.items():
        shown = text if len(text) < 200 else f"{text[:60]}…\n"
        parts.append(f"\n## {name}\n\n```qvr\n{shown}```\n\n```\n{report(text)}\n```")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    GOLDEN.write_text(render(), encoding="utf-8")
