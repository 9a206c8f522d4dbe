"""What an import costs, counted in modules, in a fresh interpreter."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "IPython", "ipywidgets", "anywidget", "matplotlib", "lark", "scipy"}
# the compiler stack of torch: a second of imports that compiling, drawing and NUTS do without
COMPILER = ("torch._dynamo", "torch._inductor", "sympy", "functorch")


def modules_after(statement: str) -> set[str]:
    """Names in ``sys.modules`` after ``statement`` in a new interpreter."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout))


def compiler_parts(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith(COMPILER)}


def test_importing_the_package_brings_nothing_heavy() -> None:
    modules = modules_after("import quivers_nb")
    assert modules & HEAVY == set()
    assert len([name for name in modules if name.startswith("quivers_nb")]) == 1


def test_checking_a_program_needs_no_torch_and_no_notebook() -> None:
    modules = modules_after(
        "from quivers_nb.check import check_source; check_source('object A : FinSet 2\\n')"
    )
    assert modules & (HEAVY - {"lark"}) == set()


EVERY_NAME = "import quivers_nb.inference as i; [getattr(i, name) for name in dir(i)]"


@pytest.mark.parametrize("statement", [EVERY_NAME, "import quivers_nb.lower"])
def test_nothing_brings_the_compiler_that_torch_itself_does_not_bring(statement: str) -> None:
    plain = compiler_parts(modules_after("import torch"))
    assert compiler_parts(modules_after(statement)) - plain == set()


def test_inference_knows_no_language() -> None:
    modules = modules_after(EVERY_NAME)
    upward = ("quivers_nb.syntax", "quivers_nb.check", "quivers_nb.lower", "lark", "IPython")
    assert {name for name in modules if name.startswith(upward)} == set()


TEXT = "program p : 1 -> 1\n    sample s <- Normal(0.0, 1.0)\n    return s\nexport p\n"
LOADED = f"""
from contextlib import redirect_stdout
from io import StringIO
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
with redirect_stdout(StringIO()):
    shell.run_line_magic("load_ext", "quivers_nb")
    shell.run_cell_magic("qvr", "", {TEXT!r})
assert "p" in shell.user_ns
"""


def test_a_cell_is_compiled_without_widgets_and_figures() -> None:
    modules = modules_after(LOADED)
    packages = {name.partition(".")[0] for name in modules}
    late = {"ipywidgets", "anywidget", "matplotlib", "arviz", "xarray", "pandas", "scipy"}
    assert packages & late == set()
    assert "torch" in packages  # the cell was compiled
    plain = compiler_parts(modules_after("import torch"))
    assert compiler_parts(modules) - plain == set()
