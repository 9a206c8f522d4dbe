"""What a saved notebook keeps of a run: a sentence, an SVG, and HTML that contains both.

The picture is drawn from the run's log by polylines of our own: a few milliseconds, no library, and
neither scripts nor links. In HTML it is an image by data address: a notebook that is not trusted is
stripped of inline SVG, but keeps images. Its greys read on light and on dark ground.
"""

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from quivers_nb.display.html import to_html
from quivers_nb.display.parts import Fold, Part, Row, Stack, Text, Tone
from quivers_nb.panels.looks import smooth
from quivers_nb.session.growing import Growing, Look
from quivers_nb.session.jobs import NutsJob
from quivers_nb.session.publisher import thinned
from quivers_nb.session.report import report
from quivers_nb.session.run import Run
from quivers_nb.session.text_progress import sentence

WIDTH, HEIGHT, ROW_HEIGHT = 720, 240, 110
ROWS, SHOWN, LINES, POINTS, GRID = 12, 4, 16, 300, 170  # points of all chains together
INK = "#7d7d7d"  # a contrast above four on white and on the dark of notebooks
CHAINS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("", "6 2", "2 2", "8 2 2 2", "4 4", "1 3")
Floats = NDArray[np.floating[Any]]


def mimebundle(run: Run[Any] | None, about: str, code: str) -> dict[str, str]:
    """``about`` names the model; ``code`` repeats the fit."""
    if run is None or not run.progress.iteration:
        words = f"{about}: not started." if run is None else f"{about}: {standing(run)}."
        return {"text/plain": words, "text/html": to_html(Stack((_line(words), _code(code))))}
    words = f"{about}: {_conclusion(run)}"
    picture = svg(run, words)
    image = quote(picture, safe=" =/:,;()+-.!~*?@'")  # shorter than base64: it is mostly digits
    head = to_html(_line(words))
    shown = f'<img alt="{escape(words)}" src="data:image/svg+xml;utf8,{image}">'
    return {
        "text/plain": words,
        "image/svg+xml": picture,
        "text/html": head + shown + to_html(Stack((*_outcome(run), _code(code)))),
    }


def standing(run: Run[Any]) -> str:
    """Where the run stands, in a sentence without its full stop."""
    words = f"{run.name} {sentence(run.progress)}"
    return f"{words} ({run.reason})" if run.reason else words


def _outcome(run: Run[Any]) -> list[Part]:
    """The report of the result, or why there is none."""
    if not run.state.over:
        return []
    try:
        return [report(run.result, ROWS).draw()]
    except Exception as error:  # noqa: BLE001  (the run's own error is what is to be shown)
        return [Row((Text(f"{type(error).__name__}: {error}", Tone.ERROR),))]


def _conclusion(run: Run[Any]) -> str:
    """What the result amounts to; where the run stands if there is none."""
    try:
        return report(run.result).sentence
    except Exception:  # noqa: BLE001  (there is no result: `_outcome` says why)
        return f"{standing(run)}."


def _code(code: str) -> Fold:
    return Fold("the code that repeats it", Text(code.rstrip()))


def _line(words: str) -> Row:
    return Row((Text(words),))


# --- SVG ------------------------------------------------------------------------------------------


def svg(run: Run[Any], words: str) -> str:
    """Loss, or densities and traces of the first few parameters."""
    if isinstance(run.job, NutsJob):
        look = Growing(run.job).look()
        body, height = _log_density(run) if look is None else _posterior(look)
    else:
        body, height = _loss(run.progress.losses)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" font-family="sans-serif" font-size="11">'
        f'<title>{escape(words)}</title><g fill="none" stroke-width="1.4">{body}</g></svg>'
    )


def _loss(losses: Floats) -> tuple[str, int]:
    box = Box(60, 12, WIDTH - 75, HEIGHT - 50)
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return "", HEIGHT
    # The first steps may be far above the rest: they must not flatten what matters.
    box = box.over(0, len(losses) - 1, *_range(finite, 0.02))
    rough = thinned(losses.tolist(), 2 * POINTS)
    weights = np.exp(-np.arange(min(len(losses), 200)) / 25)
    padded = np.concatenate([np.full(len(weights) - 1, losses[0]), losses])
    smoothed = thinned(np.convolve(padded, weights / weights.sum(), "valid").tolist(), POINTS)
    curves = box.line(rough, CHAINS[0], opacity=0.35) + box.line(smoothed, CHAINS[0], width=2)
    return box.frame("step", "loss") + curves, HEIGHT


def _log_density(run: Run[Any]) -> tuple[str, int]:
    columns = run.progress.log.columns
    curves = [values for name, values in columns.items() if name.startswith("log_density")]
    pairs = [thinned(values, POINTS) for values in curves if len(values)]
    values = np.concatenate([pair[:, 1] for pair in pairs])
    last = max(float(pair[-1, 0]) for pair in pairs)
    box = Box(60, 12, WIDTH - 75, HEIGHT - 50).over(0, last, *_range(values, 0.02))
    lines = "".join(box.line(p, *_style(k)) for k, p in enumerate(pairs))
    return box.frame("transition", "log density") + lines, HEIGHT


