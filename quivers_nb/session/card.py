"""Cards: what a compiled cell, a module or a model looks like in a notebook.

A card is a sentence that stands alone and a drawing that adds to it. The drawing is made when the
card is shown, from the typed term; if that fails, the card is its sentence and a note, and the cell
goes on: a notebook never dies of a picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from quivers_nb.check.describe import SiteLine, outline, signature, site_lines
from quivers_nb.check.term import Program, Term
from quivers_nb.diagnostics.render import render
from quivers_nb.display.html import mimebundle
from quivers_nb.display.parts import Fold, Part, Row, Stack, Table, Text, Tone
from quivers_nb.lower.model import Model
from quivers_nb.lower.module import Kernel, Module
from quivers_nb.session.cell import CellResult
from quivers_nb.session.namespace import Refusal

SHOWN = (Module, Model, Kernel)  # what `card` knows how to draw


@dataclass(frozen=True, slots=True)
class Card:
    """A sentence, and how to draw the rest. ``draw`` gives the whole card, sentence included."""

    sentence: str
    draw: Callable[[], Part]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        del include, exclude  # IPython selects for itself from what it is given
        try:
            return mimebundle(self.draw())
        except Exception as error:  # noqa: BLE001  (no fault of a picture may fail the cell)
            note = f"(the rest could not be drawn: {type(error).__name__}: {error})"
            return {"text/plain": f"{self.sentence}\n{note}"}

    def __repr__(self) -> str:
        return self.sentence


def card(value: Module | Model | Kernel) -> Card:
    """The card of a module, a program or a morphism."""
    if not isinstance(value, Module):
        return Card(_sentence(value), lambda: _whole(value))
    count = len(value.exports)
    sentence = f"A module with {_count(count, 'export')}{_list(value.exports)}."
    return Card(sentence, lambda: _stack([_line(sentence), *_exports(value.exports)]))


def cell_card(result: CellResult, refused: Sequence[Refusal] = ()) -> Card:
    """The card of a cell that was just run; ``refused`` names could not be bound."""
    exports = result.module.exports
    bound = [name for name in result.names if name not in {refusal.name for refusal in refused}]
    sentence = f"{_outcome(result)}{_list(bound, ': ')}."

    def draw() -> Part:
        parts: list[Part] = [_line(sentence)]
        if result.warnings:
            parts.append(render(result.warnings, result.module.checked.source))
        parts.extend(_refusal(refusal, result) for refusal in refused)
        parts.extend(_exports(exports))
        return _stack(parts)

    return Card(sentence, draw)


def list_card(objects: Mapping[str, object]) -> Card:
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


def _whole(value: Model | Kernel) -> Part:
    """A program or morphism in full."""
    head = Row((Text(signature(_term(value), value.name), Tone.STRONG),))
    parts: list[Part] = [head]
    if isinstance(value, Model):
        parts.extend(_program(value.program))
    parts.append(_line(_weights(value), Tone.QUIET))
    parts.append(Fold("outline", Text(outline(_term(value)))))
    return _stack(parts)


def _exports(exports: Mapping[str, Model | Kernel]) -> list[Part]:
    """One export in full, several folded."""
    if not exports:
        return [_line("Nothing is exported: add a line `export NAME`.", Tone.QUIET)]
    if len(exports) == 1:
        return [_whole(*exports.values())]
    return [_fold(value) for value in exports.values()]


def _fold(value: Model | Kernel) -> Part:
    return Fold(_brief(value), _whole(value))


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


def _term(value: Model | Kernel) -> Program | Term:
    return value.program if isinstance(value, Model) else value.term


def _weights(value: Model | Kernel) -> str:
    return _count(sum(p.numel() for p in value.parameters()), "parameter")


# --- words ----------------------------------------------------------------------------------------


def _outcome(result: CellResult) -> str:
    if result.unchanged:
        return f"Unchanged since {result.label}, the same objects as before"
    return f"Compiled in {_time(result.seconds)}"


def _sentence(value: Model | Kernel) -> str:
    kind = "program" if isinstance(value, Model) else "morphism"
    return f"The {kind} {signature(_term(value), value.name)}, with {_weights(value)}."


def _brief(value: object) -> str:
    if isinstance(value, Model | Kernel):
        return signature(_term(value), value.name)
    return repr(value)


def _refusal(refusal: Refusal, result: CellResult) -> Part:
    reach = f"{result.name}.exports[{refusal.name!r}]" if result.name else "%%qvr NAME"
    how = f"it is {reach}" if result.name else f"begin the cell with {reach} to reach it there"
    words = f"`{refusal.name}` {refusal.reason} and was left alone: {how}."
    return Row((Text("note: ", Tone.WARNING), Text(words)))


def _line(sentence: str, tone: Tone = Tone.PLAIN) -> Row:
    return Row((Text(sentence, tone),))


def _stack(parts: Sequence[Part]) -> Stack:
    return Stack(tuple(parts))


def _list(names: Mapping[str, object] | Sequence[str], before: str = ": ") -> str:
    return f"{before}{', '.join(names)}" if names else ""


def _count(number: int, noun: str) -> str:
    figure = f"{number:,}".replace(",", " ")  # a narrow no-break space between thousands
    return f"{figure} {noun}{'' if number == 1 else 's'}"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
