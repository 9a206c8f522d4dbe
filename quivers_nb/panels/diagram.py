"""The live diagram: the SVG of `quivers_nb.diagrams`, folded by hand, its badges following a fit.

    live = live_diagram(model, run=fit_svi(model, x, data))
    live.show("gradient")

The picture is always drawn by the one painter. The page asks (fold this, that channel), Python
answers with another SVG, and things that have the same id in both move to their new places. Values
of badges are sent by themselves, at most four times a second: the layout has kept room for the
widest text, so nothing moves. What the notebook keeps is the static picture; the live one takes its
place on the page while there is a kernel.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import RLock
from time import monotonic, thread_time
from typing import Any
from uuid import uuid4

import anywidget
import traitlets

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.diagrams import Drawing, diagram, subject_of
from quivers_nb.diagrams.badges import CHANNELS, channel
from quivers_nb.diagrams.graph import Diagram
from quivers_nb.panels.readings import FIXED, LIVE, Live, Subject, levels
from quivers_nb.session.publisher import Message
from quivers_nb.session.run import Run

PERIOD = 0.25  # seconds between two updates of badges
SHARE = 0.1  # of a core that reading a channel may take while a fit is under way
HERE = Path(__file__).parent


class LiveDiagram(anywidget.AnyWidget):
    """See `live_diagram`."""

    _esm = HERE / "diagram.js"
    _css = HERE / "diagram.css"
    place = traitlets.Unicode().tag(sync=True)  # where the page shows the static picture
    svg = traitlets.Unicode().tag(sync=True)
    values = traitlets.Dict().tag(sync=True)  # id -> [text, level from 0 to 1 or None]
    channel = traitlets.Unicode().tag(sync=True)
    channels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    orient = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(self, drawing: Drawing, subject: Subject, shown: str = "kernel") -> None:
        super().__init__(channels=[*CHANNELS, *FIXED, *LIVE], place=uuid4().hex)
        self.subject = subject
        self._own = drawing.badges
        self._plain = drawing
        self._lock = RLock()  # messages of the page and updates of a run come in two threads
        self._latest: Mapping[str, float] = {}  # a reading may lack some: between two steps, say
        self._next = 0.0
        self._unsubscribe: Callable[[], None] = lambda: None
        self.updates = 0
        self.on_msg(lambda _widget, content, _buffers: self._asked(content))
        self.show(shown)

    @property
    def drawing(self) -> Drawing:
        """What is shown now, as a static picture."""
        texts = {ident: text for ident, (text, _) in self.values.items()}
        return replace(self._plain, badges={**self._plain.badges, **texts})

    # --- what the user does ---

    def show(self, name: str) -> None:
        """Choose a badge channel.

        Raises:
            UserError: there is no such channel, or it needs a model or a fit that is not there.
        """
        with self._lock:
            badges, values = self._channel(name)
            self._plain = replace(self._plain, badges=badges)
            self.channel = name
            self._latest = {}
            self._values(values)
            self._draw()

    def toggle(self, ident: str) -> None:
        """Fold the group of this id, or open it."""
        self._fold(lambda drawing: drawing.toggle(ident))

    def fold(self, *wishes: str) -> None:
        """Fold groups by id or label; all of them if none is named."""
        self._fold(lambda drawing: drawing.fold(*wishes))

    def unfold(self, *wishes: str) -> None:
        """Open groups by id or label; all of them if none is named."""
        self._fold(lambda drawing: drawing.unfold(*wishes))

    def turn(self) -> None:
        """Let the flow go to the right instead of down, or back."""
        turned = {"tb": "lr", "lr": "tb"}
        self._fold(lambda drawing: replace(drawing, orient=turned[drawing.orient]))

    def follow(self, run: Run[Any]) -> None:
        """Take the values of badges from a run until it is over.

        The model, its input and its data are those of the run.
        """
        self._unsubscribe()
        job = run.job
        self.subject = replace(
            self.subject,
            x=getattr(job, "x", None),
            data=getattr(job, "data", None),
            guide=getattr(job, "guide", None),
        )
        self._unsubscribe = run.subscribe(self._told)

    def update(self) -> None:
        """Read the values of the chosen channel now."""
        with self._lock:
            chosen = LIVE.get(self.channel)
            if chosen is not None:
                self._values(chosen.values(self.subject), chosen)

    # --- inside ---

    def _channel(self, name: str) -> tuple[Mapping[str, str], Mapping[str, float]]:
        """The texts to lay out for a channel, and its values now."""
        self.note = ""
        if name in LIVE:
            values = LIVE[name].values(self.subject)
            return LIVE[name].reserved(self.subject), values
        if name in FIXED:
            return FIXED[name](self.subject), {}
        if name == "kernel":
            return self._own, {}
        subject = self.subject
        return channel(name, subject.diagram, subject.value, subject.obj), {}

    def _values(self, values: Mapping[str, float], chosen: Live | None = None) -> None:
        chosen = chosen or LIVE.get(self.channel)
        if chosen is None:
            self.values = {}
            return
        values = self._latest = {**self._latest, **values}
        level = levels(values)
        blank = dict.fromkeys(chosen.reserved(self.subject), ("", None))
        shown = {i: (chosen.text(value), level.get(i)) for i, value in values.items()}
        self.values = {i: list(pair) for i, pair in {**blank, **shown}.items()}
        known = [value for ident, value in values.items() if ident in level]
        if known:
            self.note = f"{chosen.text(min(known))} (pale) … {chosen.text(max(known))} (warm)"

    def _fold(self, change: Callable[[Drawing], Drawing]) -> None:
        with self._lock:
            self._plain = change(self._plain)
            self._draw()

    def _draw(self) -> None:
        self.orient = self._plain.orient
        self.svg = self._plain.svg

    def _told(self, message: Message) -> None:
        """News of the run, in the thread of its publisher."""
        if monotonic() < self._next and not message.last:
            return
        start = thread_time()
        try:
            self.update()
            self.updates += 1
        except Exception as error:  # noqa: BLE001  (shown in the bar; a badge never ends a run)
            self.note = f"{type(error).__name__}: {error}"
        self._next = monotonic() + max(PERIOD, (thread_time() - start) / SHARE)

    def _asked(self, content: Mapping[str, Any]) -> None:
        """A message of the page."""
        ident = content.get("id")
        try:
            match content.get("do"):
                case "toggle":
                    self.toggle(str(ident))
                case "fold":
                    self.fold()
                case "unfold":
                    self.unfold()
                case "elide":
                    self._fold(lambda drawing: replace(drawing, folded=None))
                case "turn":
                    self.turn()
                case "channel":
                    self.show(str(ident))
                case _:
                    pass  # of a newer page
        except UserError as error:
            self.note = str(error)
            self.send_state("channel")  # the page goes back to the one that is shown
        self.send({"answered": content.get("do")})

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The static picture. The page puts the live one into its place while there is a kernel.

        There is no widget view in the bundle: a notebook opened without a kernel would show an
        error in its place, and not the picture.
        """
        bundle = self.drawing._repr_mimebundle_()
        start = '<div class="quivers-diagram"'
        marked = f'{start} data-live="{self.place}"'
        if "text/html" in bundle:
            bundle["text/html"] = bundle["text/html"].replace(start, marked, 1)
        return bundle, {}


