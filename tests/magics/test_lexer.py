"""The Pygments lexer: kinds of words, nothing lost, and nbconvert's pages."""

import nbformat
import pytest
from nbconvert import HTMLExporter
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, Number, Token

from quivers_magics.lexer import QvrCellLexer, QvrLexer
from tests.syntax import samples

MODEL = "program p : 1 -> 1\n    sample s <- Normal(0.0, 1.0)  # a comment\n    return s\n"


def kinds(lexer, text):
    return {value: kind for kind, value in lexer.get_tokens(text)}


def test_words_have_the_kinds_that_the_language_gives_them() -> None:
    found = kinds(QvrLexer(), MODEL)
    assert found["program"] is found["sample"] is found["return"] is Keyword
    assert found["Normal"] is Name.Class
    assert found["s"] is Name
    assert found["0.0"] is Number
    assert found["# a comment"] is Comment.Single


def test_a_leader_that_is_called_or_named_is_no_keyword() -> None:
    assert kinds(QvrLexer(), "let body = loss(3)\n")["loss"] is Name


@pytest.mark.parametrize("name", [n for n in dir(samples) if n.isupper()])
def test_nothing_is_lost_and_nothing_is_an_error(name: str) -> None:
    texts = getattr(samples, name)
    for text in [texts] if isinstance(texts, str) else [str(each) for each in texts]:
        tokens = list(QvrLexer(stripnl=False, ensurenl=False).get_tokens(text))
        assert "".join(value for _, value in tokens) == text.replace("\r\n", "\n")
        assert all(kind is not Token.Error for kind, _ in tokens)


def test_cells_are_qvr_below_the_magic_and_python_elsewhere() -> None:
    found = kinds(QvrCellLexer(), "%%qvr\n" + MODEL)
    assert found["sample"] is Keyword
    assert found["%%qvr\n"] is Comment.Preproc
    assert kinds(QvrCellLexer(), "import torch\n")["import"] in Keyword


def test_a_converted_page_has_the_words_of_the_language_in_colour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # as the entry points of the installed package have it
    scope = get_lexer_by_name.__globals__
    monkeypatch.setitem(scope, "find_plugin_lexers", lambda: iter([QvrCellLexer]))
    cells = [nbformat.v4.new_code_cell("%%qvr\n" + MODEL), nbformat.v4.new_code_cell("x = 1")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython-qvr"}
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert '<span class="k">sample</span>' in page
    assert '<span class="nc">Normal</span>' in page
