"""What is printed of a loop that is cut: a function of one segment, and how it is left to others.

    static void segment_0(const void *given, int64_t number)

The density hands the function to `q_share` of ``team.h`` with a task: its own arguments, and the
variables that the loop reads. A segment writes its rows where they belong, and its sums into the
part of ``parts`` that is its own; the density adds these up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from quivers_nb.inference.native.expression import Buffer
from quivers_nb.inference.native.loop import folded, literal, placed, room, variable_type
from quivers_nb.inference.native.program import START
from quivers_nb.inference.native.segments import Cut

LINE = 16  # numbers that no two segments share a cache line of


@dataclass(frozen=True, slots=True)
class Segment:
    """A cut loop: the statements of one segment, which run from ``first`` to ``last``."""

    number: int
    cut: Cut
    body: Sequence[str]
    real: str
    wide: frozenset[Buffer]

    @property
    def _rooms(self) -> dict[Buffer, int]:
        """How much of its part each thing takes that a segment has for itself."""
        sizes = {buffer: buffer.size for buffer, _ in self.cut.own} | self.cut.local
        return {buffer: room(buffer, size) for buffer, size in sizes.items()}

    @property
    def _places(self) -> dict[Buffer, int]:
        """Where it begins."""
        rooms = self._rooms
        return dict(zip(rooms, accumulate(rooms.values(), initial=0), strict=False))

    @property
    def _length(self) -> int:
        """Numbers in the part of one segment."""
        return -(-sum(self._rooms.values()) // LINE) * LINE

    @property
    def size(self) -> int:
        """Numbers in all parts."""
        return self._length * self.cut.count

    def _type(self, buffer: Buffer) -> str:
        return variable_type(buffer, self.wide)

    def _sum(self, buffer: Buffer, part: str) -> str:
        """Where a part keeps a variable."""
        return f"*({self._type(buffer)} *)({part} + {self._places[buffer]})"

    def shared(self, desk: int) -> list[str]:
        """Statements of the density: the segments are run, and their sums combined in order."""
        given = ", ".join(buffer.name for buffer in self.cut.given) or "0"
        count = self.cut.count
        lines = [
            "{",
            f"const task_t task = {{q, g, data, w, parts, {{{given}}}}};",
            f"q_share(data[{desk}], segment_{self.number}, &task, {count});",
        ]
        for buffer, fold in self.cut.own:
            lines.append(f"for (int64_t s = 0; s < {count}; s++) {{")
            lines.append(f"real *part = parts + s * {self._length};")
            if buffer.is_variable:
                lines.append(f"const {self._type(buffer)} sum = {self._sum(buffer, 'part')};")
                lines.append(folded(buffer.name, "sum", fold) + "}")
            else:
                lines.append(f"const real *restrict sum = part + {self._places[buffer]};")
                lines.append(f"for (int64_t i = 0; i < {buffer.size}; i++) {{")
                lines.append(folded(f"{buffer.name}[i]", "sum[i]", fold) + "}}")
        return [*lines, "}"]

    def function(self, declarations: Sequence[tuple[Buffer | None, str]]) -> list[str]:
        """The function. ``declarations`` are those of the density, by buffer."""
        cut, places = self.cut, self._places
        end = cut.step.extent[cut.loop]
        elsewhere = {*places, *cut.given}
        return [
            f"static void segment_{self.number}(const void *given, int64_t number) {{",
            "const task_t *restrict task = given;",
            "const real *restrict q = task->q;",
            "const void *const *restrict data = task->data;",
            "real *restrict w = task->w;",
            f"real *restrict part = task->parts + number * {self._length};",
            f"const int64_t first = number * {cut.rows};",
            f"const int64_t last = first + {cut.rows} < {end} ? first + {cut.rows} : {end};",
            *([] if any(b.role == "gradient" for b in places) else ["real *restrict g = task->g;"]),
            *(text for buffer, text in declarations if buffer not in elsewhere),
            *(
                f"const {self._type(buffer)} {buffer.name} = task->given[{k}];"
                for k, buffer in enumerate(cut.given)
            ),
            *(self._begun(buffer) for buffer in places),
            *self.body,
            *(f"{self._sum(b, 'part')} = {b.name};" for b, _ in cut.own if b.is_variable),
            "}",
        ]

    def _begun(self, buffer: Buffer) -> str:
        """What a segment has for itself, as it is when it begins."""
        fold = dict(self.cut.own).get(buffer)
        start = "" if fold is None else literal(START[fold], "real", self.real)
        if buffer.is_variable and fold is not None:
            return f"{self._type(buffer)} {buffer.name} = {start};"
        text = placed(buffer, f"part + {self._places[buffer]}", "restrict")
        if fold is None:
            return text
        return f"{text} for (int64_t i = 0; i < {buffer.size}; i++) {buffer.name}[i] = {start};"


def task_type(segments: Sequence[Segment]) -> str:
    """What segments are given."""
    most = max(1, *(len(segment.cut.given) for segment in segments))
    return (
        "typedef struct { const real *q; real *g; const void *const *data; real *w, *parts; "
        f"double given[{most}]; }} task_t;"
    )
