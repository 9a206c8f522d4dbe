"""What a word means: a name, a family, a word of the language, a function, or a message's code."""

from collections.abc import Iterable, Mapping, Sequence

from quivers_nb.check.builtins import BUILTINS, Builtin
from quivers_nb.check.describe import outline
from quivers_nb.check.term import DataSpec
from quivers_nb.diagnostics.catalogue import codes, page
from quivers_nb.display.parts import Part, Row, Stack, Table, Text, Tone
from quivers_nb.session.card import Card
from quivers_nb.session.known import Known
from quivers_nb.session.words import WORDS
from quivers_nb.spaces import support as on
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.family import Family
from quivers_nb.spaces.space import Object


def subjects(names: Iterable[Known]) -> tuple[str, ...]:
    """Every word that `explain` knows."""
    return (*(each.name for each in names), *FAMILIES, *WORDS, *BUILTINS, *codes())


def explain(word: str, names: Sequence[Known]) -> tuple[Card, ...]:
    """What ``word`` means; more than one card where it means several things, none if nothing."""
    cards = [_card(each.name, _known(each)) for each in names if word in (each.name, *each.members)]
    if word in FAMILIES:
        cards.append(_card(word, _family(FAMILIES[word])))
    if word in WORDS:
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
    sentence, example = WORDS[word]
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
