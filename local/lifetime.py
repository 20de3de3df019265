"""Ties a child process to the process that starts it, however that one ends."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


def start_tied(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdout: int | IO[bytes],
    stderr: IO[bytes],
) -> "subprocess.Popen[bytes]":
    """Start a process that dies when this one does, on Linux even after kill -9.

    Call it in the main thread: the kernel ends the child when the thread that made it ends. The
    child has a session of its own: Ctrl-C is for its parent, which stops it.
    """
    # Python calls what modules registered for a fork, and swallows what comes up in there: a
    # Ctrl-C in that moment would be lost. Held back, it comes up right after.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            start_new_session=True,
            preexec_fn=_in_the_child(os.getpid(), before),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_the_child(parent: int, mask: set[signal.Signals] | set[int]) -> Callable[[], None]:
    """What the child does before it becomes its program."""
    # Found before the fork: the child may not load libraries.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if prctl is None:
            return
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGKILL)

    return prepare
