"""Fifty slips of the pen in the seed program, each with the place and the words to expect.

``line`` and ``words`` are the specification: where the first diagnostic must stand, and what its
message must mention whatever its wording (alternatives are separated by ``|``). The wording itself
is kept in ``seed_mutations.md`` so that a change of it is read by somebody. To write that file
again:

    python -m tests.golden.mutations
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quivers_nb.diagnostics.errors import LanguageError
from quivers_nb.dsl import loads
from tests.support.seed import MODULE

GOLDEN = Path(__file__).with_name("seed_mutations.md")
Lines = list[str]


@dataclass(frozen=True)
class Mutation:
    """One slip. ``at`` is the line (1-based) it is made in, ``line`` where it must be reported."""

    kind: str
    at: int
    edit: Callable[[Lines], Lines]
    shown: str
    line: int
    words: tuple[str, ...]

    def source(self) -> str:
        lines = MODULE.read_text(encoding="utf-8").splitlines()
        mutated = self.edit(lines)
        assert mutated != lines, self.shown
        return "\n".join(mutated) + "\n"


def replaced(
    kind: str, at: int, old: str, new: str, *words: str, line: int | None = None
) -> Mutation:
    """``old`` becomes ``new``, once, in line ``at``."""

    def edit(lines: Lines) -> Lines:
        assert old in lines[at - 1], (at, old)
        return [*lines[: at - 1], lines[at - 1].replace(old, new, 1), *lines[at:]]

    return Mutation(kind, at, edit, f"`{old}` → `{new}`", line or at, words)


def deleted(at: int, old: str, *words: str, line: int | None = None, new: str = "") -> Mutation:
    return replaced("deleted", at, old, new, *words, line=line)


def doubled(at: int, old: str, new: str, *words: str, line: int | None = None) -> Mutation:
    return replaced("doubled", at, old, new, *words, line=line)


def misspelled(at: int, old: str, new: str, *words: str, line: int | None = None) -> Mutation:
    return replaced("misspelled", at, old, new, *words, line=line)


def moved(at: int, to: int, *words: str, line: int) -> Mutation:
    """Line ``at`` is taken out and becomes line ``to`` of what is left."""

    def edit(lines: Lines) -> Lines:
        rest = [*lines[: at - 1], *lines[at:]]
        return [*rest[: to - 1], lines[at - 1], *rest[to - 1 :]]

    return Mutation("moved", at, edit, f"line {at} to line {to}", line, words)


def repeated(at: int, *words: str) -> Mutation:
    """Line ``at`` stands there twice."""

    def edit(lines: Lines) -> Lines:
        return [*lines[:at], *lines[at - 1 :]]

    return Mutation("doubled", at, edit, f"line {at} twice", at + 1, words)


MUTATIONS = (
    deleted(1, " :", ":"),
    deleted(2, " 32", "size|number|integer"),
    deleted(3, "object ", "declaration|object|line", new=""),
    deleted(7, " ->", "->"),
    deleted(7, "]", "]|bracket"),
    deleted(9, "role=", "role"),
    deleted(9, " ~", "~|Normal"),
    deleted(9, ",", ",|replicate"),
    deleted(10, " Latent [", "->|codomain|object|space", new=" ["),
    deleted(22, " Categorical", "family|~"),
    deleted(23, ")", ")|bracket"),
    deleted(23, " >>", "enc_attn_proj|>>"),
    deleted(25, "2", "stack|number|integer|copies"),
    deleted(27, "(", ")|bracket"),
    deleted(27, " cross", ">>"),
    deleted(28, "program ", "declaration|program"),
    deleted(28, " -> Target", "->", new=""),
    deleted(29, "sample ", "sample"),
    deleted(29, " <-", "<-"),
    deleted(30, "h)", "lm_head", new=")"),
    deleted(31, " next_token", "return"),
    deleted(31, "    return next_token", "return", line=28),
    doubled(1, "object", "object object", "object|:"),
    repeated(4, "HeadOut", "already"),
    doubled(7, ":", ": :", ":"),
    doubled(9, "role=kernel", "role=kernel, role=kernel", "role", "twice|already|repeated|once"),
    doubled(13, "->", "-> ->", "->"),
    doubled(23, ">>", ">> >>", ">>"),
    doubled(30, "observe", "observe observe", "observe|<-"),
    repeated(31, "return"),
    misspelled(1, "FinSet", "FinSt", "FinSt", "FinSet"),
    misspelled(3, "Real", "Reel", "Reel", "Real"),
    misspelled(7, "role", "rol", "rol", "role"),
    misspelled(7, "embed]", "embd]", "embd", "embed"),
    misspelled(9, "Normal", "Nrmal", "Nrmal", "Normal"),
    misspelled(9, "replicate", "replicat", "replicat", "replicate"),
    misspelled(9, "0.1", "small", "scale", "number"),
    misspelled(10, ": Latent", ": Latnt", "Latnt", "Latent"),
    misspelled(11, "morphism", "morphsim", "morphsim", "morphism"),
    misspelled(23, "enc_ff_up", "enc_ff_upp", "enc_ff_upp", "enc_ff_up"),
    misspelled(25, "stack", "stak", "stak|stack"),
    misspelled(29, "sample", "smaple", "smaple|sample"),
    misspelled(30, "lm_head", "lm_haed", "lm_haed", "lm_head"),
    misspelled(30, "(h)", "(hh)", "hh"),
    misspelled(32, "seq2seq", "seq2sec", "seq2sec", "seq2seq"),
    moved(3, 32, "Latent", line=6),
    moved(27, 25, "encoder", line=25),
    replaced("moved", 12, "Latent -> FFHidden", "FFHidden -> Latent", "16", "32", line=23),
    moved(30, 29, "h", line=29),
    replaced("moved", 9, ", scale=0.1]", "] scale=0.1", "scale|]|~"),
)


def report(mutation: Mutation) -> tuple[str, str, str, str]:
    """Code, ``line:column``, message and hint of the first diagnostic."""
    try:
        loads(mutation.source())
    except LanguageError as error:
        first = error.diagnostics[0]
        place = f"{error.line}:{error.column}"
        return first.code, place, first.message, first.hint or ""
    return "", "", "(accepted)", ""


def render() -> str:
    """The golden file: one row a mutation, in the order of the table."""
    head = (
        "# What a slip in the seed program is answered with\n\n"
        "Written by `python -m tests.golden.mutations`; read it line by line before keeping it.\n\n"
        "| # | slip | line | change | code | at | message | hint |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    rows = []
    for number, mutation in enumerate(MUTATIONS, 1):
        code, place, message, hint = report(mutation)
        cells = (str(number), mutation.kind, str(mutation.at), mutation.shown, code, place,
                 message, hint)  # fmt: skip
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return head + "".join(rows)


if __name__ == "__main__":
    GOLDEN.write_text(render(), encoding="utf-8")
