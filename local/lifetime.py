"""Ties a child process to the process that starts it, however that one ends."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


def start_tied(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdout: int | IO[bytes],
    stderr: IO[bytes],
    lifeline: int | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a process that is ended with this one; on Linux also when this one is killed (-9).

    Without a `lifeline`, call it in the main thread: the kernel ends the child when the thread that
    made it ends. With one, any thread may: the child inherits this descriptor and stops when the
    other end of the pipe closes.

    The child has its own session, so Ctrl-C reaches only its parent, which stops it. A Ctrl-C
    during this call leaves no child running.
    """
    tied = _end_with_parent(os.getpid()) if lifeline is None else None
    process = None
    try:
        with _stops_held_back():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=environment,
                start_new_session=True,
                pass_fds=[] if lifeline is None else [lifeline],
                preexec_fn=tied,
            )
    except BaseException:
        if process is not None:  # the caller will never get it
            process.kill()
            process.wait()
        raise
    return process


@contextmanager
def _stops_held_back() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM to the end of the block.

    Python swallows exceptions in the functions that modules registered for a fork. Blocking the
    signals would not help: another thread may get them, and Python hands them to the main thread.
    No other thread is interrupted, so there is nothing to delay there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handled = {n: handler for n in _STOPPING if callable(handler := signal.getsignal(n))}
    for number in handled:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
    for each in came:
        signal.raise_signal(each)


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """The function that a child runs before its program, so that it dies with `parent`.

    None where the system has no such call.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # found before the fork: the child may not load libraries

    def ask_the_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGKILL)

    return ask_the_kernel
