"""What may stand at a place of an unfinished cell: words, names, families, options. No torch.

The place is read from the line alone, by a table of patterns; names come from the workspace and
from what stands above the line in the cell itself. After ``f >>`` the morphisms that compose with
``f`` come first.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from quivers_nb.check import check_source
from quivers_nb.check.builtins import BUILTINS
from quivers_nb.check.expect import events_meet
from quivers_nb.check.morphisms import COMMON, ROLE_OPTIONS, ROLES
from quivers_nb.check.term import Role, SourceKind
from quivers_nb.diagnostics.errors import LanguageError, QuiversError
from quivers_nb.session.given import Given
from quivers_nb.session.known import Known, known
from quivers_nb.session.workspace import Workspace, read_cell
from quivers_nb.spaces.families import FAMILIES
from quivers_nb.spaces.space import Object
from quivers_nb.syntax.layout import DECLARATIONS, STEPS
from quivers_nb.syntax.machine import SPACES

EXPRESSIONS = (Role.OBSERVED.value, Role.LET.value)  # roles that an expression initializes
COMBINATORS = ("fan", "repeat", "stack", "scan", "identity")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A word that may stand here. ``kind``: what it is, for the menu."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cursor stands: the line up to the word that it is in, and the names in reach."""

    line: str
    above: str  # the cell's text above the line
    names: tuple[Known, ...]
    space: Workspace


def complete(
    above: str, line: str, names: Sequence[Known], space: Workspace
) -> tuple[str, list[Suggestion]]:
    """The begun word at the end of ``line``, and what it may become, the likeliest first.

    ``above`` is the cell's text before that line; ``names`` and ``space`` are `in_reach` of it.
    """
    begun = _BEGUN.search(line)
    word = begun.group() if begun else ""
    place = Place(line[: len(line) - len(word)], above, tuple(names), space)
    if "#" in place.line and not place.line.lstrip().startswith("#["):
        return word, []
    offers = next(offer for pattern, offer in PLACES if pattern.search(place.line))(place)
    found = dict.fromkeys(each for each in offers if each.text.startswith(word))
    return word, [each for each in found if each.text != word]


# --- the places, from the particular to the general -----------------------------------------------


def _declarations(_: Place) -> Iterator[Suggestion]:
    return _words(DECLARATIONS, "keyword")


def _steps(_: Place) -> Iterator[Suggestion]:
    return _words(STEPS, "keyword")


def _roles(_: Place) -> Iterator[Suggestion]:
    return (Suggestion(role, "role") for role in ROLES)


def _sources(_: Place) -> Iterator[Suggestion]:
    return (Suggestion(kind.value, "parameter source") for kind in SourceKind)


def _options(place: Place) -> Iterator[Suggestion]:
    """The options of a morphism with the role on the line, those that are not written yet."""
    role = _ROLE.search(place.line)
    keys = list(COMMON)
    if role is not None and role[1] in ROLES:
        keys.extend(ROLE_OPTIONS[Role(role[1])])
    elif role is None:
        keys.extend(key for options in ROLE_OPTIONS.values() for key in options)
    written = set(re.findall(r"(\w+)\s*=", place.line))
    return (Suggestion(f"{key}=", "option") for key in keys if key not in written)


def _objects(place: Place) -> Iterator[Suggestion]:
    for each in place.names:
        if each.word == "object":
            yield Suggestion(each.name, f"object {each.type}")
    yield from _words(SPACES | {"FinSet"}, "space")


def _draws(place: Place) -> Iterator[Suggestion]:
    """What may stand after ``~`` or ``<-``: families, in a program morphisms, or an expression."""
    role = _ROLE.search(place.line)
    if _TILDE.search(place.line) and role is not None and role[1] in EXPRESSIONS:
        yield Suggestion("from_data", "a table that the host gives")
        yield from _morphisms(place)
        return
    if not _TILDE.search(place.line):
        yield from _morphisms(place)
    for name, family in FAMILIES.items():
        parameters = ", ".join(parameter.name for parameter in family.parameters)
        yield Suggestion(name, f"family ({parameters})")


def _after(place: Place) -> Iterator[Suggestion]:
    """After ``f >>``: first what takes the output of ``f``, then the rest."""
    offers = [each for each in place.names if each.is_morphism]
    cod = _codomain(_operand(place.line.rstrip()[:-2]), place)
    if cod is not None:
        offers.sort(key=lambda each: each.dom is None or not events_meet(cod, each.dom))
    return _named(offers)


def _morphisms(place: Place) -> Iterator[Suggestion]:
    yield from _named([each for each in place.names if each.is_morphism])
    yield from _words(frozenset(COMBINATORS), "keyword")


