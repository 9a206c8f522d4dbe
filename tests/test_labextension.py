"""The colours for `%%qvr` cells: the files are in place and know the words of the language."""

import json
import re
import tomllib
from pathlib import Path

from quivers_nb.syntax import tokens

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "quivers_nb" / "labextension"
SCRIPT = (FOLDER / "static" / "remoteEntry.js").read_text(encoding="utf-8")


def _words(name: str) -> set[str]:
    """The words of one of the script's lists."""
    found = re.search(rf"const {name} =\s+((?:\"[^\"]*\"[\s+]*)+);", SCRIPT)
    assert found is not None, name
    return set(" ".join(re.findall(r'"([^"]*)"', found.group(1))).split())


def test_the_words_that_begin_a_line_are_those_of_the_language() -> None:
    # `factor` is coloured by a rule of its own; `return` begins a step that is not in the table
    assert _words("LEADERS") | {"factor", "return"} == tokens._LEADERS | {"return"}


def test_the_words_before_a_bracket_are_those_of_the_language() -> None:
    assert _words("OPERATIONS") == set(tokens.READERS)


def test_the_spaces_are_those_of_the_language() -> None:
    assert _words("SPACES") == set(tokens.SPACES) | {"FinSet", "FreeMonoid", "FreeResiduated"}


def test_the_package_says_where_its_script_is_and_has_the_projects_version() -> None:
    package = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert (FOLDER / package["jupyterlab"]["_build"]["load"]).is_file()
    assert package["version"] == project["project"]["version"]
    assert f'const NAME = "{package["name"]}";' in SCRIPT
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared["quivers_nb/labextension"].endswith(f"labextensions/{package['name']}")


def test_the_script_asks_nobody() -> None:
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(|eval\(", SCRIPT)
