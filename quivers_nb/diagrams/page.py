"""One picture at several fold levels as HTML that needs nothing: no network, no kernel, no script.

The levels are radio buttons and a style sheet. A notebook that the reader does not trust yet is
stripped of ``<svg>`` and of style sheets: what is left of the page then is hidden, and the same
picture as an ``<img>`` is shown instead.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import blake2s
from html import escape

from quivers_nb.display.html import to_html
from quivers_nb.display.parts import Text, Tone
from quivers_nb.display.text import visible

_RULES = (
    ".{c} input{{position:absolute;opacity:0}}.{c} label{{cursor:pointer;padding:1px 8px;"
    "border:1px solid var(--jp-border-color1,#b6c2ce);border-radius:9px;margin-right:4px;"
    "font:12px sans-serif;color:var(--jp-content-font-color1,#14202b)}}"
    ".{c} label:has(:checked){{font-weight:700;background:var(--jp-layout-color2,#e3e8ed)}}"
    ".{c} label:has(:focus-visible){{outline:2px solid var(--jp-brand-color1,#0b62a8)}}"
    ".{c} .level{{display:none;margin-top:6px}}"
    ".{c}:not(:has(:checked)) .l0{{display:block}}"
)
_TRUSTED = (
    "<style>.quivers-diagram>.drawn{display:block!important}"
    ".quivers-diagram>.still{display:none}</style>"
)


def page(pictures: Sequence[tuple[str, str]], note: str = "", words: str = "diagram") -> str:
    """Pictures (a word, an ``<svg>``) of which one is shown at a time, the first at first."""
    below = to_html(Text(note, Tone.QUIET)) if note else ""
    inside = pictures[0][1] if len(pictures) == 1 else _levels(pictures)
    still = b64encode(pictures[0][1].encode()).decode()
    return (
        f'<div class="quivers-diagram">{_TRUSTED}'
        f'<div class="drawn" style="display:none">{inside}</div>'
        f'<img class="still" style="max-width:100%" alt="{escape(visible(words), quote=True)}" '
        f'src="data:image/svg+xml;base64,{still}"/>{below}</div>'
    )


def _levels(pictures: Sequence[tuple[str, str]]) -> str:
    mark = blake2s("".join(svg for _, svg in pictures).encode(), digest_size=4).hexdigest()
    name = f"qd-fold-{mark}"
    rules = [_RULES.format(c=name)]
    inputs: list[str] = []
    levels: list[str] = []
    for i, (word, svg) in enumerate(pictures):
        checked = " checked" if i == 0 else ""
        inputs.append(
            f'<label><input type="radio" class="i{i}" name="{name}"{checked}/>{word}</label>'
        )
        levels.append(f'<div class="level l{i}">{svg}</div>')
        rules.append(f".{name}:has(.i{i}:checked) .l{i}{{display:block}}")
    style = f"<style>{''.join(rules)}</style>"
    choice = f'<div role="radiogroup" aria-label="what is folded">{"".join(inputs)}</div>'
    return f'<div class="{name}">{style}{choice}{"".join(levels)}</div>'
