"""Every code has a page, every page a code; both examples of a page do what the page says."""

import ast
import re
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from quivers_nb.diagnostics import catalogue
from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.errors import LanguageError, QuiversError

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "quivers_nb" / "diagnostics" / "codes"
CODE = re.compile(r"Q\d{4}")


def literals(file: Path) -> list[str]:
    """The string constants of a Python file."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def codes_in_source() -> dict[str, str]:
    """Each code that the program can give, with a file that names it."""
    found: dict[str, str] = {}
    for folder in (ROOT / "quivers_nb", ROOT / "magics"):
        for file in folder.rglob("*.py"):
            codes = [text for text in literals(file) if CODE.fullmatch(text)]
            found.update(dict.fromkeys(codes, str(file.relative_to(ROOT))))
        for file in folder.rglob("*.json"):
            codes = re.findall(r'"(Q\d{4})"', file.read_text(encoding="utf-8"))
            found.update(dict.fromkeys(codes, str(file.relative_to(ROOT))))
    return found


def findings(text: str) -> tuple[Diagnostic, ...]:
    """What checking ``text`` finds: the errors if it is refused, else the warnings."""
    from quivers_nb.check import check_source

    try:
        return tuple(check_source(text).warnings)
    except LanguageError as error:
        return error.diagnostics


def complaints(program: str) -> str:
    """All that running a Python example raises, warns of or prints as a finding, as one text."""
    printed = StringIO()
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(printed):
        warnings.simplefilter("always")
        raised = ""
        try:
            exec(compile(program, "<example>", "exec"), {"__name__": "__example__"})
        except QuiversError as error:
            raised = str(error)
    found = [line for line in printed.getvalue().splitlines() if line.startswith("! ")]
    return "\n".join([raised, *(str(warning.message) for warning in caught), *found]).strip()


def test_every_code_in_the_source_has_a_page() -> None:
    source = codes_in_source()
    missing = {code: file for code, file in source.items() if code not in catalogue.codes()}
    assert not missing


def test_every_page_is_of_a_code_in_the_source() -> None:
    assert set(catalogue.codes()) <= set(codes_in_source())


def test_the_folder_of_pages_holds_nothing_else() -> None:
    assert {file.name for file in PAGES.iterdir()} == {f"{code}.md" for code in catalogue.codes()}


def test_titles_are_short_distinct_and_unpunctuated() -> None:
    titles = [catalogue.title(code) for code in catalogue.codes()]
    assert len(set(titles)) == len(titles)
    assert all(len(title) <= 72 and not title.endswith(".") for title in titles)


@pytest.mark.parametrize("code", catalogue.codes())
def test_the_failing_example_gives_the_code_first(code: str) -> None:
    page = catalogue.page(code)
    if page.language == "python":
        assert code in complaints(page.failing)
        return
    found = findings(page.failing)
    assert found, "nothing is found"
    assert found[0].code == code, found[0].message
    start, stop = found[0].span.start, found[0].span.stop
    assert 0 <= start <= stop <= len(page.failing)


@pytest.mark.parametrize("code", catalogue.codes())
def test_the_working_example_is_accepted(code: str) -> None:
    page = catalogue.page(code)
    if page.language == "python":
        assert complaints(page.working) == ""
    else:
        assert [finding.message for finding in findings(page.working)] == []
