"""The review sheet: sixteen diagrams, down and to the right, on light ground and on dark.

``python -m quivers_nb.diagrams.sheet [FILE]`` writes one page of HTML; look at it after every
change of the layout. It is a golden file of the tests.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from quivers_nb.check import check_source
from quivers_nb.diagrams.assemble import assemble
from quivers_nb.diagrams.build import build
from quivers_nb.diagrams.fold import elided
from quivers_nb.diagrams.graph import Diagram, GroupKind, WireType
from quivers_nb.diagrams.layout import layout
from quivers_nb.diagrams.outline import outline
from quivers_nb.diagrams.pieces import (
    Block,
    Piece,
    Wires,
    beside,
    box,
    cap,
    chain,
    contraction,
    copies,
    copy,
    cup,
    dagger,
    discard,
    merge,
    swap,
)
from quivers_nb.diagrams.sizes import Look
from quivers_nb.diagrams.svg import svg
from quivers_nb.diagrams.theme import css

A, B = WireType("A", "ℝ2", 2), WireType("B", "Fin 5", 1)
DUAL = WireType("A*", "ℝ2", 2)
C, S = WireType("C", "ℝ32", 3), WireType("S", "ℝ4", 2)

TOWERS = """\
object Source : FinSet 32
object Target : FinSet 32
object Latent : Real 16
object HeadOut : Real 4
object FFHidden : Real 32
object Combined : Real 32
morphism src_embed : Source -> Latent [role=embed]
morphism tgt_embed : Target -> Latent [role=embed]
morphism head : Latent -> HeadOut [role=kernel, replicate=4] ~ Normal
morphism proj : Latent -> Latent [role=kernel] ~ Normal
morphism up : Latent -> FFHidden [role=kernel] ~ Normal
morphism down : FFHidden -> Latent [role=kernel] ~ Normal
morphism cross : Combined -> Combined [role=kernel] ~ Normal
morphism lm_head : Combined -> Target [role=kernel] ~ Categorical
let block = fan(head) >> proj >> up >> down
let encoder = src_embed >> stack(block, 3)
let decoder = tgt_embed >> repeat(block, 2)
let backbone = (encoder @ decoder) >> cross
program seq2seq : Source * Target -> Target
    sample h <- backbone
    observe next_token : Target <- lm_head(h)
    return next_token
export seq2seq
"""

RECURRENT = """\
object Token : FinSet 50
object X : Real 8
object H : Real 16
object Y : FinSet 4
morphism embed_token : Token -> X [role=embed]
morphism cell : X * H -> H [role=kernel] ~ Normal
morphism inner : X * H -> H [role=kernel] ~ Normal
morphism read : H -> Y [role=kernel] ~ Categorical
let tagger = embed_token >> scan(cell, init=learned) >> read
export tagger
"""

SCHOOLS = """\
object School : FinSet 8
data sigma : School -> Real 1
program eight_schools : School -> School
    sample mu <- Normal(0.0, 5.0)
    sample tau <- HalfCauchy(5.0)
    sample theta : School <- Normal(mu, tau)
    observe y : School <- Normal(theta, sigma)
    return theta
export eight_schools
"""

ITEMS = """\
object Subject : FinSet 30
object Item : FinSet 20
program two_way : Subject -> Subject
    sample mu <- Normal(0.0, 1.0)
    sample theta : Subject <- Normal(mu, 1.0)
    sample beta : Item <- Normal(0.0, 1.0)
    let eta = factor s : Subject, i : Item in theta[s] - beta[i]
    observe y : Subject * Item <- BernoulliLogit(eta)
    return theta
