"""Where draws and weights come from: program, text, sizes and tables, with a hash of them.

Saved files and results carry an `Origin`, so that they are never read into another model unseen.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Origin:
    """A program by name, the text of its module, and what was fixed at load: its sizes (R8), and
    the tables that `from_data` reads, each by its name and `table_digest`.
    """

    program: str
    source: str
    sizes: tuple[tuple[str, int], ...] = ()
    tables: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal."""
        noted: list[Any] = [self.program, self.source, self.sizes]
        if self.tables:  # files without tables are those of versions that did not note them
            noted.append(self.tables)
        text = json.dumps(noted, ensure_ascii=False)
        return sha256(text.encode()).hexdigest()

    def differences(self, other: "Origin") -> list[str]:
        """What is different in ``other``, the model at hand, in words; empty if nothing is."""
        found = []
        if self.program != other.program:
            found.append(f"program: saved `{self.program}`, here `{other.program}`")
        if self.source != other.source:
            found.append(_first_difference(self.source, other.source))
        if self.sizes != other.sizes:
            found.append(f"sizes: saved {dict(self.sizes)}, here {dict(other.sizes)}")
        saved, here = dict(self.tables), dict(other.tables)
        for name in sorted({*saved, *here}):
            if saved.get(name) != here.get(name):
                old, new = (_shown(each.get(name)) for each in (saved, here))
                found.append(f"contents of the table `{name}`: saved {old}, here {new}")
        return found

    def as_json(self) -> dict[str, Any]:
        return {
            "program": self.program,
            "source": self.source,
            "sizes": dict(self.sizes),
            "tables": dict(self.tables),
            "sha256": self.digest,
        }

    @classmethod
    def from_json(cls, data: Any) -> "Origin":
        """Raises `KeyError`, `TypeError` or `ValueError` if ``data`` is not what `as_json` made."""
        sizes = tuple((str(name), int(size)) for name, size in dict(data["sizes"]).items())
        tables = tuple((str(n), str(d)) for n, d in dict(data.get("tables", {})).items())
        origin = cls(str(data["program"]), str(data["source"]), sizes, tables)
        if origin.digest != data["sha256"]:
            raise ValueError("the hash of the source text is not the one noted beside it")
        return origin


def origin_of(model: Any) -> Origin | None:
    """The origin of a model, result or guide; None for one that was written by hand."""
    found = getattr(model, "origin", None)
    return found if isinstance(found, Origin) else None


def table_digest(array: np.ndarray) -> str:  # (n0, …)
    """SHA-256 of a table's shape and float64 entries, in hexadecimal."""
    total = sha256(repr(array.shape).encode())
    total.update(np.ascontiguousarray(array, dtype="<f8").data)
    return total.hexdigest()


def _shown(digest: str | None) -> str:
    return "none is noted" if digest is None else f"sha256 {digest[:12]}…"


def _first_difference(saved: str, here: str) -> str:
    old, new = saved.splitlines(), here.splitlines()
    same = sum(1 for _ in _common(old, new))
    shown = [f"`{lines[same].strip()}`" if same < len(lines) else "nothing" for lines in (old, new)]
    if shown[0] == shown[1]:
        shown = [repr(lines[same]) if same < len(lines) else "nothing" for lines in (old, new)]
    return f"source text, line {same + 1}: saved {shown[0]}, here {shown[1]}"


def _common(a: list[str], b: list[str]) -> Any:
    for x, y in zip(a, b, strict=False):
        if x != y:
            return
        yield x
