"""How faults are told in the log: by type and place, never by their text, and without a fault.

The text of an error quotes values, and a value in a web process may be a key or a prompt. And a
log can fail too: structlog's own raises when its disk is full or its pipe closed. Every module of
the producer tells what it has to tell by `log`.
"""

import os
from contextlib import suppress
from pathlib import Path
from traceback import extract_tb
from typing import Final

import structlog


class HarmlessLog:
    """structlog's logger, as the application has configured it, of which no call raises: a line
    that cannot be written costs neither an event nor the outbox's thread nor a request."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()  # asks for the configuration at each line

    def debug(self, event: str, **facts: object) -> None:
        self._tell("debug", event, facts)

    def warning(self, event: str, **facts: object) -> None:
        self._tell("warning", event, facts)

    def error(self, event: str, **facts: object) -> None:
        self._tell("error", event, facts)

    def _tell(self, level: str, event: str, facts: dict[str, object]) -> None:
        with suppress(Exception):
            getattr(self._log, level)(event, **facts)


log: Final = HarmlessLog()


def describe(error: BaseException) -> str:
    """`KeyError at app.py:12`: the kind of error, and the line that raised it. Of the system's
    errors its own word too: `OSError (No space left on device) at segments.py:140`."""
    kind = type(error).__name__
    if isinstance(error, OSError) and isinstance(error.errno, int):
        kind += f" ({os.strerror(error.errno)})"
    frames = extract_tb(error.__traceback__)
    if not frames:
        return kind
    return f"{kind} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
