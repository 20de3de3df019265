"""Delivers queued events when uWSGI ends a worker. uWSGI is a server in C that embeds Python.

uWSGI handles signals in C, so Python does not see them. Its handler ends a worker with `exit`.
That runs `atexit`, except when the worker is busy or when a second signal arrives meanwhile.
A second signal is usual: systemd and containers send SIGTERM to all processes, and then the
master sends SIGINT to its workers.

So a thread receives these signals for the worker. It ends an idle worker with SIGHUP, uWSGI's
graceful shutdown, which nothing interrupts. It ends a busy worker as hard as uWSGI does, after
the events are delivered.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

from usagepipe.producer.process.native import Event, Thread

ENDING: Final = (signal.SIGTERM, signal.SIGINT)
END_STATUS: Final = 30  # the exit status of a worker that uWSGI's own handler ends
IDLE_SECONDS: Final = 1.0  # an idle worker begins its shutdown sooner than this


def is_uwsgi() -> bool:
    """Whether uWSGI runs this process. Only there a module of that name exists."""
    return "uwsgi" in sys.modules


@cache  # several recorders ask for the same
def before_end(end: Callable[[], object]) -> None:
    """Call `end` in a thread before a busy worker ends. `atexit` covers idle workers, and workers
    without a master."""
    uwsgi: Any = sys.modules["uwsgi"]
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
    # Threads that start later inherit the mask, so only the waiting thread receives the signals.
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
