"""The form of a panel: one field per setting, checked at every key."""

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets

from quivers_nb.session.settings import SETTINGS, Reading, Setting, read

_TITLES = {"svi": "SVI", "nuts": "NUTS"}
_GRID = "repeat(auto-fill, minmax(23em, 1fr))"
_WRONG = "2px solid #d33f3f"


class Form:
    """The fields of both methods; those of the chosen one are shown.

    ``changed`` is called after every change. Raises `UserError` if a name or a choice is unknown.
    """

    def __init__(
        self, method: str, texts: Mapping[str, str], rows: int | None, changed: Callable[[], None]
    ) -> None:
        read(method, texts, rows)
        self._rows, self._changed = rows, changed
        self._fields = {
            each: {
                setting.name: _field(setting, texts.get(setting.name, setting.default))
                for setting in SETTINGS[each]
            }
            for each in SETTINGS
        }
        self._choice = widgets.ToggleButtons(
            options=[(title, each) for each, title in _TITLES.items()],
            value=method,
            tooltips=["variational inference: a guide", "the no-U-turn sampler: draws"],
        )
        self._note = widgets.HTML()
        self._grid = widgets.GridBox(layout={"grid_template_columns": _GRID, "grid_gap": "0 12px"})
        self.widget = widgets.VBox([self._choice, self._grid, self._note])
        self.widget.add_class("qvr-form")
        self._choice.observe(self._react, "value")
        for fields in self._fields.values():
            for field in fields.values():
                field.observe(self._react, "value")
        self._show()

    @property
    def method(self) -> str:
        return str(self._choice.value)

    @method.setter
    def method(self, method: str) -> None:
        self._choice.value = method

    def texts(self, method: str | None = None) -> dict[str, str]:
        """What stands in the fields of a method."""
        return {name: str(f.value) for name, f in self._fields[method or self.method].items()}

    def fill(self, method: str, texts: Mapping[str, str]) -> None:
        """Write into fields. Raises `UserError` if a name or a choice is unknown."""
        read(method, texts, self._rows)
        known = {setting.name: setting for setting in SETTINGS[method]}
        for name, text in texts.items():
            field = self._fields[method][name]
            # a list cannot show what is not in it
            field.value = known[name].choice(text) if known[name].choices else text

    def reading(self, method: str | None = None) -> Reading:
        """The fields of a method as values, or what is wrong with them."""
        chosen = method or self.method
        return read(chosen, self.texts(chosen), self._rows)

    def _react(self, _change: Any) -> None:
        self._show()
        self._changed()

    def _show(self) -> None:
        fields = self._fields[self.method]
        problems = self.reading().problems
        self._grid.children = tuple(fields.values())
        for name, field in fields.items():
            field.layout.border = _WRONG if name in problems else None
        lines = "<br>".join(escape(problem) for problem in problems.values())
        style = "color:var(--jp-error-color1,#b3261e)"
        self._note.value = f'<span role="alert" style="{style}">{lines}</span>' if lines else ""


def _field(setting: Setting, text: str) -> Any:
    options: dict[str, Any] = {
        "value": text,
        "description": setting.label,
        "tooltip": setting.help,
        "style": {"description_width": "10em"},
        "layout": {"width": "auto"},
    }
    if setting.choices:
        options["value"] = setting.choice(text)
        return widgets.Dropdown(options=setting.choices, **options)
    return widgets.Text(placeholder=setting.empty, continuous_update=True, **options)
