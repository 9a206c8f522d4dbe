"""Completion inside `%%qvr` cells and after line magics, as a matcher of IPython's completer."""

import re
from collections.abc import Callable

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)
from IPython.core.interactiveshell import InteractiveShell

from quivers_nb.session.complete import complete, in_reach
from quivers_nb.session.known import Known
from quivers_nb.session.lookup import subjects
from quivers_nb.session.session import Session
from quivers_nb.session.workspace import Workspace

Matcher = Callable[[CompletionContext], SimpleMatcherResult]
_OURS = re.compile(r"\A\s*(?:%%\w+[^\n]*\n)*?%%qvr(?:_check|_fmt)?\b[^\n]*\n")
_MAGIC = re.compile(r"\A%%?qvr\b[^\n]*?(-\S*)\Z")
_DOC = re.compile(r"(?:\A|=)\s*%qvr_doc\s+(\S*)\Z")
_CODE = re.compile(r"Q\d{4}\Z")
FLAGS = ("--fresh",)


def matcher(session: Session) -> Matcher:
    """A matcher that knows the workspace of ``session``.

    Outside `%%qvr` cells it has nothing to say and leaves the others alone.
    """
    reach = Reach(session)

    @context_matcher()
    def qvr_matcher(context: CompletionContext) -> SimpleMatcherResult:
        above, line = _split(context)
        head = _OURS.match(above)
        asked = _DOC.search(line)
        if head is None and asked is not None:
            return _result(asked[1], _explained(asked[1], session), ours=True)
        if head is None:
            flag = _MAGIC.match(line) if not above else None
            words = [f for f in FLAGS if flag is not None and f.startswith(flag[1])]
            return _result(flag[1] if flag is not None else "", [(w, "option") for w in words])
        above = above[head.end() :]
        word, found = complete(above, line, *reach.of(above))
        return _result(word, [(each.text, each.kind) for each in found], ours=True)

    return qvr_matcher  # type: ignore[no-any-return]


class Reach:
    """The names in reach, remembered while the user types within a line."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._key: tuple[Workspace, str] | None = None
        self._found: tuple[tuple[Known, ...], Workspace] = ((), session.workspace)

    def of(self, above: str) -> tuple[tuple[Known, ...], Workspace]:
        """Those of the cell above the line, then those of other cells that it does not hide."""
        space = self._session.workspace
        if self._key is None or self._key[0] is not space or self._key[1] != above:
            self._found = in_reach(above, self._session.known(), space, self._session.given)
            self._key = (space, above)
        return self._found


def add_matcher(shell: InteractiveShell, session: Session) -> Matcher:
    """Let the shell's completer ask us; what to give to `remove_matcher`."""
    made = matcher(session)
    shell.Completer.custom_matchers.append(made)
    return made


def remove_matcher(shell: InteractiveShell, made: Matcher) -> None:
    """Take `add_matcher` back."""
    if made in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.remove(made)


def _split(context: CompletionContext) -> tuple[str, str]:
    """The text above the cursor's line, and the line up to the cursor."""
    lines = context.full_text.split("\n")[: context.cursor_line]
    return "".join(line + "\n" for line in lines), context.text_until_cursor


def _explained(begun: str, session: Session) -> list[tuple[str, str]]:
    """What `%qvr_doc` explains: the user's own names first, codes only once one is begun."""
    words = subjects(session.known())
    found = dict.fromkeys(word for word in words if word.startswith(begun) and word != begun)
    return [(word, "word") for word in found if begun or not _CODE.match(word)]


def _result(word: str, found: list[tuple[str, str]], *, ours: bool = False) -> SimpleMatcherResult:
    """``ours``: the place is QVR, so Python's own suggestions would be wrong."""
    made = [SimpleCompletion(text, type=kind) for text, kind in found]
    return SimpleMatcherResult(
        completions=made, matched_fragment=word, suppress=ours or bool(made), ordered=True
    )
