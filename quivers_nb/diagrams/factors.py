"""Objects as wires: one wire per factor, named in the words of the declaration."""

from dataclasses import dataclass

from quivers_nb.diagrams.graph import WireType
from quivers_nb.diagrams.pieces import Piece, Wires, beside, regroup
from quivers_nb.spaces.space import (
    Finite,
    Object,
    Space,
    factors,
    is_finite,
    width,
)

_THICK = 16  # dimensions from here on are drawn as the thickest wire


@dataclass(frozen=True, slots=True)
class Factors:
    """The wires of an object, each with its factor. The unit has none."""

    types: tuple[WireType, ...]
    objects: tuple[Finite | Space, ...]


def wires_of(obj: Object, text: str = "") -> Factors:
    """The wires of an object; ``text`` is how a declaration writes it, if anyone does."""
    objects = factors(obj)
    words = text.split(" * ") if text else []
    if len(words) != len(objects):
        alone = len(words) == 1 and text.isidentifier() and len(objects) > 1
        words = [f"{text}.{i + 1}" if alone else str(o) for i, o in enumerate(objects)]
    kept = [(o, word) for o, word in zip(objects, words, strict=True) if not _is_unit(o)]
    return Factors(
        types=tuple(WireType(word, size_text(o), _weight(o)) for o, word in kept),
        objects=tuple(o for o, _ in kept),
    )


def size_text(obj: Finite | Space) -> str:
    """``Fin 32``, ``ℝ16``, ``Simplex 3``."""
    if not isinstance(obj, Space):
        return f"Fin {obj.size}"
    sizes = "×".join(map(str, obj.sizes))
    return f"ℝ{sizes}" if obj.ctor == "Real" else f"{obj.ctor} {sizes}"


def meeting(left: Factors, right: Factors) -> Piece:
    """What stands between two products that the checker let meet: wires, or bars where they differ.

    Factors are matched from the left; a bar spans the fewest factors whose sizes agree. One wire
    that is read under another name (`Fin 3` as a number, say) gets a bar too.
    """
    parts: list[Piece] = []
    i = j = 0
    while i < len(left.types) or j < len(right.types):
        n, m = _block(left.objects[i:], right.objects[j:])
        ins, outs = left.types[i : i + n], right.types[j : j + m]
        parts.append(Wires(ins) if ins == outs else regroup(ins, outs))
        i, j = i + n, j + m
    return beside(*parts)


def _block(left: tuple[Finite | Space, ...], right: tuple[Finite | Space, ...]) -> tuple[int, int]:
    """How many factors on each side are read together."""
    finite = all(is_finite(o) for o in (*left, *right))
    n = m = 1
    if not left or not right:
        return len(left), len(right)
    a, b = _size(left[0], finite=finite), _size(right[0], finite=finite)
    while a != b:
        shorter = a is not None and b is not None and a < b
        if shorter and n < len(left):
            a, n = _more(a, _size(left[n], finite=finite), finite=finite), n + 1
        elif not shorter and m < len(right):
            b, m = _more(b, _size(right[m], finite=finite), finite=finite), m + 1
        else:
            return _rest(left, right)
    return n, m


def _rest(left: tuple[Finite | Space, ...], right: tuple[Finite | Space, ...]) -> tuple[int, int]:
    """Sizes that never agree, or are not known yet: wire by wire where the counts allow it."""
    return (1, 1) if len(left) == len(right) else (len(left), len(right))


def _size(obj: Finite | Space, *, finite: bool) -> int | None:
    if not finite:
        return width(obj)
    size = obj.size  # type: ignore[union-attr]
    return size if isinstance(size, int) else None


def _more(a: int | None, b: int | None, *, finite: bool) -> int | None:
    if a is None or b is None:
        return None
    return a * b if finite else a + b


def _is_unit(obj: Finite | Space) -> bool:
    return is_finite(obj) and obj.size == 1  # type: ignore[union-attr]


def _weight(obj: Finite | Space) -> int:
    if not isinstance(obj, Space):
        return 1
    return 3 if obj.dim > _THICK else 2
