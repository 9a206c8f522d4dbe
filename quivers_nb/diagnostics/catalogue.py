"""The catalogue of codes: what each finding means, with an example that fails and one that works.

A page is ``codes/Qnnnn.md`` beside this file; the set of files is the set of codes. Pages are
read when they are asked for. The format, which `parse_page` enforces:

    # Q0201: Unknown name

    Why this is refused, in a paragraph or two.

    ## Fails

    (a fenced block: ``qvr``, or ``python`` for what can only go wrong at run time)

    ## Works

    (a fenced block of the same language)

Ranges: Q01xx syntax, Q02xx objects, Q03xx morphism declarations, Q04xx expressions, Q05xx
programs, Q06xx families and arguments, Q07xx lets, Q08xx host data and run time, Q09xx parsed but
not supported yet, Q1xxx warnings of inference.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from quivers_nb.diagnostics.errors import InternalError

_FILE = re.compile(r"Q\d{4}\.md")
_PAGE = re.compile(
    r"\A# (?P<code>Q\d{4}): (?P<title>[^\n]+)\n\n(?P<why>.+?)\n\n"
    r"## Fails\n\n```(?P<language>qvr|python)\n(?P<failing>.*?)```\n\n"
    r"## Works\n\n```(?P=language)\n(?P<working>.*?)```\n*\Z",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Page:
    """What the catalogue says about one code. The examples are complete and are tested."""

    code: str
    title: str
    why: str
    language: str  # of the examples: "qvr" or "python"
    failing: str
    working: str


def codes() -> tuple[str, ...]:
    """Every code, in order."""
    return tuple(sorted(_files()))


def page(code: str) -> Page:
    """The page of ``code``.

    Raises:
        KeyError: there is no such code.
    """
    return parse_page(_files()[code].read_text(encoding="utf-8"), code)


def title(code: str) -> str:
    """The page's title: the finding in a few words."""
    return page(code).title


def parse_page(text: str, code: str) -> Page:
    """Read a page.

    Raises:
        InternalError: the text does not have the format above, or is about another code.
    """
    match = _PAGE.match(text.replace("\r\n", "\n"))
    if match is None:
        raise InternalError(f"codes/{code}.md does not have the format of a page")
    if match["code"] != code:
        raise InternalError(f"codes/{code}.md is headed {match['code']}")
    return Page(**match.groupdict())


@cache
def _files() -> dict[str, Traversable]:
    """The page of each code. One file is one code, so a code cannot be declared twice."""
    folder = resources.files("quivers_nb.diagnostics").joinpath("codes")
    return {
        file.name.removesuffix(".md"): file
        for file in folder.iterdir()
        if _FILE.fullmatch(file.name)
    }
