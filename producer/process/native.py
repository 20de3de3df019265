"""Threads and locks of the operating system, even where gevent or eventlet has patched Python's.

Their monkey patches turn each thread into a greenlet. The delivery thread waits inside librdkafka
and never yields to other greenlets, so as a greenlet it would block the whole process. A greenlet
that waits on a lock of this module blocks all others too: hold these locks for moments only, and
use `pause` to wait.
"""

import _thread
import signal
import sys
import threading
import time
from _thread import RLock  # neither gevent nor eventlet replaces it
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from usagepipe.producer.process.safe_log import describe, log

__all__ = ["Event", "Lock", "RLock", "Thread", "pause", "sleep"]


# These must end the process, or be reported, in the thread that crashed. Our threads block all
# others, which are meant for the application's own threads.
_CRASHES: Final = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
_BLOCKED: Final = signal.valid_signals() - _CRASHES


def _original(module: str, name: str) -> Any:
    """The original `name` of `module`, before monkey patches."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_object_patched(module, name):
        return gevent.get_original(module, name)
    if eventlet is not None:
        return getattr(eventlet.original(module), name)
    return getattr(import_module(module), name)


def Lock() -> _thread.LockType:  # named like threading.Lock, which it replaces
    """A lock for native threads. Do not yield to another greenlet while you hold it."""
    return _original("_thread", "allocate_lock")()  # type: ignore[no-any-return]


class Event:
    """A flag that threads can wait for."""

    def __init__(self) -> None:
        self._closed = Lock()
        self._closed.acquire()

    def is_set(self) -> bool:
        return not self._closed.locked()

    def set(self) -> None:
        with suppress(RuntimeError):  # it is set already
            self._closed.release()

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; return whether it is set. Blocks all greenlets of the thread."""
        if is_set := self._closed.acquire(timeout=seconds):
            self._closed.release()
        return is_set


class Thread:
    """A native daemon thread: it does not keep the process alive. `ended` is set when it ends."""

    def __init__(self, work: Callable[[], object], name: str) -> None:
        self._work = work
        self._name: Final = name
        self.ended = Event()

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if the system cannot create one."""
        # The thread inherits the mask. If it set its own, a signal could reach it before: Python
        # would call the handler only when the main thread wakes up, perhaps after a long sleep.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        try:
            _original("_thread", "start_new_thread")(self._run, ())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> None:
        try:
            threading.current_thread().name = self._name  # for debuggers and logs
            self._work()
        except BaseException as error:
            log.error("thread_failed", thread=self._name, error=describe(error))
        finally:
            self.ended.set()


def sleep(seconds: float) -> None:
    """Sleep in a native thread. The patched `time.sleep` would start an event loop of greenlets."""
    _original("time", "sleep")(seconds)


def pause(seconds: float) -> None:
    """Sleep, and let other greenlets run meanwhile."""
    try:
        time.sleep(seconds)
    except Exception:  # a signal handler that interrupted the loop of greenlets
        sleep(seconds)
