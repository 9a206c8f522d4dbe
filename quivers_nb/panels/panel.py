"""A panel: a form, buttons and live curves for the fit of one model.

Buttons only ask: what they start works in a thread of its own, and every verb returns at once from
whatever thread the kernel calls it. What is shown comes back from the run, never from the button.
"""

from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from threading import RLock
from typing import Any

import ipywidgets as widgets
from IPython.display import DisplayHandle, display
from torch import Tensor

from quivers_nb.diagnostics.errors import UserError
from quivers_nb.inference.columns import by_name
from quivers_nb.inference.model import Model, Values, refuse_nothing
from quivers_nb.panels.feed import HISTORY, TABS, Feed
from quivers_nb.panels.form import Form
from quivers_nb.panels.picture import mimebundle
from quivers_nb.panels.view import RunView
from quivers_nb.session.fits import SviRun, fit_nuts, fit_svi, own_seed
from quivers_nb.session.recipe import Recipe, recipe
from quivers_nb.session.report import problems, report
from quivers_nb.session.run import Run
from quivers_nb.session.settings import as_text
from quivers_nb.session.state import State

FITS: Mapping[str, Callable[..., Run[Any]]] = {"svi": fit_svi, "nuts": fit_nuts}
VERBS = ("start", "pause", "resume", "stop", "abort", "nuts")
WIDGET = "application/vnd.jupyter.widget-view+json"


