"""What Ctrl-C does when it should not be raised wherever the program is.

While a command is imported nothing has begun, so the process just ends: as an exception it would
come up inside whichever library is being imported, some of which print it or turn it into another.
Where records are sent, those that have begun are finished first.
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
    """From now on Ctrl-C ends the process at once. Ignored, as in background jobs, it stays."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_on_interrupt() -> None:
    """Take `end_on_interrupt` back: what has begun is to be ended in good order."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def interrupt_noted() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: what has begun is finished. A second one ends at once."""
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
