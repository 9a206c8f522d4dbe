"""What an error shows in a notebook: its message and the user's own lines."""

import pytest

from quivers_nb.diagnostics.errors import InternalError, MissingExtra, UserError, require


def _raise(kind: type[Exception]) -> None:
    raise kind("three rows, but four are wanted\nand why")


@pytest.mark.parametrize("kind", [UserError, MissingExtra])
def test_an_error_of_the_user_shows_their_lines_and_not_ours(kind: type[UserError]) -> None:
    with pytest.raises(kind) as caught:
        _raise(kind)
    lines = caught.value._render_traceback_()
    assert lines[:2] == [f"{kind.__name__}: three rows, but four are wanted", "and why"]
    assert [line.split(": ", 1)[1] for line in lines[2:]] == [
        "_raise(kind)",
        'raise kind("three rows, but four are wanted\\nand why")',
    ]
    assert "in _raise" in lines[-1]


def test_what_is_installed_and_what_is_ours_is_left_out() -> None:
    with pytest.raises(MissingExtra) as caught:
        require("no_such_package", extra="analysis", why="to save draws")
    message, *places = caught.value._render_traceback_()
    assert "pip install 'quivers-nb[analysis]'" in message
    assert len(places) == 1
    assert 'require("no_such_package"' in places[0]


def test_a_bug_of_ours_keeps_every_frame() -> None:
    assert not hasattr(InternalError("a bug"), "_render_traceback_")
