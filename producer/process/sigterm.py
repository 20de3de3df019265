"""Delivers queued events when SIGTERM ends the process. Other handlers of SIGTERM keep working.

By default SIGTERM ends Python at once: no `atexit`, no `finally`. Where another handler exists
(uvicorn, gunicorn, the application), it is called and nothing more happens here: it shuts the
process down, and `atexit` or the middleware's lifespan delivers the events.
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
Callback = Callable[[], object]  # delivers the queued events of a recorder, in bounded time

SHELL_STATUS: Final = 128  # plus the signal number: the exit status that a shell reports

_callbacks: dict[int, Callback] = {}


class TermHandler:
    """The handler of SIGTERM. `previous` is the handler it replaced; None is Python's default."""

    def __init__(self, previous: Handler | None) -> None:
        self.previous = previous

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.previous is not None:
            self.previous(number, frame)
            return
        # A second SIGTERM ends the process at once. The callbacks run in a thread of their own,
        # because the interrupted main thread may hold a lock that they need.
        signal.signal(number, signal.SIG_DFL)
        Thread(partial(_end, number), "usagepipe-end").start()


def _call_all() -> None:
    for callback in list(_callbacks.values()):
        callback()


def _end(number: int) -> None:
    try:
        _call_all()
    finally:
        os.kill(os.getpid(), number)
        # Still alive: this is process 1 of a container, which default actions do not end, or
        # another handler was installed in the meantime.
        if signal.getsignal(number) == signal.SIG_DFL:
            os._exit(SHELL_STATUS + number)


def call_on_sigterm(owner: object, callback: Callback) -> None:
    """Have SIGTERM call `callback` before it ends the process.

    Python installs signal handlers in the main thread only. In another thread this has no effect,
    unless a recorder was made in the main thread before.
    """
    _callbacks[id(owner)] = callback
    if is_uwsgi():
        before_end(_call_all)  # a Python handler would replace uWSGI's own, which is in C
        return
    current = signal.getsignal(signal.SIGTERM)
    # Otherwise our handler is installed already, or SIGTERM is ignored, or code outside of Python
    # handles it: we do not change that.
    if current == signal.SIG_DFL:
        _install(TermHandler(None))
    elif callable(current) and not isinstance(current, TermHandler):
        _install(TermHandler(current))


def forget_on_sigterm(owner: object) -> None:
    """Undo `call_on_sigterm`. The last call restores the handler that we replaced."""
    _callbacks.pop(id(owner), None)
    current = signal.getsignal(signal.SIGTERM)
    if not _callbacks and isinstance(current, TermHandler):
        _install(current.previous or signal.SIG_DFL)


def _install(handler: Handler | signal.Handlers) -> None:
    # ValueError: another thread, or another interpreter of the process (uWSGI, mod_wsgi). We try
    # instead of asking: with greenlets, Python names the wrong thread as the main thread.
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, handler)
