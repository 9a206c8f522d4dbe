"""The Markdown cases: every block finds exactly what its marks say."""

import re
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from quivers_nb.check import check_source
from quivers_nb.check.describe import signatures, site_lines
from quivers_nb.check.term import CheckedModule, Program
from quivers_nb.check.verify import verify
from quivers_nb.diagnostics.diagnostic import Diagnostic
from quivers_nb.diagnostics.errors import LanguageError, UserError
from quivers_nb.diagnostics.source import SourceText
from quivers_nb.dsl import loads
from quivers_nb.spaces.table_data import described

CASES = Path(__file__).parents[1] / "cases"
BLOCK = re.compile(r"^```qvr( prelude)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MARK = re.compile(
    r"# (?P<severity>error|warning): (?P<code>Q\d{4})(?: \"(?P<words>[^\"]*)\")?"
    r"(?: at \"(?P<at>[^\"]*)\")?"
)
TYPE = re.compile(r"# type: (.*\S)")
SITE = re.compile(r"# site: (.*\S)")
DENSITY = re.compile(
    r"# (density|total): (.*\S) at (\S.*?)(?: for input (\S.*?))?( refused(?: \"(.*)\")?)?$",
    re.MULTILINE,
)
NAME = r"[\w$/\[\]#]+"  # a site by its name or path
VALUE = re.compile(rf"({NAME})=(.+?)(?=\s+{NAME}=|$)")
DATA = re.compile(r"# data: (\S+) = (.*\S)")
WEIGHT = re.compile(r"# weight: (\S+) = (.*\S)")
FORMULAS = {
    **vars(stats),
    **{
        name: getattr(np, name)
        for name in ("array", "exp", "expm1", "inf", "log", "pi", "sqrt", "sum", "tan")
    },
    "leggauss": np.polynomial.legendre.leggauss,
}


@dataclass(frozen=True)
class Mark:
    """What one mark expects, and on which line."""

    line: int
    severity: str
    code: str
    words: str
    at: str | None

    def meets(self, found: Diagnostic, source: SourceText) -> bool:
        line, _ = source.line_column(found.span.start)
        covered = source.text[found.span.start : found.span.stop]
        return (
            line == self.line
            and found.code == self.code
            and found.severity.value == self.severity
            and self.words in found.message
            and self.at in {None, covered}
        )


@dataclass(frozen=True)
class Block:
    """One program of a case file; ``where`` is ``objects.md:40``."""

    where: str
    text: str


def blocks() -> Iterator[Block]:
    for file in sorted(CASES.glob("*.md")):
        content, prelude = file.read_text(encoding="utf-8"), ""
        for match in BLOCK.finditer(content):
            line = content.count("\n", 0, match.start()) + 1
            if match[1]:
                prelude = match[2]
            else:
                yield Block(f"{file.name}:{line}", prelude + match[2])


def marks(text: str) -> list[Mark]:
    return [
        Mark(number, m["severity"], m["code"], m["words"] or "", m["at"])
        for number, line in enumerate(text.split("\n"), start=1)
        for m in MARK.finditer(line)
    ]


def data(text: str) -> dict[str, np.ndarray]:
    """What `from_data` reads."""
    return {key: np.asarray(literal_eval(value), dtype=float) for key, value in DATA.findall(text)}


def check(text: str) -> tuple[CheckedModule | None, tuple[Diagnostic, ...]]:
    try:
        module = check_source(text, tables={k: described(v) for k, v in data(text).items()})
    except LanguageError as error:
        return None, error.diagnostics
    return module, module.warnings


@pytest.mark.parametrize("block", [pytest.param(block, id=block.where) for block in blocks()])
def test_a_block_finds_what_its_marks_say(block: Block) -> None:
    source = SourceText(block.text)
    module, found = check(block.text)
    unmet = marks(block.text)
    extra: list[str] = []
    for diagnostic in found:
        mark = next((mark for mark in unmet if mark.meets(diagnostic, source)), None)
        if mark is None:
            line, column = source.line_column(diagnostic.span.start)
            covered = block.text[diagnostic.span.start : diagnostic.span.stop]
            extra.append(f"{line}:{column} {diagnostic.code} {diagnostic.message} at {covered!r}")
        else:
            unmet.remove(mark)
    assert (extra, unmet) == ([], [])
    types = TYPE.findall(block.text)
    sites = SITE.findall(block.text)
    if module is not None:
        verify(module)
        assert set(types) <= set(signatures(module))
        programs = [e.value for e in module.exports if isinstance(e.value, Program)]
        assert set(sites) <= {str(line) for p in programs for line in site_lines(p)}
    else:
        assert not types + sites


@pytest.fixture
def in_doubles() -> Iterator[None]:
    """Literals take the dtype of the computation (R12)."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_doubles")
@pytest.mark.filterwarnings("ignore:.*over which it is observed")  # 7.6 lets lengths differ
@pytest.mark.parametrize(
    "block", [pytest.param(b, id=b.where) for b in blocks() if DENSITY.search(b.text)]
)
def test_a_block_has_the_density_that_its_marks_say(block: Block) -> None:
    model = loads(block.text, data(block.text)).morphism
    for path, value in WEIGHT.findall(block.text):
        weight = torch.as_tensor(np.asarray(eval(value, FORMULAS), dtype=float))
        model.parameter(path).copy_(weight)
    for kind, formula, values, rows, refused, words in DENSITY.findall(block.text):
        wanted = np.asarray(eval(formula, FORMULAS), dtype=float)
        x = torch.tensor(literal_eval(rows)) if rows else None
        given = {name: torch.tensor(literal_eval(value)) for name, value in VALUE.findall(values)}
        sites = {k: v.double() if v.is_floating_point() else v for k, v in given.items()}
        score = model.log_joint if kind == "density" else model.log_density
        if refused:
            with pytest.raises(UserError, match=re.escape(words or "outside the support")):
                score(x, sites)
        else:
            found = score(x, sites).detach().numpy()
            assert found.shape == wanted.shape
            assert found == pytest.approx(wanted, abs=1e-9)


def test_there_are_cases() -> None:
    assert len(list(blocks())) >= 85
