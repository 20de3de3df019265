"""Ctrl-C while a command is imported: nothing has begun, so the process just ends.

As an exception it would come up inside whichever library is being imported, some of which print
it or turn it into another.
"""

import os
import signal
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


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
