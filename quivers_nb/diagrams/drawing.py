"""What a notebook shows of a diagram, and what can be saved of it.

Text, SVG and offline HTML are always there. A painter that fails leaves the outline and a note: a
cell never dies of a picture.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagrams.dot import dot
from quivers_nb.diagrams.equation import comparison, equation
from quivers_nb.diagrams.fold import at_depth, elided, guarded, named
from quivers_nb.diagrams.geometry import Geometry
from quivers_nb.diagrams.graph import Diagram, boxes, groups
from quivers_nb.diagrams.layout import layout
from quivers_nb.diagrams.outline import outline
from quivers_nb.diagrams.page import page
from quivers_nb.diagrams.raster import paint
from quivers_nb.diagrams.sizes import Look
from quivers_nb.diagrams.svg import svg
from quivers_nb.diagrams.tikz import tikz

FORMATS = ("svg", "dot", "png", "pdf", "html", "tex", "txt", "json")
_LEVELS = 4  # pictures of more depths are not put into the HTML
_ROOM = 120_000  # characters of all pictures in it


@dataclass(frozen=True)
class Drawing:
    """A diagram and how it is shown. Immutable; folding gives another drawing.

    ``folded`` None: repetition is elided. Badges replace the second line of items, by id.
    """

    diagram: Diagram
    orient: str = "tb"
    folded: frozenset[str] | None = None
    badges: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.orient not in {"tb", "lr"}:
            raise UserError(
                f"A diagram flows 'tb' (down the page) or 'lr' (to the right), not {self.orient!r}."
            )

    @cached_property
    def geometry(self) -> Geometry:
        """Where everything is."""
        closed, note = guarded(self.diagram, self.closed)
        return layout(self.diagram, Look(self.orient == "tb", closed, self.badges), note)

    @property
    def closed(self) -> frozenset[str]:
        """The ids of the groups that are folded."""
        return elided(self.diagram) if self.folded is None else self.folded

    def fold(self, *wishes: str) -> "Drawing":
        """With these groups (ids or labels) folded; all of them if none is named."""
        more = named(self.diagram, wishes) if wishes else at_depth(self.diagram, 0)
        return replace(self, folded=self.closed | more)

    def unfold(self, *wishes: str) -> "Drawing":
        """With these groups open; all of them if none is named."""
        return replace(
            self, folded=self.closed - named(self.diagram, wishes) if wishes else frozenset()
        )

    def toggle(self, ident: str) -> "Drawing":
        """With the group of this id folded if it is open, and open if it is folded."""
        return replace(self, folded=self.closed ^ named(self.diagram, [ident]))

    def equals(self, other: "Drawing", sign: str = "=") -> str:
        """This picture and another with a sign between them, as SVG."""
        words = f"{self.outline}\n{sign}\n{other.outline}"
        return svg(equation(self.geometry, other.geometry, sign), words)

    def compared(self, newer: "Drawing") -> str:
        """This picture and that of a newer version, as SVG; what differs is highlighted."""
        words = f"{self.outline}\n→\n{newer.outline}"
        return svg(comparison(self.geometry, newer.geometry), words)

    # --- readings ---

    @cached_property
    def svg(self) -> str:
        """The picture as SVG."""
        return svg(self.geometry, self.outline)

    @cached_property
    def dot(self) -> str:
        """The picture as DOT; any Graphviz renders it as it is."""
        return dot(self.geometry)

    @cached_property
    def tikz(self) -> str:
        """The picture as a ``tikzpicture``, for papers."""
        return tikz(self.geometry)

    @cached_property
    def png(self) -> bytes:
        """The picture as PNG.

        Raises:
            NoPainter: there is no Graphviz.
        """
        return paint(self.dot, "png")

    @cached_property
    def outline(self) -> str:
        """The diagram in words, at most forty lines."""
        return outline(self.diagram, self.badges)

    @cached_property
    def html(self) -> str:
        """The picture at several fold levels, in one piece that needs no kernel and no network."""
        words = f"diagram of {self.diagram.title or 'an expression'}"
        pictures = [("as folded here", self.svg), *self._levels()]
        return page(pictures, self.geometry.note, words)

    def save(self, path: str | Path) -> Path:
        """Write the format that the name of the file says.

        Raises:
            UserError: an unknown format; `NoPainter`: no Graphviz for PNG and PDF.
        """
        path = Path(path)
        path.write_bytes(self._bytes(path.suffix.removeprefix(".").lower()))
        return path

    def _bytes(self, format: str) -> bytes:
        match format:
            case "png":
                return self.png
            case "pdf":
                return paint(self.dot, "pdf")
            case "html":
                head = '<!doctype html><html lang="en"><meta charset="utf-8">'
                return f"{head}<body>{self.html}</body></html>\n".encode()
            case "svg" | "dot":
                return str(getattr(self, format)).encode()
            case "tex":
                return self.tikz.encode()
            case "txt" | "json":
                return (self.outline if format == "txt" else self.geometry.to_json()).encode()
            case _:
                known = ", ".join(FORMATS)
                raise UserError(f"A diagram cannot be saved as {format!r}. Formats: {known}.")

    def _levels(self) -> list[tuple[str, str]]:
        """Pictures of other fold levels, from boxes only to everything open."""
        deepest = max((depth for depth, _ in groups(self.diagram)), default=-1)
        seen = {self.geometry}
        found: list[tuple[str, str]] = []
        room = _ROOM - len(self.svg)
        wanted = [
            (f"depth {d}" if d else "boxes only", at_depth(self.diagram, d))
            for d in range(min(deepest + 1, _LEVELS))
        ]
        for word, folded in [*wanted, ("everything", frozenset[str]())]:
            other = replace(self, folded=folded)
            if other.geometry in seen:
                continue
            seen.add(other.geometry)
            picture = svg(other.geometry, self.outline, mark=f"-{len(seen)}", style=False)
            room -= len(picture)
            if room > 0:
                found.append((word, picture))
        return found

    # --- notebook ---

    def __repr__(self) -> str:
        count = sum(1 for _ in boxes(self.diagram))
        things = "sites and boxes" if not self.diagram.planar else "boxes"
        return (
            f"Diagram of {self.diagram.title or 'an expression'}: {count} {things}.\n{self.outline}"
        )

    def _repr_mimebundle_(
        self,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        bundle = {"text/plain": repr(self)}
        try:
            bundle |= {"image/svg+xml": self.svg, "text/html": self.html}
        except Exception as error:  # noqa: BLE001  (a cell never dies of a picture)
            reason = f"{type(error).__name__}: {error}"
            bundle["text/plain"] += f"\nThe picture could not be drawn ({reason})."
        wanted = set(include) if include else set(bundle)
        return {k: v for k, v in bundle.items() if k in wanted - set(exclude or ())}
