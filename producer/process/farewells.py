"""Delivers what is queued when SIGTERM ends the process, without taking the signal from anybody.

Python's default for SIGTERM is to die on the spot: no `atexit`, no `finally`. Where somebody else
handles the signal (uvicorn, gunicorn, the application), theirs is called and nothing more is done
here: they end the process in good order, and `atexit` or the middleware's lifespan does the rest.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Final

from usagepipe.producer.process.native import Thread
from usagepipe.producer.process.uwsgi import before_end, is_uwsgi

Handler = Callable[[int, FrameType | None], object]
Farewell = Callable[[], object]  # delivers what a recorder has queued, within its own bound

SHELL_STATUS: Final = 128  # plus the signal: what a shell makes of a process that a signal ended

_farewells: dict[int, Farewell] = {}


class TermHandler:
    """What SIGTERM calls. `previous` is whom this one stands in front of; None is the default."""

    def __init__(self, previous: Handler | None) -> None:
        self.previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.previous is not None:
            self.previous(number, frame)
            return
        # A second SIGTERM ends the process at once. The farewells get a thread, because the main
        # one may have been interrupted while it held a lock that they need.
        signal.signal(number, signal.SIG_DFL)
        Thread(partial(_end, number), "usagepipe-end").start()


def _bid_all() -> None:
    for farewell in list(_farewells.values()):
        farewell()


def _end(number: int) -> None:
    try:
        _bid_all()
    finally:
        os.kill(os.getpid(), number)
        # Who is left of that is process 1 of a container, which no default action ends, or has
        # been given another handler meanwhile.
        if signal.getsignal(number) == signal.SIG_DFL:
            os._exit(SHELL_STATUS + number)


def add_farewell(owner: object, farewell: Farewell) -> None:
    """Have SIGTERM call `farewell` before it ends the process.

    Python lets only the main thread install handlers: from another one this does nothing, unless
    a recorder made in the main thread has done it before.
    """
    _farewells[id(owner)] = farewell
    if is_uwsgi():
        before_end(_bid_all)  # its handlers are not Python's, which would take their place
        return
    current = signal.getsignal(signal.SIGTERM)
    # Handled here already; or ignored, or handled by something that is not Python: not ours to
    # change.
    if current == signal.SIG_DFL:
        _handle_by(TermHandler(None))
    elif callable(current) and not isinstance(current, TermHandler):
        _handle_by(TermHandler(current))


def remove_farewell(owner: object) -> None:
    """Undo `add_farewell`. With the last one, SIGTERM is handled as it was before the first."""
    _farewells.pop(id(owner), None)
    current = signal.getsignal(signal.SIGTERM)
    if not _farewells and isinstance(current, TermHandler):
        _handle_by(current.previous or signal.SIG_DFL)


def _handle_by(handler: Handler | signal.Handlers) -> None:
    # ValueError: another thread, or another interpreter of the process (uWSGI, mod_wsgi). Asked for
    # its thread, Python is wrong where greenlets stand for threads.
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, handler)
