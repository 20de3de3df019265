"""Handles Ctrl-C where KeyboardInterrupt would do harm.

While a command is imported, the process just ends: an exception would surface inside a library,
and some libraries print it or replace it. While records are sent, those in flight are finished
first.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Final

INTERRUPTED: Final = 128 + signal.SIGINT  # as shells have it


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process at once, unless it is ignored, as in background jobs."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_on_interrupt() -> None:
    """Undo `end_on_interrupt`: from now on Ctrl-C raises KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def interrupt_noted() -> Iterator[Callable[[], bool]]:
    """Yields whether Ctrl-C was pressed, so that the caller can finish. The second ends at once."""
    noted = Event()

    def note(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as in background jobs
        signal.signal(signal.SIGINT, note)
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
