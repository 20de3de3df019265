"""What is different in a process of uWSGI, which runs Python inside of a server written in C.

It handles signals in C, where Python does not see it. Its handler ends a worker by `exit`, and that
runs `atexit`, but not where the worker is busy, nor where a second signal comes meanwhile: systemd
and containers send SIGTERM to all processes, and the master sends SIGINT to its workers then.

So a thread takes these signals for a worker. An idle one is ended by SIGHUP, uWSGI's graceful end,
which nothing interrupts. A busy one is ended as hard as uWSGI does, once its events are delivered.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from usagepipe.producer.process.native import Event, Thread

ENDING: Final = (signal.SIGTERM, signal.SIGINT)
END_STATUS: Final = 30  # with which uWSGI's own handler ends a worker
IDLE_SECONDS: Final = 1.0  # more than an idle worker takes to begin its end

_watched: set[Callable[[], object]] = set()  # what is called when a worker is to end


def is_uwsgi() -> bool:
    """Whether this process is uWSGI's: only there is a module of that name."""
    return "uwsgi" in sys.modules


def before_end(end: Callable[[], object]) -> None:
    """Have `end` called in a thread when a busy worker is to end; for an idle one, and for one
    without a master, `atexit` does."""
    uwsgi: Any = sys.modules["uwsgi"]
    if end in _watched:
        return
    _watched.add(end)
    if uwsgi.worker_id():  # with `lazy-apps`
        _watch(end)
        return
    previous = getattr(uwsgi, "post_fork_hook", None)

    def forked() -> None:
        if previous is not None:
            previous()
        _watch(end)

    uwsgi.post_fork_hook = forked


def _watch(end: Callable[[], object]) -> None:
    exiting = Event()
    atexit.register(exiting.set)
    # Threads that are started later inherit it, so a signal stays for the one that waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    Thread(partial(_wait, end, exiting, threading.get_ident()), "usagepipe-uwsgi").start()


def _wait(end: Callable[[], object], exiting: Event, worker: int) -> None:
    signal.sigwait(ENDING)
    signal.pthread_kill(worker, signal.SIGHUP)
    if exiting.wait(IDLE_SECONDS):
        return
    try:
        end()
    finally:
        os._exit(END_STATUS)