def live_diagram(
    obj: Any,
    name: str | None = None,
    *,
    orient: str = "tb",
    depth: int | None = None,
    fold: Iterable[str] | None = None,
    badges: str = "kernel",
    run: Run[Any] | None = None,
) -> LiveDiagram:
    """A diagram that folds by click and Enter, lights paths, and shows badges that move.

    Args:
        obj: as in `quivers_nb.diagrams.diagram`.
        name: what to call it, or which morphism of a module.
        orient: ``"tb"`` or ``"lr"``.
        depth: fold every group from this depth on; default: repetition is elided.
        fold: ids or labels of groups to fold besides.
        badges: a channel: "kernel", "types", "params", "none", "shape", "device", "observed",
            "gradient", "log p", "KL", "time".
        run: a fit whose progress the badges follow.

    Raises:
        UserError: as `quivers_nb.diagrams.diagram`, or the channel needs a fit that is not there.
    """
    drawing = diagram(obj, name, orient=orient, depth=depth, fold=fold)
    value = subject_of(obj, name)
    if isinstance(value, Diagram):
        raise UserError(
            "A live diagram is of a model or a term; this is a bare picture: use diagram."
        )
    subject = Subject(drawing.diagram, value, obj)
    live = LiveDiagram(drawing, subject)
    if run is not None:
        live.follow(run)
    live.show(badges)
    return live
