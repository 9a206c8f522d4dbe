"""One picture at several fold levels as HTML that needs nothing: no network, no kernel, no script.

The levels are radio buttons and a style sheet, so the page works where scripts are taken out; where
styles are taken out too, the first picture is still there.
"""

from collections.abc import Sequence
from hashlib import blake2s

from quivers_nb.display.html import to_html
from quivers_nb.display.parts import Text, Tone

_RULES = (
    ".{c} input{{position:absolute;opacity:0}}.{c} label{{cursor:pointer;padding:1px 8px;"
    "border:1px solid var(--jp-border-color1,#b6c2ce);border-radius:9px;margin-right:4px;"
    "font:12px sans-serif}}.{c} .level{{display:none;margin-top:6px}}"
    ".{c} input:focus-visible+label{{outline:2px solid var(--jp-brand-color1,#0b62a8)}}"
)


def page(pictures: Sequence[tuple[str, str]], note: str = "") -> str:
    """Pictures (a word, an ``<svg>``) of which one is shown at a time, the first at first."""
    below = to_html(Text(note, Tone.QUIET)) if note else ""
    if len(pictures) == 1:
        return f"<div>{pictures[0][1]}{below}</div>"
    mark = blake2s("".join(svg for _, svg in pictures).encode(), digest_size=4).hexdigest()
    name = f"qd-fold-{mark}"
    rules = [_RULES.format(c=name)]
    inputs: list[str] = []
    levels: list[str] = []
    for i, (word, svg) in enumerate(pictures):
        checked = " checked" if i == 0 else ""
        inputs.append(
            f'<input type="radio" name="{name}" id="{name}-{i}"{checked}>'
            f'<label for="{name}-{i}">{word}</label>'
        )
        levels.append(f'<div class="level l{i}">{svg}</div>')
        rules.append(
            f"#{name}-{i}:checked~.l{i}{{display:block}}"
            f"#{name}-{i}:checked+label{{font-weight:700}}"
        )
    style = f"<style>{''.join(rules)}</style>"
    return f'<div class="{name}">{style}{"".join(inputs)}{"".join(levels)}{below}</div>'
