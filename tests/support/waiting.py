"""Waits for another process: on a condition with a deadline, never with a fixed sleep."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

Found = TypeVar("Found")
POLL_SECONDS: Final = 0.05


def eventually(
    condition: Callable[[], Found],
    seconds: float = 30,
    what: str | Callable[[], str] = "the condition to hold",
) -> Found:
    """Calls `condition` until its value is true, and returns the value; its errors pass through.

    `what` ends the sentence "waited for …"; a function is called only when time is up.

    Raises:
        AssertionError: after `seconds`, with what was awaited and the last value.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() >= deadline:
            goal = what() if callable(what) else what
            raise AssertionError(f"waited {seconds:g} s for {goal}; last seen: {found!r}")
        time.sleep(POLL_SECONDS)
    return found