def _posterior(look: Look) -> tuple[str, int]:
    """One line per parameter: densities of the chains left, their traces right."""
    parts = []
    shown = look.names[: min(SHOWN, max(1, LINES // len(look.values)))]
    for row, name in enumerate(shown):
        values, top = look.of(name), 18 + row * ROW_HEIGHT
        low, high = _range(values, 0.002)
        grid = np.linspace(low, high, max(16, GRID // len(values)))
        curves = [smooth(chain, grid) for chain in values]
        most = max(float(max(curve.max() for curve in curves)), 1e-300)
        left = Box(12, top, 220, ROW_HEIGHT - 42).over(low, high, 0.0, 1.05 * most)
        right = Box(300, top, WIDTH - 315, ROW_HEIGHT - 42).over(0, values.shape[1] - 1, low, high)
        parts.append(f'<text x="12" y="{top - 5}" fill="{INK}" font-weight="bold">')
        parts.append(f"{escape(name)}</text>{left.frame('', '', y_ticks=False)}")
        parts.append(right.frame("", ""))
        for k, (curve, chain) in enumerate(zip(curves, values, strict=True)):
            parts.append(left.line(np.stack([grid, curve], -1), *_style(k)))
            trace = thinned(chain, max(16, POINTS // len(values)))
            parts.append(right.line(trace, CHAINS[k % len(CHAINS)], opacity=0.7, width=0.8))
    return "".join(parts), 18 + len(shown) * ROW_HEIGHT


def _style(chain: int) -> tuple[str, str]:
    return CHAINS[chain % len(CHAINS)], DASHES[chain % len(DASHES)]


def _range(values: Floats, tail: float) -> tuple[float, float]:
    """Where all but ``tail`` of the finite values lie at the upper end, with some room."""
    finite = values[np.isfinite(values)]
    low, high = float(np.quantile(finite, tail / 2)), float(np.quantile(finite, 1 - tail / 2))
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - room, high + room


class Box:
    """A rectangle in the picture and the range of numbers that it shows."""

    def __init__(
        self,
        left: float,
        top: float,
        width: float,
        height: float,
        limits: Sequence[float] = (0.0, 1.0, 0.0, 1.0),
    ) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height
        self.limits = tuple(limits)

    def over(self, x0: float, x1: float, y0: float, y1: float) -> "Box":
        """The same rectangle for these numbers."""
        limits = (x0, max(x1, x0 + 1e-9), y0, y1)
        return Box(self.left, self.top, self.width, self.height, limits)

    def line(
        self,
        pairs: Floats,
        colour: str,
        dash: str = "",
        *,
        opacity: float = 1.0,
        width: float = 1.4,
    ) -> str:
        """A polyline through ``(n, 2)`` points; what is beyond the range runs along its edge."""
        x0, x1, y0, y1 = self.limits
        finite = pairs[np.isfinite(pairs).all(1)]
        x = self.left + (finite[:, 0] - x0) / (x1 - x0) * self.width
        y = self.top + (1 - np.clip((finite[:, 1] - y0) / (y1 - y0), 0, 1)) * self.height
        points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
        options = {"stroke-dasharray": dash, "opacity": opacity, "stroke-width": width}
        usual = {"stroke-dasharray": "", "opacity": 1.0, "stroke-width": 1.4}
        said = "".join(f' {k}="{v}"' for k, v in options.items() if v != usual[k])
        return f'<polyline stroke="{colour}"{said} points="{points}"/>'

    def frame(self, x_title: str, y_title: str, *, y_ticks: bool = True) -> str:
        """The lower and left edge with three numbers each."""
        bottom, right = self.top + self.height, self.left + self.width
        parts = [
            f'<path d="M{self.left} {self.top}V{bottom}H{right}" fill="none" stroke="{INK}"/>',
            f'<g fill="{INK}">',
        ]
        x0, x1, y0, y1 = self.limits
        for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
            at, number = self.left + share * self.width, x0 + share * (x1 - x0)
            parts.append(f'<text x="{at}" y="{bottom + 13}" text-anchor="{anchor}">')
            parts.append(f"{number:.4g}</text>")
            if y_ticks:
                at, number = bottom - share * self.height + 4 - 4 * share, y0 + share * (y1 - y0)
                parts.append(f'<text x="{self.left - 4}" y="{at:.1f}" text-anchor="end">')
                parts.append(f"{number:.4g}</text>")
        middle = self.left + self.width / 2
        parts.append(f'<text x="{middle}" y="{bottom + 28}" text-anchor="middle">{x_title}</text>')
        parts.append(f'<text x="{self.left + 6}" y="{self.top + 10}">{y_title}</text></g>')
        return "".join(parts)
