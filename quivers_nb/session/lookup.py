"""What a word means: a name of the workspace, a family, a keyword, or the code of a message."""

from collections.abc import Iterable, Mapping, Sequence

from quivers_nb.check.builtins import BUILTINS, Builtin
from quivers_nb.check.describe import outline
from quivers_nb.check.term import DataSpec
from quivers_nb.diagnostics.catalogue import codes, page
from quivers_nb.display.parts import Part, Row, Stack, Table, Text, Tone
from quivers_nb.session.card import Card
from quivers_nb.session.known import Known
from quivers_nb.spaces import support as on
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import Object

KEYWORDS: Mapping[str, tuple[str, str]] = {
    "object": ("names a finite set or a space", "object Latent : Real 16"),
    "morphism": (
        "declares a map between objects; its role says how, and learned weights belong to it",
        "morphism f : A -> B [role=kernel] ~ Normal",
    ),
    "let": (
        "names a morphism expression, or in a program a value computed from others",
        "let h = f >> g",
    ),
    "program": (
        "declares a probabilistic program: steps that draw, observe and compute, and a return",
        "program p : A -> B\n    sample b <- f\n    return b",
    ),
    "data": (
        "declares values that the host passes in, with their axes and their kind",
        "data age : Person -> Real 1",
    ),
    "export": ("makes a program or a morphism an object of the host", "export p"),
    "sample": (
        "draws a value; after a colon, one per element of an object",
        "sample level : Site <- Normal(0.0, 1.0)",
    ),
    "observe": (
        "says that a value which will be given was drawn so",
        "observe y : Obs <- Normal(mu, 1.0)",
    ),
    "marginalize": (
        "sums a finite value out of its block; after a colon, one per element of an object",
        "marginalize z : Obs <- Categorical(w)\n    observe y : Obs <- Normal(mu[z], 1.0)",
    ),
    "score": ("adds a number to the log density", "score penalty = -1.0 * w * w"),
    "return": ("says what a run of the program gives", "return mu"),
    "fan": ("runs morphisms on one input and puts their outputs side by side", "fan(f, g)"),
    "repeat": ("runs one morphism several times, always with the same weights", "repeat(f, 3)"),
    "stack": ("runs copies of a morphism in a row, each with weights of its own", "stack(f, 3)"),
    "scan": ("runs a cell along a sequence and hands its state on", "scan(cell, init=learned)"),
    "identity": ("hands its input on", "identity(A)"),
    ">>": ("runs the left morphism, then the right one on its output", "f >> g"),
    "@": ("runs two morphisms side by side on a pair", "f @ g"),
}


def subjects(names: Iterable[Known]) -> tuple[str, ...]:
    """Every word that `explain` knows."""
    return (*(each.name for each in names), *FAMILIES, *KEYWORDS, *BUILTINS, *codes())


def explain(word: str, names: Sequence[Known]) -> tuple[Card, ...]:
    """What ``word`` means; more than one card where it means several things, none if nothing."""
    cards = [_card(each.name, _known(each)) for each in names if word in (each.name, *each.members)]
    if word in FAMILIES:
        cards.append(_card(word, _family(FAMILIES[word])))
    if word in KEYWORDS:
        cards.append(_card(word, _keyword(word)))
    if word in BUILTINS:
        cards.append(_card(word, _builtin(BUILTINS[word])))
    if word in codes():
        cards.append(_card(word, _code(word)))
    return tuple(cards)


def listing(names: Sequence[Known]) -> Card:
    """The names of a workspace as a table."""
    if not names:
        sentence = "No QVR cell has declared anything yet: begin a cell with %%qvr."
        return Card(sentence, lambda: Text(sentence))
    count = f"{len(names)} name{'' if len(names) == 1 else 's'} declared by QVR cells."
    rows = tuple(
        (
            Text(each.name, Tone.NAME),
            Text(_word(each)),
            Text(each.type, Tone.TYPE),
            Text(each.label),
        )
        for each in names
    )
    table = Table(rows, ("name", "kind", "type", "cell"))
    return Card(count, lambda: Stack((Text(count), table)))


