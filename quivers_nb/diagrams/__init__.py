"""String diagrams and plate diagrams: the picture is the term.

    diagram(obj)      the drawing of a morphism, a program, or anything that has one
    broken(f, g)      the drawing of a place where two types do not meet
    broken_places(e)  such drawings for the error of a refused module

A picture is built from the typed term alone: no torch, no run. The stages are `build` (term to
port graph), `layout` (port graph to geometry), and painters that read the geometry.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from quivers_nb.check.term import CheckedModule, Program, Term, TermNode
from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagrams.badges import channel
from quivers_nb.diagrams.broken import broken, broken_places
from quivers_nb.diagrams.build import build
from quivers_nb.diagrams.drawing import Drawing
from quivers_nb.diagrams.fold import at_depth, elided, named
from quivers_nb.diagrams.graph import Diagram

__all__ = ["Drawing", "broken", "broken_places", "diagram", "subject_of"]


def diagram(
    obj: Any,
    name: str | None = None,
    *,
    orient: str = "tb",
    depth: int | None = None,
    fold: Iterable[str] | None = None,
    badges: str | Mapping[str, str] | None = None,
) -> Drawing:
    """The drawing of ``obj``.

    Args:
        obj: a term, a program, a checked module (``name`` says which of its morphisms, default the
            first export), or an object with a ``program`` or ``term`` attribute: a model, a kernel.
        name: what to call it.
        orient: ``"tb"``, down the page, or ``"lr"``, to the right.
        depth: fold every group from this depth on (0: boxes only); default: repetition is elided.
        fold: ids or labels of groups to fold besides.
        badges: the second line of boxes: a mapping from ids to texts, or a channel: ``"kernel"``
            (default), ``"types"``, ``"params"`` (needs a model), ``"none"``.

    Raises:
        UserError: there is nothing to draw, or no group, module entry or channel of that name.
    """
    value = subject_of(obj, name)
    called = name or ("" if isinstance(obj, TermNode | Program) else getattr(obj, "name", ""))
    picture = value if isinstance(value, Diagram) else build(value, called or "")
    folded = elided(picture) if depth is None else at_depth(picture, depth)
    if fold is not None:
        folded |= named(picture, [fold] if isinstance(fold, str) else fold)
    lines = channel(badges, picture, value, obj) if isinstance(badges, str) else badges
    return Drawing(picture, orient, folded, dict(lines or {}))


def subject_of(obj: Any, name: str | None = None) -> Term | Program | Diagram:
    """The term or program that an object stands for.

    Raises:
        UserError: it stands for none.
    """
    if isinstance(obj, TermNode | Program | Diagram):
        return obj  # type: ignore[return-value]
    if isinstance(obj, CheckedModule):
        return _entry(obj, name)
    for attribute in ("program", "term"):
        inner = getattr(obj, attribute, None)
        if isinstance(inner, TermNode | Program):
            return inner  # type: ignore[return-value]
    kind = type(obj).__name__
    raise UserError(
        f"There is no diagram of a {kind}. Give a model, a morphism, a program or a checked module."
    )


def _entry(module: CheckedModule, name: str | None) -> Term | Program:
    known = dict(module.morphisms)
    if name is None:
        if module.exports:
            return module.exports[0].value
        raise UserError(
            f"The module exports nothing. Name one of: {', '.join(known) or 'nothing'}."
        )
    if name not in known:
        raise UserError(f"The module has no morphism {name!r}. Morphisms: {', '.join(known)}.")
    return known[name]
