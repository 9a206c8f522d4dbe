"""`%qvr_fit`: a panel in one line. `%qvr_diff`. What the magics can be configured to do."""

import pytest
import torch
from IPython.core.error import UsageError

from quivers_nb.panels import Panel
from tests.session.test_run import LONG
from tests.support.shells import Cells

LINE = """%%qvr
object Obs : FinSet n
data x : Obs -> Real 1
program line : Obs -> Obs
    sample slope <- Normal(0.0, 10.0)
    let mu = slope * x
    observe y : Obs <- Normal(mu, 0.5)
    return slope
export line
"""


@pytest.fixture
def line(cells: Cells) -> Cells:
    cells.run(LINE)
    cells.names["x"], cells.names["y"] = torch.linspace(0, 1, 9), torch.linspace(0, 2, 9)
    cells.run("%config QvrMagics.panel = 'widget'")
    return cells


def fitted(cells: Cells, arguments: str) -> Panel:
    cells.run(f"p = %qvr_fit {arguments}")
    made = cells.names["p"]
    assert isinstance(made, Panel)
    return made


def test_the_variables_called_as_the_data_are_taken_and_the_code_says_so(line: Cells) -> None:
    made = fitted(line, "line steps=20 seed=1")
    assert made.settings["steps"] == "20"
    assert '{"x": x, "y": y}' in made.code
    made.start().wait(LONG)
    first = made.result.losses
    line.run("%%qvr --fresh fresh\n" + LINE.partition("\n")[2])
    scope = dict(line.names)
    scope["line"] = line.names["fresh"].morphism
    exec(made.code, scope)
    scope["run"].wait(LONG)
    assert torch.equal(scope["run"].result.losses, first)


def test_data_and_method_can_be_named(line: Cells) -> None:
    line.names["d"] = {"x": line.names["x"], "y": line.names["y"]}
    made = fitted(line, "line -d d -m nuts draws=30 warmup=30 chains=2")
    assert "fit_nuts(\n    line,\n    None,\n    d," in made.code
    made.start().wait(LONG)
    assert made.result.num_samples == 30
    framed = fitted(line, "line -d \"__import__('pandas').DataFrame({'x': x, 'y': y})\"")
    assert set(framed.data) == {"x", "y"}
    quoted = fitted(line, """line -d '{"x": x, "y": y}'""")
    assert set(quoted.data) == {"x", "y"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("lime", "lime is not defined; did you mean line?"),
        ("x", "x is no program"),
        ("line -d 3", "--data 3: data are given by name"),
        ("line -d nothing", "--data nothing has no value: NameError"),
        ("line steps", "write name=value"),
        ("line stepz=3", "did you mean steps"),
        ("line guide=Auto", "is not one of"),
    ],
)
def test_what_is_wrong_is_named(line: Cells, arguments: str, words: str) -> None:
    error, text = line.fail(f"%qvr_fit {arguments}")
    assert isinstance(error, UsageError | Exception)
    assert words in text


def test_missing_data_are_named(line: Cells) -> None:
    del line.names["y"]
    _, text = line.fail("%qvr_fit line")
    assert "line needs x, y, and there is no variable called y" in text


def test_in_a_terminal_there_is_a_sentence_and_the_code(line: Cells) -> None:
    line.run("%config QvrMagics.panel = 'auto'")
    shown = line.show("%qvr_fit line")
    assert set(shown) == {"text/plain"}
    assert shown["text/plain"].startswith("line: not started.")
    assert "fit_svi(" in shown["text/plain"]
    assert "p.start()" in shown["text/plain"]


@pytest.mark.parametrize("shown_as", ["auto", "static", "text"])
def test_the_panel_is_the_value_wherever_it_is_shown(line: Cells, shown_as: str) -> None:
    line.run(f"%config QvrMagics.panel = '{shown_as}'")
    made = fitted(line, "line steps=20")
    assert made.start().wait(LONG)
    assert made.result.num_steps == 20
    assert not any("widget" in mime for mime in line.show("p"))


def test_the_first_form_can_be_configured_and_wrong_values_are_refused(line: Cells) -> None:
    line.run("%config QvrMagics.method = 'nuts'")
    assert "chains" in fitted(line, "line").settings
    line.shell.run_cell("%config QvrMagics.method = 'mcmc'")  # the shell says what is allowed
    assert "chains" in fitted(line, "line").settings


def test_versions_are_compared_in_canonical_form(line: Cells, tmp_path) -> None:
    changed = LINE.replace("program line", "program line2").replace("export line", "export line2")
    line.run(
        changed.replace("0.5", "0.25").replace(
            "object Obs : FinSet n\ndata x : Obs -> Real 1\n", ""
        )
    )
    assert line.names["line2"] is not None
    one, two = tmp_path / "one.qvr", tmp_path / "two.qvr"
    body = LINE.partition("\n")[2]
    one.write_text(body)
    two.write_text(body.replace("Normal(mu, 0.5)", "Normal(mu,   0.25)"))
    assert _printed(line, f"%qvr_diff {one} {one}").strip().endswith("are the same.")
    text = _printed(line, f"%qvr_diff {one} {two}")
    assert "-    observe y : Obs <- Normal(mu, 0.5)" in text
    assert "+    observe y : Obs <- Normal(mu, 0.25)" in text
    assert "0.25" in _printed(line, "%qvr_diff line line2")
    _, text = line.fail("%qvr_diff line nothing")
    assert "no object of a QVR cell and no file" in text


def _printed(cells: Cells, line: str) -> str:
    from IPython.utils.capture import capture_output

    with capture_output() as captured:
        cells.shell.run_cell(line).raise_error()
    return str(captured.stdout + captured.stderr)
