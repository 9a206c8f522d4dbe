"""The widget of live curves and buttons: what the browser is told by value, and where its code is.

Curves do not go this way: they are sent as messages (`quivers_nb.panels.feed`). What is here is
small, and it is what a page has when it is loaded again: the open tab, the chosen parameter.
"""

from pathlib import Path
from uuid import uuid4

import anywidget
import traitlets

HERE = Path(__file__).parent


class RunView(anywidget.AnyWidget):
    """Buttons, curves and tables of one panel."""

    _esm = HERE / "view.js"
    _css = HERE / "view.css"
    panel = traitlets.Unicode().tag(sync=True)  # which one, for views of it that follow another
    info = traitlets.Dict().tag(sync=True)
    tab = traitlets.Unicode("curves").tag(sync=True)
    parameter = traitlets.Unicode("").tag(sync=True)
    smoothing = traitlets.Float(0.9).tag(sync=True)
    log_scale = traitlets.Bool(False).tag(sync=True)
    as_table = traitlets.Bool(False).tag(sync=True)
    show_code = traitlets.Bool(False).tag(sync=True)

    def __init__(self) -> None:
        super().__init__(panel=uuid4().hex)