class Panel:
    """What `panel` returns. Its verbs are those of its buttons.

    Attributes: ``run`` is the fit under way or the last one, None before the first. ``shown_as``:
    "widget" is live, "static" a picture, "text" a sentence and the code.
    """

    def __init__(
        self,
        model: Model,
        x: Tensor | None = None,
        data: Values | None = None,
        method: str = "svi",
        names: tuple[str, str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        refuse_nothing(model)
        if method not in FITS:
            raise UserError(f"method={method!r} is not one of {', '.join(FITS)}")
        self.model, self.x = model, x
        self.data = None if data is None else by_name(data)
        own = str(getattr(model, "name", "model"))
        self._names = names or (
            own,
            "None" if x is None else "x",
            "None" if data is None else "data",
        )
        self.run: Run[Any] | None = None
        self.shown_as = "widget"
        self._recipe: Recipe | None = None
        self._before = ""  # the code of a variational fit that was handed over
        self._error = ""
        self._feed: Feed | None = None
        self._handle: DisplayHandle | None = None
        self._lock = RLock()
        self._count = 0
        self._views = 0  # that have asked for what there is
        # ipykernel 7.4 takes what a page says to the subshell whose message was handled last when
        # we sent, which may be that of a page that is gone. What is sent as if from the cell that
        # made the panel is answered where cells run.
        self._home = copy_context()
        texts = {name: as_text(value) for name, value in (settings or {}).items()}
        self._form = Form(method, texts, _rows(model, x), self._renew)
        self._view = RunView()
        self._view.on_msg(self._hear)
        self._view.observe(lambda _: self._look_again(), ["tab", "parameter"])
        self._box = widgets.VBox([self._form.widget, self._view])
        self._box.add_class("qvr-panel")
        self._renew()

    # --- verbs ------------------------------------------------------------------------------------

    def start(self) -> Run[Any]:
        """Begin a fit with the settings of the form.

        Raises `UserError` if the form has faults or a fit of the model is under way.
        """
        with self._lock:
            if self.run is not None and not self.run.state.over:
                raise UserError(f"the fit is {self.run.state}: stop it first")
            made = self._recipe_of(self._form.method)
            given = (self.model, self.x, self.data)
            run: Run[Any] = made.start(FITS[made.method], *given)
            self._before = ""
            self._watch(run, made)
            return run

    def pause(self) -> None:
        """Wait after the iteration under way."""
        if self.run is not None:
            self.run.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        if self.run is not None:
            self.run.resume()

    def stop(self) -> None:
        """End after the iteration under way and keep what there is."""
        if self.run is not None:
            self.run.stop()

    def abort(self) -> None:
        """End at once, without a result."""
        if self.run is not None:
            self.run.abort()

    def nuts(self) -> Run[Any]:
        """Go over to NUTS, whose chains start at draws of the fitted guide.

        A variational fit that is under way is stopped. Raises `UserError` if there is none.
        """
        with self._lock:
            if not isinstance(self.run, SviRun) or self._recipe is None:
                raise UserError("there is no variational fit to go on from: start SVI first")
            before = self.run
            code = self._recipe.code(self._names)
            made = self._recipe_of("nuts")
            run = before.then_nuts(**made.made())
            before.stop("handed over to NUTS")
            self._before = code
            self._form.method = "nuts"
            self._watch(run, made)
            return run

    # --- what there is ----------------------------------------------------------------------------

    @property
    def result(self) -> Any:
        """The result of the run. Raises what the run raised; `UserError` if there is none."""
        if self.run is None:
            raise UserError("the fit has not been started: press Start, or call .start()")
        return self.run.result

    @property
    def settings(self) -> dict[str, str]:
        """What stands in the form."""
        return self._form.texts()

    def set(self, **settings: Any) -> "Panel":
        """Write into the form. Raises `UserError` if a name is no setting of the method."""
        self._form.fill(self._form.method, {k: as_text(v) for k, v in settings.items()})
        return self

    @property
    def code(self) -> str:
        """Python that repeats the run, or before there is one, what Start would do.

        A fit moves the weights of its model: the code repeats it from the weights it began with.
        """
        with self._lock:
            made = self._recipe
            if made is None:
                reading = self._form.reading()
                if not reading.good:
                    return f"# {'; '.join(reading.problems.values())}\n"
                made = recipe(self._form.method, reading.values, 0, _features(self.x))
                options = tuple(each for each in made.options if each[0] != "seed")
                made = made if reading.values["seed"] is not None else Recipe(made.method, options)
            if self._before:
                return self._before + made.code(self._names, after="run")
            return made.code(self._names)

    def __repr__(self) -> str:
        return str(self._bundle()["text/plain"])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        del include, exclude
        return self._bundle()

    def _ipython_display_(self) -> None:
        shown = display(self._bundle(), raw=True, display_id=True)
        self._handle = None if self.shown_as == "text" else shown  # a terminal would print it again

    def _bundle(self) -> dict[str, Any]:
        """What a notebook stores, and the live view in addition."""
        about = self._names[0]
        try:
            bundle: dict[str, Any] = dict(mimebundle(self.run, about, self.code))
        except Exception as error:  # noqa: BLE001  (no fault of a picture may fail the cell)
            bundle = {"text/plain": f"{about}: no picture ({type(error).__name__}: {error})."}
        if self.shown_as == "text":
            way = "" if self.run else " Begin it, `run = p.start()` of a panel p, or from code:\n"
            return {"text/plain": f"{bundle['text/plain']}{way}\n{self.code}"}
        if self.shown_as == "static":
            return bundle
        view = self._box._repr_mimebundle_() or {}
        return {**bundle, **{key: value for key, value in view.items() if key == WIDGET}}

    # --- between the run, the form and the view ---------------------------------------------------

    def _recipe_of(self, method: str) -> Recipe:
        reading = self._form.reading(method)
        if not reading.good:
            raise UserError("; ".join(reading.problems.values()))
        seed = own_seed(None) % 2**31 if reading.values["seed"] is None else 0
        return recipe(method, reading.values, seed, _features(self.x))

    def _watch(self, run: Run[Any], made: Recipe) -> None:
        """Show a new run. The lock is held."""
        if self._feed is not None:
            self._feed.leave()
        self.run, self._recipe, self._error = run, made, ""
        self._count += 1
        self._feed = Feed(run, self._count, self._send, self._wanted)
        self._renew()
        self._feed.begin()
        run.call_at_end(partial(self._ended, run))

    def _ended(self, run: Run[Any]) -> None:
        """Write the final picture into the notebook, once."""
        run.flush()
        if run is not self.run:
            return
        self._renew()
        if self._handle is not None:
            self._handle.update(self._bundle(), raw=True)
        if self._views > 1:
            self._keep()

    def _keep(self) -> None:
        """Have a page that was opened anew write the final picture: updates do not reach it."""
        kept = {key: text for key, text in self._bundle().items() if key != WIDGET}
        self._send({"kind": "kept", "data": kept}, [])

    def _hear(self, _widget: Any, content: Mapping[str, Any], _buffers: Any) -> None:
        """A message of the view; from whatever thread."""
        feed = self._feed
        self._views += "need" in content
        if content.get("verb") in VERBS:
            self._obey(content["verb"])
        elif feed is not None and "need" in content:
            feed.begin(HISTORY)
            if self.run is not None and self.run.state.over:
                self._keep()
        elif feed is not None and "seen" in content:
            feed.seen(int(content["seen"]))
        elif "look" in content:
            self._look_again()

    def _obey(self, verb: str) -> None:
        try:
            getattr(self, verb)()
        except Exception as error:  # noqa: BLE001  (shown where the button is)
            self._error = str(error)
        self._renew()

    def _look_again(self) -> None:
        if self._feed is not None:
            self._feed.look_soon()

    def _wanted(self) -> tuple[str, str]:
        tab = self._view.tab
        return (tab if tab in TABS else TABS[0]), self._view.parameter

    def _send(self, header: Mapping[str, Any], buffers: list[bytes]) -> None:
        self._home.copy().run(self._view.send, dict(header), buffers)

    def _renew(self) -> None:
        """Tell the view by value how things stand."""
        run, form = self.run, self._form
        method = form.method if self._recipe is None else self._recipe.method
        title = f"{self._names[0]}, {method.upper()}"
        warmup = dict(self._recipe.made()).get("warmup", 1000) if self._recipe is not None else 0
        info = {
            "run": self._count,
            "title": title,
            "state": str(State.CREATED if run is None else run.state),
            "valid": form.reading().good,
            "run_method": method,
            "hands_over": isinstance(run, SviRun),
            "warmup": warmup if method == "nuts" else 0,
            "code": self.code,
            **self._words(run),
        }
        self._home.copy().run(setattr, self._view, "info", info)

    def _words(self, run: Run[Any] | None) -> dict[str, Any]:
        """The message below the buttons: an error, or what is to be said of the result."""
        if self._error:
            return {"message": self._error, "bad": True}
        if run is None or not run.state.over:
            return {"message": "", "bad": False}
        try:
            found = problems(run.result)
        except Exception as error:  # noqa: BLE001  (the run's own error is what is to be shown)
            return {"message": f"{type(error).__name__}: {error}", "bad": True}
        lines = [f"{finding.fact}. {finding.advice}." for finding in found]
        return {"message": "\n".join(lines or [report(run.result).sentence]), "bad": bool(lines)}


def panel(
    model: Model,
    x: Tensor | None = None,
    data: Values | None = None,
    *,
    method: str = "svi",
    names: tuple[str, str, str] | None = None,
    **settings: Any,
) -> Panel:
    """A panel for fits of ``model`` at ``x`` given ``data``; show it as the last line of a cell.

    ``method`` is "svi" or "nuts"; ``settings`` fill the form (``steps=500``). ``names`` are the
    variables that the exported code mentions. Nothing is started.

    Raises `UserError` if a setting is unknown.
    """
    return Panel(model, x, data, method, names, settings)


def _rows(model: Model, x: Tensor | None) -> int | None:
    shape = () if x is None else model.batch_shape(x)
    return int(shape[0]) if len(shape) == 1 else None


def _features(x: Tensor | None) -> int | None:
    return None if x is None or x.ndim < 2 else int(x.shape[-1])