def _card(word: str, parts: Sequence[Part]) -> Card:
    return Card(word, lambda: Stack(tuple(parts)))


def _word(each: Known) -> str:
    return f"{len(each.members)} {each.word}s" if each.members else each.word


def _known(each: Known) -> list[Part]:
    head = f"{each.word} {each.name} : {each.type}"
    parts: list[Part] = [Text(head, Tone.STRONG), Text(f"declared in {each.label}", Tone.QUIET)]
    if each.members:
        parts.append(Text(f"a group: {', '.join(each.members)}"))
    elif not isinstance(each.value, Object | DataSpec):
        parts.append(Text(outline(each.value)))
    return parts


def _family(family: Family) -> list[Part]:
    names = ", ".join(parameter.name for parameter in family.parameters)
    parts: list[Part] = [
        Text(f"{family.name}({names})", Tone.STRONG),
        Text(f"{family.summary[0].upper()}{family.summary[1:]}."),
    ]
    kinds = ("number", "vector", "matrix")
    rows = [
        (Text(p.name, Tone.NAME), Text(kinds[p.rank]), Text(support_text(p.support)))
        for p in family.parameters
    ]
    values = (Text("values", Tone.QUIET), Text(kinds[family.event_rank]))
    rows.append((*values, Text(support_text(family.support))))
    parts.append(Table(tuple(rows)))
    if family.settings:
        settings = ", ".join(f"{key}={default}" for key, default in family.settings)
        parts.append(Text(f"options with their defaults: {settings}", Tone.QUIET))
    forms = [
        ("in a step", family.inline),
        (
            "as a kernel, morphism f : A -> B [role=kernel] ~ " + family.name,
            family.kernel is not None,
        ),
    ]
    parts.append(Text("; ".join(words for words, holds in forms if holds), Tone.QUIET))
    return parts


def _keyword(word: str) -> list[Part]:
    sentence, example = KEYWORDS[word]
    head = Row((Text(word, Tone.STRONG), Text(f" {sentence}")))
    return [head, *(Text("    " + line) for line in example.splitlines())]


def _builtin(row: Builtin) -> list[Part]:
    """A function of lets: how many arguments it takes, and what it does to axes."""
    head = Row((Text(row.name, Tone.STRONG), Text(f" takes {row.arity} and {row.action.value}")))
    return [head, Text("a function of lets: let v = " + row.name + "(…)", Tone.QUIET)]


def _code(code: str) -> list[Part]:
    about = page(code)
    return [
        Text(f"{code}: {about.title}", Tone.STRONG),
        Text(about.why),
        Text("fails:", Tone.QUIET),
        Text(about.failing.rstrip()),
        Text("works:", Tone.QUIET),
        Text(about.working.rstrip()),
    ]


def support_text(support: on.Support) -> str:
    """Where values lie, in words."""
    match support:
        case on.Above(low):
            return f"above {low}"
        case on.Below(high):
            return f"below {high}"
        case on.Between(low, high):
            return f"between {low} and {high}"
        case on.Counts():
            return _counts(support)
        case _:
            return _WORDS[type(support)]


_WORDS: Mapping[type, str] = {
    on.RealLine: "any number",
    on.SimplexSupport: "positive, summing to one",
    on.CorrelationCholesky: "the Cholesky factor of a correlation matrix",
    on.PositiveDefinite: "a positive definite matrix",
    on.LowerCholesky: "a lower triangular matrix with a positive diagonal",
    on.Increasing: "in increasing order",
    on.OneHot: "one entry one, the others zero",
}


def _counts(support: on.Counts) -> str:
    if support.labels:
        return "an index"
    return f"whole numbers from {support.low}" + (
        "" if support.high is None else f" to {support.high}"
    )
