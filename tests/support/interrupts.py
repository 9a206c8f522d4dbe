"""A Ctrl-C at a place of one's choice."""

from collections.abc import Callable
from typing import Any


def interrupted_once(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    """``function``, whose first call is interrupted; and what it has been called with."""
    calls: list[Any] = []

    def cut(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return function(*given)

    return cut, calls
