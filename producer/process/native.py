"""Threads and locks of the operating system, also where gevent or eventlet has replaced Python's.

Their monkey patches make a greenlet of each thread. The delivery thread waits inside librdkafka
and never gives way to a greenlet, so as one it would stop its whole process. In the same way a
greenlet that waits here stops all others: locks are held for moments, and `pause` is for waiting.
"""

import _thread
import signal
import sys
import threading
import time
from _thread import RLock  # which neither of the two replaces
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from usagepipe.producer.telemetry.faults import describe, log

__all__ = ["Event", "Lock", "RLock", "Thread", "pause", "sleep"]


# The application's are for its own threads. A fault's must kill or be reported where it happens.
_SIGNALS: Final = signal.valid_signals() - {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
}


def _original(module: str, name: str) -> Any:
    """What `name` was in `module` before it was replaced."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_object_patched(module, name):
        return gevent.get_original(module, name)
    if eventlet is not None:
        return getattr(eventlet.original(module), name)
    return getattr(import_module(module), name)


def Lock() -> _thread.LockType:  # stands for threading.Lock
    """A lock that threads share. It is no greenlet's: do not give way while holding it."""
    return _original("_thread", "allocate_lock")()  # type: ignore[no-any-return]


class Event:
    """A flag that threads wait for."""

    def __init__(self) -> None:
        self._closed = Lock()
        self._closed.acquire()

    def is_set(self) -> bool:
        return not self._closed.locked()

    def set(self) -> None:
        with suppress(RuntimeError):  # it is set already
            self._closed.release()

    def wait(self, seconds: float) -> bool:
        """Whether it is set, within `seconds`. Stops all greenlets of this thread."""
        if is_set := self._closed.acquire(timeout=seconds):
            self._closed.release()
        return is_set


class Thread:
    """A thread that ends with the process."""

    def __init__(self, work: Callable[[], object], name: str) -> None:
        self._work = work
        self._name: Final = name
        self._ended = Event()

    def start(self) -> None:
        """Raises RuntimeError where no thread can be had."""
        _original("_thread", "start_new_thread")(self._run, ())

    def _run(self) -> None:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            threading.current_thread().name = self._name  # for debuggers and logs
            self._work()
        except BaseException as error:
            log.error("thread_failed", thread=self._name, error=describe(error))
        finally:
            self._ended.set()

    def is_alive(self) -> bool:
        """Whether it has not ended, once it was started."""
        return not self._ended.is_set()

    def join(self, seconds: float) -> None:
        self._ended.wait(seconds)


def sleep(seconds: float) -> None:
    """Sleep in a thread of the operating system: the patched one would make a hub of greenlets."""
    _original("time", "sleep")(seconds)


def pause(seconds: float) -> None:
    """Sleep, and let other greenlets run meanwhile where there are any."""
    try:
        time.sleep(seconds)
    except Exception:  # in a signal's handler that has interrupted the loop of greenlets
        sleep(seconds)
