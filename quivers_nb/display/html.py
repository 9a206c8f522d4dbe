"""Parts as self-contained HTML: with the painters of `diagrams`, the only files that write tags.

No script, no link, no request: the fragment reads the same in a saved notebook, in a converted
page and in an e-mail. Colours are the notebook's theme variables with fallbacks that work on
light and dark ground. All text is escaped, invisible characters are spelled out.
"""

from html import escape

from quivers_nb.display.parts import Fold, Mark, Part, Picture, Row, Stack, Table, Text, Tone
from quivers_nb.display.text import pointers, to_text, visible

# Everything themed is said twice: a notebook that the reader does not trust yet is stripped of
# variables, and then the plain value before them is what is left.
_MONO = (
    "font-family:monospace;"
    "font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace)"
)
_INK = "color:var(--jp-content-font-color1,currentColor)"
_ROOT = f"{_INK};font-size:var(--jp-code-font-size,13px);line-height:1.4;text-align:left"
_LINE = f"{_MONO};white-space:pre-wrap"
_QUOTED = f"{_MONO};white-space:pre"  # carets below must stay below
_LINE_OF_CELLS = '<tr style="background:none">'  # no stripes: colours are chosen for plain ground
_CELL = "padding:1px 12px 1px 0;border:0;background:none;vertical-align:top"

_TONES = {
    Tone.PLAIN: "",
    Tone.STRONG: "font-weight:600",
    Tone.QUIET: "color:#767676;color:var(--jp-content-font-color2,#767676)",
    Tone.NAME: "color:#1a73c7;color:var(--jp-mirror-editor-def-color,#1a73c7)",
    Tone.TYPE: "color:#2e8540;color:var(--jp-mirror-editor-keyword-color,#2e8540)",
    Tone.NUMBER: "color:#2e8540;color:var(--jp-mirror-editor-number-color,#2e8540)",
    Tone.ERROR: "color:#d33f3f;color:var(--jp-error-color1,#d33f3f)",
    # notebook themes paint these for backgrounds: some ink makes them legible on either ground
    Tone.WARNING: (
        "color:#b8690b;color:color-mix(in srgb,var(--jp-warn-color0,#b8690b) 75%,currentColor)"
    ),
    Tone.HINT: (
        "color:#0a7f8f;color:color-mix(in srgb,var(--jp-info-color0,#0a7f8f) 75%,currentColor)"
    ),
}


def to_html(part: Part) -> str:
    """``part`` as one ``<div>``."""
    return f'<div class="quivers" style="{_ROOT}">{_block(part)}</div>'


def mimebundle(part: Part) -> dict[str, str]:
    """What a notebook stores of ``part``: text first, HTML in addition."""
    return {"text/plain": to_text(part), "text/html": to_html(part)}


def _block(part: Part) -> str:
    match part:
        case Text() | Mark():
            return _div(_LINE, _inline(part))
        case Row():
            return _row(part)
        case Stack(parts=parts):
            return "".join(map(_block, parts))
        case Table():
            return _table(part)
        case Fold(title=title, body=body, open=is_open):
            flag = " open" if is_open else ""
            summary = f'<summary style="cursor:pointer">{_escape(title)}</summary>'
            inner = f'<div style="margin-left:1.2em">{_block(body)}</div>'
            return f"<details{flag}>{summary}{inner}</details>"
        case Picture(html=html):
            return html


def _row(row: Row) -> str:
    line = "".join(map(_inline, row.parts))
    below = [_span(_TONES[Tone.QUIET], _escape(pointer)) for pointer in pointers(row)]
    if row.gutter is None:
        style = _QUOTED if below else _LINE
        return "".join(_div(style, text) for text in [line, *below])
    bar = _span(_TONES[Tone.QUIET], f"{_escape(row.gutter)} | ")
    blank = _span(_TONES[Tone.QUIET], " " * len(row.gutter) + " | ")
    return "".join(_div(_QUOTED, text) for text in [bar + line, *(blank + b for b in below)])


def _inline(part: Text | Mark) -> str:
    style = _TONES[part.tone]
    if isinstance(part, Mark):
        style = f"{style};text-decoration:underline;text-underline-offset:3px".lstrip(";")
    return _span(style, _escape(part.text))


def _table(table: Table) -> str:
    head = "".join(_cell("th", j, table, _escape(title)) for j, title in enumerate(table.head))
    rows = [f"{_LINE_OF_CELLS}{head}</tr>"] if head else []
    for row in table.rows:
        cells = "".join(_cell("td", j, table, _inline(text)) for j, text in enumerate(row))
        rows.append(f"{_LINE_OF_CELLS}{cells}</tr>")
    style = f"{_MONO};border-collapse:collapse;border:0;margin:4px 0"
    return f'<table style="{style}">{"".join(rows)}</table>'


def _cell(tag: str, column: int, table: Table, inner: str) -> str:
    side = "right" if table.align[column : column + 1] == ">" else "left"
    scope = ' scope="col"' if tag == "th" else ""
    return f'<{tag}{scope} style="{_CELL};text-align:{side}">{inner}</{tag}>'


def _div(style: str, inner: str) -> str:
    return f'<div style="{style}">{inner}</div>'


def _span(style: str, inner: str) -> str:
    return f'<span style="{style}">{inner}</span>' if style else inner


def _escape(text: str) -> str:
    return escape(visible(text), quote=True)