export two_way
"""


def _from_source(text: str, name: str) -> Diagram:
    return build(dict(check_source(text).morphisms)[name], name)


def _loop(body: Piece, feedback: int, label: str = "scan") -> Block:
    return Block("scan", GroupKind.SCAN, label, body, feedback)


def _pieces() -> tuple[tuple[str, Piece], ...]:
    f, g = box("f", [A], [B]), box("g", [B], [A])
    wide = box("lik", [S, A], [C])
    cell = box("cell", [A, S], [B, S])
    lstm = box("lstm", [A, S, C], [B, S, C])
    inner = _loop(chain(box("slow", [B, C], [C]), copies((C,), 2)), 1, "slow scan")
    nested = chain(cell, beside(Wires((B,)), Wires((S,))))
    snake = chain(beside(Wires((A,)), cap(DUAL)), beside(cup(A), Wires((A,))))
    two = beside(box("u", [A], [A]), box("v", [A], [A]), discard(A))
    spiders = chain(copy(A, 3), beside(swap(A, A), Wires((A,))), two, merge(A, 2, 1))
    return (
        ("identity and chain", chain(beside(chain(f, g), Wires((C,))), beside(f, discard(C)))),
        ("swap", chain(beside(f, g), swap(B, A), beside(box("h", [A], [C]), box("k", [B], [C])))),
        ("copy, spider, discard", spiders),
        ("states and effects", _states(wide)),
        ("several outputs", _mesh()),
        ("contraction", _contraction()),
        ("dagger", chain(f, g, dagger(chain(f, g)))),
        ("snake", snake),
        ("scan", chain(box("emb", [C], [A]), _loop(cell, 1), box("head", [B], [C]))),
        ("scan with two states", _loop(chain(lstm), 2, "scan · two states")),
        ("nested scan", _loop(chain(nested, beside(inner, Wires((S,)))), 1, "outer scan")),
    )


def _states(wide: Piece) -> Piece:
    prior = box("prior", [], [S], "latent")
    noise = box("noise", [], [A], "latent")
    score = box("score", [C], [], "observed")
    both = chain(beside(prior, Wires((A,))), wide, copy(C, 2), beside(Wires((C,)), score))
    return beside(both, chain(noise, box("t", [A], [B])))


def _mesh() -> Piece:
    split = box("split", [A], [A, B, S])
    left, right = box("u", [A], [A]), box("v", [B, S], [C])
    return chain(split, beside(left, right), beside(Wires((A,)), box("w", [C], [C])))


def _contraction() -> Piece:
    legs = beside(*(box(name, [wire], [wire]) for name, wire in (("p", A), ("q", B), ("r", S))))
    return chain(legs, contraction("attend", [A, B, S], [C, A]), beside(discard(C), Wires((A,))))


def terms() -> tuple[tuple[str, Diagram], ...]:
    """The sixteen diagrams with their names."""
    steps = [box(f"step{i}", [A], [A]) for i in range(1, 6)]
    named = Block("let", GroupKind.LET, "a rather long name of a group", chain(*steps[:2]))
    return (
        *((name, assemble(piece, name)) for name, piece in _pieces()),
        ("a long title", assemble(chain(named, *steps[2:4]), "a long title")),
        ("two towers", _from_source(TOWERS, "backbone")),
        ("tagger", _from_source(RECURRENT, "tagger")),
        ("eight schools", _from_source(SCHOOLS, "eight_schools")),
        ("overlapping plates", _from_source(ITEMS, "two_way")),
    )


def page() -> str:
    """The sheet as one page."""
    cells = [_row(name, diagram) for name, diagram in terms()]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Diagrams</title>',
            f"<style>{css()}{_PAGE}</style></head><body><h1>Diagrams</h1>",
            *cells,
            "</body></html>",
            "",
        ]
    )


_PAGE = (
    "body{font:13px Arial,sans-serif;margin:16px}section{margin-bottom:20px}"
    "h2{font-size:13px}section>div{display:inline-block;vertical-align:top;padding:8px}"
    ".dark{background:#14181d}pre{font-size:11px}"
)


def _row(name: str, diagram: Diagram) -> str:
    pictures: list[str] = []
    for dark in (False, True):
        for down in (True, False):
            geometry = layout(diagram, Look(down, elided(diagram)))
            mark = f"-{len(pictures)}"
            picture = svg(geometry, name, dark=dark, style=False, mark=mark)
            pictures.append(f'<div class="{"dark" if dark else "light"}">{picture}</div>')
    text = f"<pre>{outline(diagram)}</pre>"
    return f"<section><h2>{name}</h2>{''.join(pictures)}{text}</section>"


def main(arguments: Sequence[str]) -> None:
    """Write the sheet to a file, or to the standard output."""
    if arguments:
        Path(arguments[0]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main(sys.argv[1:])
