"""Colours and line widths, once for light ground and once for dark.

Wires are coloured by object. Every colour reaches a contrast of 4.5 on its ground, and none says
anything that a label, a tooltip or the outline does not say too.
"""

WIRES_LIGHT = (
    "#0b62a8", "#a3277f", "#8a5a00", "#0f6f5c", "#a8420b", "#5b4bb5", "#0a6c86", "#b0243e",
)  # fmt: skip
WIRES_DARK = (
    "#6cb6f5", "#ec8fd0", "#e0b354", "#5fd0b1", "#f5a06a", "#b3a6ff", "#62cbe4", "#ff8f9f",
)  # fmt: skip

LIGHT = {
    "card": "#ffffff",
    "ink": "#14202b",
    "quiet": "#55636f",
    "line": "#3b4a57",
    "frame": "#aebac6",
    "tint": "#3d6a94",
    "warm": "#fff5e0",
    "cool": "#eaf3fc",
    "rose": "#fdeef7",
    "grey": "#e3e8ed",
    "differs": "#fff0a8",
    "error": "#c62828",
}
DARK = {
    "card": "#14181d",
    "ink": "#eef2f6",
    "quiet": "#a3b1bd",
    "line": "#b4c1cc",
    "frame": "#4d5a66",
    "tint": "#9cc4ea",
    "warm": "#372b12",
    "cool": "#15293b",
    "rose": "#391f30",
    "grey": "#38424c",
    "differs": "#423700",
    "error": "#ff7a70",
}
NOTEBOOK = {  # the variables of a notebook's theme, where there is one
    "card": "--jp-layout-color0",
    "ink": "--jp-content-font-color0",
    "error": "--jp-error-color1",
}

FILLS = {"embed": "warm", "discretize": "rose", "observed": "grey", "observe": "grey"}
FILLS |= {"latent": "cool", "differs": "differs"}

WEIGHTS = {0: 1.1, 1: 1.2, 2: 1.7, 3: 2.3}
FRAME_TINT = 0.04  # how much ink a frame adds to its ground
FONT = "Arial, Helvetica, 'Liberation Sans', sans-serif"


def wire_color(index: int, palette: tuple[str, ...] = WIRES_LIGHT) -> str:
    """The colour of the wires of the ``index``-th object."""
    return palette[index % len(palette)]


def fill_of(role: str) -> str:
    """The name of the ground of a box."""
    return FILLS.get(role, "card")


def _variables(colors: dict[str, str], wires: tuple[str, ...], *, themed: bool) -> str:
    found = []
    for name, value in colors.items():
        theme = NOTEBOOK.get(name) if themed else None
        found.append(f"--qd-{name}:{f'var({theme},{value})' if theme else value}")
    found += [f"--qd-w{i}:{value}" for i, value in enumerate(wires)]
    return ";".join(found)


def css() -> str:
    """The style sheet of a picture; it reads the notebook's theme where it can."""
    dark = _variables(DARK, WIRES_DARK, themed=True)
    fixed = _variables(DARK, WIRES_DARK, themed=False)
    light = _variables(LIGHT, WIRES_LIGHT, themed=True)
    wires = "".join(f".qd .c{i}{{--qd-c:var(--qd-w{i})}}" for i in range(len(WIRES_LIGHT)))
    return (
        f".qd{{{light}}}"
        f'body[data-jp-theme-light="false"] .qd,body.vscode-dark .qd{{{dark}}}'
        f".qd.qd-dark{{{fixed}}}{wires}{_RULES}"
    )


_RULES = "".join(
    """
.qd{max-width:100%;height:auto}
.qd text{font-family:Arial,Helvetica,"Liberation Sans",sans-serif;fill:var(--qd-ink)}
.qd .card{fill:var(--qd-card)}
.qd .f>rect{fill:var(--qd-tint);stroke:var(--qd-frame)}
.qd .f text,.qd .note{fill:var(--qd-quiet)}
.qd .plate>rect{fill:none;stroke:var(--qd-line)}
.qd .w{stroke:var(--qd-c,var(--qd-line))}
.qd .arrow{fill:var(--qd-line)}
.qd .t{fill:var(--qd-c)}
.qd .b .s{fill:var(--qd-card);stroke:var(--qd-line)}
.qd .b .rim{stroke:var(--qd-line)}
.qd .b .badge,.qd .e .size{fill:var(--qd-quiet)}
.qd .sign .s{fill:var(--qd-c,var(--qd-line));stroke:none}
.qd .bar .s{fill:var(--qd-line)}
.qd .delay .s{fill:var(--qd-card);stroke:var(--qd-c)}
.qd .arc .s{fill:none;stroke:var(--qd-c)}
.qd .g-warm .s{fill:var(--qd-warm)}
.qd .g-cool .s{fill:var(--qd-cool)}
.qd .g-rose .s{fill:var(--qd-rose)}
.qd .g-grey .s{fill:var(--qd-grey)}
.qd .g-differs .s{fill:var(--qd-differs)}
.qd .junction text{fill:var(--qd-error)}
.qd .junction .z{stroke:var(--qd-error)}
.qd .e text{fill:var(--qd-c)}
.qd .word .s{fill:none;stroke:none}
.qd [tabindex]:focus{outline:none}
.qd [tabindex]:focus .s,.qd [tabindex]:focus>rect{stroke-width:2.4}
""".splitlines()
)
