"""A diagram in words: a tree of groups and boxes with their types, for text and screen readers.

Neighbours of equal shape are one line with a count, so every group and every generator is
mentioned. ``⊗`` marks what stands beside the line above, ``↺`` a state that is fed back.
"""

from collections.abc import Iterator, Mapping

from quivers_nb.diagrams.graph import (
    IN,
    SIGNS,
    Diagram,
    GroupKind,
    Item,
    Kind,
    signature,
    type_text,
)
from quivers_nb.diagrams.metrics import shown
from quivers_nb.diagrams.sizes import Look

LINES = 40


def outline(
    diagram: Diagram, badges: Mapping[str, str] | None = None, *, lines: int | None = LINES
) -> str:
    """The outline, cut at ``lines`` lines (None: complete). Deeper levels are cut first."""
    look = Look(badges=badges or {})
    title = shown(diagram.title) or "diagram"
    head = f"{title} : {shown(type_text(diagram.dom), 80)} → {shown(type_text(diagram.cod), 80)}"
    if diagram.title and not diagram.planar and not diagram.dom:
        head = f"program {title}"
    every = list(_lines(diagram, "", 0, look))
    if lines is None or len(every) < lines:
        return "\n".join([head, *(text for _, text in every)])
    depth = max(level for level, _ in every)
    while depth > 0 and sum(level <= depth for level, _ in every) > lines - 2:
        depth -= 1
    kept = [text for level, text in every if level <= depth][: lines - 2]
    return "\n".join([head, *kept, f"… {len(every) - len(kept)} more lines"])


def _lines(diagram: Diagram, indent: str, depth: int, look: Look) -> Iterator[tuple[int, str]]:
    families = list(_families(diagram))
    first = {w.target.item for w in diagram.wires if w.source.item == IN}
    for k, family in enumerate(families):
        last = k == len(families) - 1
        item = family[0]
        beside = k > 0 and item.id in first and diagram.planar
        text = _line(item, len(family), look)
        branch = "└─ " if last else "├─ "
        yield depth, f"{indent}{branch}{'⊗ ' if beside else ''}{text}"
        if item.body is not None:
            below = indent + ("   " if last else "│  ")
            yield from _states(item, below, depth + 1)
            yield from _lines(item.body, below, depth + 1, look)


def _states(item: Item, indent: str, depth: int) -> Iterator[tuple[int, str]]:
    body = item.body
    if body is not None and body.feedback:
        states = body.dom[len(body.dom) - body.feedback :]
        yield depth, f"{indent}↺ state: {shown(type_text(states), 60)}"


def _families(diagram: Diagram) -> Iterator[list[Item]]:
    """Boxes and groups, neighbours of equal shape together."""
    family: list[Item] = []
    for item in diagram.items:
        if item.kind in SIGNS:
            continue
        if family and _shape(family[0]) == _shape(item):
            family.append(item)
            continue
        if family:
            yield family
        family = [item]
    if family:
        yield family


def _shape(item: Item) -> tuple[object, ...]:
    base, bracket, number = item.label.partition("[")
    numbered = bracket and number.removesuffix("]").isdigit()
    name = base if numbered or item.group is GroupKind.LAYER else item.label
    if item.group is GroupKind.LAYER:
        name = ""
    return (name, item.kind, item.ins, item.outs, item.role, item.dagger, item.template)


def _line(item: Item, count: int, look: Look) -> str:
    label = shown(item.label) + ("†" if item.dagger else "")
    if count > 1:
        label = label.split("[")[0] if "[" in label else label.rsplit("#", 1)[0].strip()
        label = label.removesuffix(" 0") + f" × {count}"
    badge = look.badge(item)
    note = f"   [{badge}]" if badge else ""
    if item.kind is Kind.SITE:
        return shown(item.about, 90) + (f"   [{badge.split(' · ')[-1]}]" if badge else "")
    if item.kind is Kind.WORD:
        return f"{item.role or item.kind.value} {label}".replace("return return", "return") + note
    if item.kind is Kind.JUNCTION:
        return f"✗ {shown(item.about, 200)}"
    if item.group is GroupKind.PLATE:
        return f"plate {label}"
    return f"{label or (item.group and item.group.value)} : {shown(signature(item), 90)}{note}"
