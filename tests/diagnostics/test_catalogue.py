"""The format of a page is enforced when it is read."""

import pytest

from quivers_nb.diagnostics.catalogue import page, parse_page
from quivers_nb.diagnostics.errors import InternalError

PAGE = """\
# Q0999: Two of a kind

Why it is refused.

In two paragraphs.

## Fails

```qvr
object A : FinSet 2
object A : FinSet 3
```

## Works

```qvr
object A : FinSet 2
```
"""


def test_a_page_has_title_reason_and_two_examples() -> None:
    read = parse_page(PAGE, "Q0999")
    assert read.title == "Two of a kind"
    assert read.why == "Why it is refused.\n\nIn two paragraphs."
    assert read.language == "qvr"
    assert read.failing == "object A : FinSet 2\nobject A : FinSet 3\n"
    assert read.working == "object A : FinSet 2\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("## Works", "## Fixed"),
        ("# Q0999: ", "# Q0999 "),
        ("Why it is refused.\n\nIn two paragraphs.\n\n", ""),
        ("```qvr\nobject A : FinSet 2\n```", "```python\nobject A : FinSet 2\n```"),
    ],
)
def test_a_page_of_another_form_is_refused_by_name(old: str, new: str) -> None:
    with pytest.raises(InternalError, match=r"codes/Q0999\.md does not have the format"):
        parse_page(PAGE.replace(old, new), "Q0999")


def test_a_page_under_another_code_is_refused() -> None:
    with pytest.raises(InternalError, match=r"codes/Q0998\.md is headed Q0999"):
        parse_page(PAGE, "Q0998")


def test_a_code_that_does_not_exist_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        page("Q0000")
