"""A Pygments lexer for QVR, and for notebook cells that begin with `%%qvr`.

It serves nbconvert and every other tool that highlights by Pygments; in JupyterLab the extension in
`quivers_nb/labextension` does. Words and their kinds are those of the language's own tables.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from IPython.lib.lexers import IPython3Lexer
from pygments.lexer import Lexer, RegexLexer, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

from quivers_nb.spaces.families import FAMILIES
from quivers_nb.syntax import machine, shapes, tokens

_LEADERS = (*sorted(tokens._LEADERS), "return")
_SPACES = ("FinSet", "FreeMonoid", "FreeResiduated", *sorted(machine.SPACES))


class QvrLexer(RegexLexer):  # type: ignore[misc]  # pygments has no types
    """QVR."""

    name = "QVR"
    aliases: ClassVar = ["qvr"]
    filenames: ClassVar = ["*.qvr"]
    url = ""
    tokens: ClassVar = {
        "root": [
            (r"#\{[\s\S]*?\}#", Comment.Multiline),
            (r"#(?!!?\[).*$", Comment.Single),
            (r'"(?:[^"\\\n]|\\.)*"', String),
            (words(_LEADERS, prefix=r"(?<![\w.])", suffix=r"\b(?!\s*[(=])"), Keyword),
            (words(sorted(shapes.READERS), suffix=r"(?=\s*\()"), Keyword),
            (words((*_SPACES, *sorted(FAMILIES)), prefix=r"\b", suffix=r"\b"), Name.Class),
            (r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", Number),
            (r"[<>=*~|?&+$%@/:!^-]+", Operator),
            (r"[()\[\]{},.;]", Punctuation),
            (r"[^\W\d]\w*", Name),
            (r"\s+", Whitespace),
            (r".", Name),
        ]
    }


class QvrCellLexer(Lexer):  # type: ignore[misc]  # pygments has no types
    """Cells of a notebook: QVR below a line `%%qvr`, Python in all others."""

    name = "IPython with QVR"
    aliases: ClassVar = ["ipython-qvr"]
    url = ""

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, Any, str]]:
        head, newline, body = text.partition("\n")
        if not head.lstrip().startswith("%%qvr"):
            yield from IPython3Lexer().get_tokens_unprocessed(text)
            return
        yield 0, Comment.Preproc, head + newline
        start = len(head + newline)
        for place, kind, value in QvrLexer().get_tokens_unprocessed(body):
            yield start + place, kind, value
