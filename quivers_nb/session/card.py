"""Cards: what a compiled cell, a module or a model looks like in a notebook.

A card is a sentence that stands alone and a drawing that adds to it: facts in words, and the
diagram. The drawing is made when the card is shown, from the typed term; if that fails, the card is
its sentence and a note, and the cell goes on: a notebook never dies of a picture.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from quivers_nb.check.describe import SiteLine, outline, signature, site_lines
from quivers_nb.check.term import Program, Term
from quivers_nb.diagnostics.errors import LanguageError
from quivers_nb.diagnostics.render import render
from quivers_nb.diagrams import Drawing, broken_places, diagram
from quivers_nb.display.html import mimebundle
from quivers_nb.display.parts import Fold, Part, Picture, Row, Stack, Table, Text, Tone
from quivers_nb.lower.model import Model
from quivers_nb.lower.module import Kernel, Module
from quivers_nb.session.cell import CellResult, Exported, Made, exports
from quivers_nb.session.namespace import Refusal

NAMED = 4  # weights named in a line
SHOWN = (Module, Model, Kernel)  # what `card` knows how to draw


@dataclass(frozen=True, slots=True)
class Card:
    """A sentence, and how to draw the rest. ``draw`` gives the whole card, sentence included.

    ``picture`` gives the diagram of what the card is of, if that is one thing.
    """

    sentence: str
    draw: Callable[[], Part]
    picture: Callable[[], Drawing] | None = None

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        del include, exclude  # IPython selects for itself from what it is given
        try:
            bundle = mimebundle(self.draw())
        except Exception as error:  # noqa: BLE001  (no fault of a picture may fail the cell)
            note = f"(the rest could not be drawn: {type(error).__name__}: {error})"
            return {"text/plain": f"{self.sentence}\n{note}"}
        return bundle | self._svg()

    def _svg(self) -> dict[str, str]:
        """The diagram alone, for front ends that take no HTML; nothing if it cannot be drawn."""
        try:
            return {} if self.picture is None else {"image/svg+xml": self.picture().svg}
        except Exception:  # noqa: BLE001  (`draw` has put a note in its place)
            return {}

    def __repr__(self) -> str:
        return self.sentence


def card(value: Made) -> Card:
    """The card of a module, a program or a morphism."""
    if not isinstance(value, Module):
        own = _picture(value)
        return Card(_sentence(value), lambda: _whole(value, own), own)
    count = _count(len(value.exports), "export")
    sentence = f"A module with {count}{_list(value.exports)}."
    picture = _only_picture(value)
    return Card(sentence, lambda: _stack([_line(sentence), *_exports(value, picture)]), picture)


def cell_card(result: CellResult, refused: Sequence[Refusal] = ()) -> Card:
    """The card of a cell that was just run; ``refused`` names could not be bound."""
    left_alone = {refusal.name for refusal in refused}
    bound = [name for name in result.names if name not in left_alone]
    unbound = "; nothing was put into your variables" if refused and not bound else ""
    sentence = f"{_outcome(result)}{_list(bound, ': ')}{unbound}."
    picture = _only_picture(result.module)

    def draw() -> Part:
        parts: list[Part] = [_line(sentence)]
        if result.warnings:
            parts.append(render(result.warnings, result.module.checked.source))
        parts.extend(_changes(result))
        parts.extend(_refusal(refusal, result, left_alone) for refusal in refused)
        if result.name in result.module.exports:
            parts.append(_note(f"`{result.name}` is also an export: it is that, not the module."))
        parts.extend(_exports(result.module, picture))
        if not result.module.exports:
            parts.append(_line("Other cells may use what it declares.", Tone.QUIET))
        return _stack(parts)

    return Card(sentence, draw, picture)


def error_card(error: LanguageError) -> Card | None:
    """The places of a refused cell where two types do not meet, drawn; None if there are none."""
    try:
        places = broken_places(error)
    except Exception:  # noqa: BLE001  (the message says it all; it is shown below)
        return None
    if not places:
        return None
    sentence = f"Where the types do not meet: {places[0][0].message}."

    def draw() -> Part:
        parts: list[Part] = []
        for finding, drawing in places:
            words = f"Where the types do not meet: {finding.message}."
            parts += [_line(words), Picture(drawing.html, drawing.outline)]
        return _stack(parts)

    return Card(sentence, draw, lambda: places[0][1])


def list_card(objects: Mapping[str, Made]) -> Card:
    """The card of what cells have made so far, by name."""
    if not objects:
        sentence = "No QVR cell has made anything yet: begin a cell with %%qvr."
        return Card(sentence, lambda: _line(sentence))
    sentence = f"{_count(len(objects), 'object')} made by QVR cells{_list(objects, ': ')}."

    def draw() -> Part:
        rows = [(Text(name, Tone.NAME), Text(_brief(value))) for name, value in objects.items()]
        return _stack([_line(sentence), Table(tuple(rows))])

    return Card(sentence, draw)


# --- one object -----------------------------------------------------------------------------------


def _picture(value: Exported) -> Callable[[], Drawing]:
    """The diagram of a program or morphism, made once when it is first asked for."""
    return cache(lambda: diagram(value, value.name))


def _only_picture(module: Module) -> Callable[[], Drawing] | None:
    values = list(exports(module).values())
    return _picture(values[0]) if len(values) == 1 else None


def _drawn(picture: Callable[[], Drawing]) -> Part:
    """The picture, or a note where it cannot be drawn. The outline is its text."""
    try:
        return Picture(picture().html)
    except Exception as error:  # noqa: BLE001  (no fault of a picture may cost the facts beside it)
        return _note(f"the diagram could not be drawn ({type(error).__name__}: {error}).")


def _whole(value: Exported, picture: Callable[[], Drawing] | None) -> Part:
    """A program or morphism in full."""
    return _stack([_line(_brief(value), Tone.STRONG), _body(value, picture)])


def _body(value: Exported, picture: Callable[[], Drawing] | None = None) -> Part:
    """What there is to say of it beyond its signature."""
    parts: list[Part] = []
    if isinstance(value, Model):
        parts.extend(_program(value.program))
        if value.inner_observed:
            inside = ", ".join(sorted(value.inner_observed))
            parts.append(_line(f"observed inside, given by path: {inside}", Tone.QUIET))
    parts.append(_line(_weights(value), Tone.QUIET))
    parts.append(_drawn(picture or _picture(value)))
    parts.append(Fold("outline", Text(outline(_term(value)))))
    return _stack(parts)


def _exports(module: Module, picture: Callable[[], Drawing] | None) -> list[Part]:
    """One export in full, several folded."""
    values = list(exports(module).values())
    if not values:
        return [_line("Nothing is exported: add a line `export NAME`.", Tone.QUIET)]
    if len(values) == 1:
        return [_whole(values[0], picture)]
    return [Fold(_brief(value), _body(value)) for value in values]


def _program(program: Program) -> list[Part]:
    sites = site_lines(program)
    parts: list[Part] = []
    if sites:
        head = ("step", "site", "distribution", "shape", "values")
        rows = tuple(_site(site, reads_input=program.reads_input) for site in sites)
        parts.append(Table(rows, head))
    if program.host_names:
        parts.append(_line(f"needs data: {', '.join(program.host_names)}", Tone.QUIET))
    if not program.reads_input:
        parts.append(_line("never reads its input: run it with x=None", Tone.QUIET))
    return parts


def _site(site: SiteLine, *, reads_input: bool) -> tuple[Text, ...]:
    """``reads_input`` false: there are no rows, so a value is one for all data (R1)."""
    sharing = site.sharing if reads_input else "" if site.observed else "shared"
    return (
        Text("observe" if site.observed else "sample", Tone.TYPE),
        Text(site.name, Tone.NAME),
        Text(site.distribution),
        Text(site.shape),
        Text(sharing, Tone.QUIET),
    )


def _term(value: Exported) -> Program | Term:
    return value.program if isinstance(value, Model) else value.term


def _weights(value: Exported) -> str:
    return _count(sum(p.numel() for p in value.parameters()), "parameter")


# --- words ----------------------------------------------------------------------------------------


def _outcome(result: CellResult) -> str:
    if result.unchanged:
        return f"Unchanged since {result.label}, the same objects as before"
    return f"Compiled in {_time(result.seconds)}"


def _sentence(value: Exported) -> str:
    kind = "program" if isinstance(value, Model) else "morphism"
    return f"The {kind} {_brief(value)}, with {_weights(value)}."


def _brief(value: Made) -> str:
    if isinstance(value, Module):
        return f"module{_list(value.exports, ' exporting ')}"
    return signature(_term(value), value.name)


def _changes(result: CellResult) -> list[Part]:
    """What became of other cells and of weights that were there before."""
    lines = [
        f"{other.label} depends on it and was compiled anew{_list(other.names)}"
        for other in result.rebuilt
    ]
    lines += [f"{each.label} no longer declares what is anew here" for each in result.shortened]
    if result.kept:
        lines.append(f"weights kept: {_some(result.kept)}")
    if result.reset:
        lines.append(f"weights reset, their shape has changed: {_some(result.reset)}")
    return [_line(line, Tone.QUIET) for line in lines]


def _some(paths: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = len(paths) - NAMED
    return ", ".join(paths[:NAMED]) + (f" and {_figure(more)} more" if more > 0 else "")


def _refusal(refusal: Refusal, result: CellResult, refused: Container[str]) -> Part:
    """Why a name still means what it did, and how to reach the object all the same."""
    reached = f"exports[{refusal.name!r}]"
    if refusal.name == result.name and refusal.name not in result.module.exports:
        how = "give the module another name"
    elif result.name is None or result.name in refused or result.name in result.module.exports:
        bind = f"bind it, `let h = {refusal.name}`, and export that"
        other = bind if refusal.unnamed else "rename it here"
        how = f"{other}, or begin with `%%qvr NAME` and take NAME.{reached}"
    else:
        how = f"it is {result.name}.{reached}"
    return _note(f"`{refusal.name}` {refusal.reason} and was left alone: {how}.")


def _note(words: str) -> Row:
    return Row((Text("note: ", Tone.WARNING), Text(words)))


def _line(sentence: str, tone: Tone = Tone.PLAIN) -> Row:
    return Row((Text(sentence, tone),))


def _stack(parts: Sequence[Part]) -> Stack:
    return Stack(tuple(parts))


def _list(names: Mapping[str, object] | Sequence[str], before: str = ": ") -> str:
    return f"{before}{', '.join(names)}" if names else ""


def _count(number: int, noun: str) -> str:
    return f"{_figure(number)} {noun}{'' if number == 1 else 's'}"


def _figure(number: int) -> str:
    return f"{number:,}".replace(",", " ")  # thousands apart


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