def _values(place: Place) -> Iterator[Suggestion]:
    """In an argument or a let of a program: what steps above have bound, and data."""
    program = (
        ("\n" + place.above).rpartition("\nprogram ")[2]
        if place.line.startswith((" ", "\t"))
        else ""
    )
    for names in _BOUND.findall(program):
        for name in re.findall(r"\w+", names):
            yield Suggestion(name, "variable")
    for each in place.names:
        if each.word == "data":
            yield Suggestion(each.name, f"data {each.type}")
    if _COMPUTES.match(place.line):
        for name, row in BUILTINS.items():
            yield Suggestion(name, f"function of {row.arity}")
    yield from _morphisms(place)


_BEGUN = re.compile(r"[^\W\d]\w*\Z")
_ROLE = re.compile(r"\brole\s*=\s*(\w+)")
_TILDE = re.compile(r"\s*morphism\b.*~\s*\Z")
_BEGINS = re.compile(r"=|<-|~|\bexport\b|,|[()\[\]]")  # what an expression may begin after
_COMPUTES = re.compile(r"\s+(let|score)\b")
_RETURN = re.compile(r"^\s+return\b", re.MULTILINE)
_BOUND = re.compile(r"^\s+(?:sample|let|observe|marginalize)\s+([\w, ]+)", re.MULTILINE)

PLACES: tuple[tuple[re.Pattern[str], Callable[[Place], Iterator[Suggestion]]], ...] = tuple(
    (re.compile(pattern), offer)
    for pattern, offer in (
        (r"\A\Z", _declarations),
        (r"\A\s+\Z", _steps),
        (r"\[[^\]]*\brole\s*=\s*\Z", _roles),
        (r"\[[^\]]*\bparam_source\s*=\s*\Z", _sources),
        (r"\A\s*morphism\b[^\[]*\[([^\]]*,)?\s*\Z", _options),
        (r">>\s*\Z", _after),
        (r"(<-|~)\s*\Z", _draws),
        (r"\A\s*(object|morphism|program|data)\b[^\[~]*(:|->|\*)\s*\Z", _objects),
        (r"\A\s+\w+\s+[\w, ]+:\s*\Z", _objects),  # the plate of a step
        (r"\A\s*((let|score)\b.*=|export\b)[^<]*\Z", _values),
        (r"[(,]\s*\Z", _values),
        (r"\A\s+return\b", _values),
        (r"", lambda _: iter(())),
    )
)


def _words(words: frozenset[str], kind: str) -> Iterator[Suggestion]:
    return (Suggestion(word, kind) for word in sorted(words))


def _named(names: Sequence[Known]) -> Iterator[Suggestion]:
    for each in names:
        for name in each.members or (each.name,):
            yield Suggestion(name, f"{each.word} {each.type}")


def _operand(line: str) -> str:
    """The expression at the end of a line: back to where one may begin, brackets being whole."""
    depth, start = 0, 0
    for mark in reversed(list(_BEGINS.finditer(line))):
        depth += (mark[0] in ")]") - (mark[0] in "([")
        if depth < 0 or (depth == 0 and mark[0] not in ")][("):
            start = mark.end()
            break
    return line[start:].strip()


# --- names in reach -------------------------------------------------------------------------------


def _codomain(left: str, place: Place) -> Object | None:
    """The codomain of the expression to the left of ``>>``, if it has one."""
    for each in place.names:
        if left in (each.name, *each.members):
            return each.cod
    try:
        cell = read_cell(f"export {left}\n", "completion")
        space = Workspace((*place.space.cells, cell))
        return check_source(space.source(cell)).exports[-1].value.cod
    except LanguageError:
        return None


def in_reach(
    above: str, names: Sequence[Known], space: Workspace, given: Given | None = None
) -> tuple[tuple[Known, ...], Workspace]:
    """The names and the workspace with what an unfinished cell declares above a line.

    As they were, if the cell is not right so far.
    """
    try:
        cell = read_cell(_finished(above), "this cell")
        after = space.add(cell)
        source = after.source(cell)
        tables = {} if given is None else given.tables(source.text)
        own = known([(cell, check_source(source, tables=tables))])
    except QuiversError:
        return tuple(names), space
    hidden = {each.name for each in own}
    return (*own, *(each for each in names if each.name not in hidden)), after


def _finished(above: str) -> str:
    """Without a program at the end that does not return yet."""
    before, program, last = ("\n" + above).rpartition("\nprogram ")
    return before if program and not _RETURN.search(last) else above
