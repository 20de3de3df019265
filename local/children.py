"""Child processes: started, watched, and stopped with this process, however it ends.

A child has its own session, so Ctrl-C reaches only this process, which then stops its
children.
"""

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final, Self

from usagepipe.local.lifetime import start_tied
from usagepipe.schemas.errors import ChildEndedError, UsagePipeError

LAST_WORDS_BYTES: Final = 4_000


class Child:
    """One child process. It keeps the child's standard error, for the message when it fails."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        lifeline: int | None = None,
        has_output: bool = True,
    ) -> None:
        """Start the process, as `start_tied` does. `has_output` False keeps its standard output
        with standard error."""
        self.name = name
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in kill()
        self._output = b""
        stdout = subprocess.PIPE if has_output else self._stderr
        self._process = start_tied(
            command, environment, stdout=stdout, stderr=self._stderr, lifeline=lifeline
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status; None while the process runs."""
        return self._process.poll()

    def check(self, grace_seconds: float = 0) -> None:
        """
        Raises:
            ChildEndedError: the process has ended, or ends within `grace_seconds`.
        """
        with suppress(subprocess.TimeoutExpired):
            raise self._ended(self._process.wait(grace_seconds))

    def read_line(self, seconds: float) -> bytes:
        """The next line of standard output.

        Raises:
            ChildEndedError: the process ended first.
            UsagePipeError: it wrote no line for `seconds`.
        """
        deadline = time.monotonic() + seconds
        assert self._process.stdout is not None
        while b"\n" not in self._output:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise UsagePipeError(f"The {self.name} printed nothing for {seconds:.0f} s.")
            if not (part := os.read(self._process.stdout.fileno(), 65_536)):
                raise self._ended(self._process.wait())
            self._output += part
        line, _, self._output = self._output.partition(b"\n")
        return line

    def terminate(self) -> None:
        """Ask the process to stop, and return at once."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> int:
        """The exit status, once the process has ended.

        Raises:
            UsagePipeError: it still runs after `seconds`.
        """
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise UsagePipeError(f"The {self.name} did not stop within {seconds:.0f} s.") from None

    def last_words(self) -> str:
        """The end of standard error."""
        descriptor = self._stderr.fileno()
        start = max(0, os.fstat(descriptor).st_size - LAST_WORDS_BYTES)
        return os.pread(descriptor, LAST_WORDS_BYTES, start).decode(errors="replace").strip()

    def stop(self, seconds: float) -> None:
        """Ask the process to stop, and kill it after `seconds`. May be called again."""
        self.terminate()
        with suppress(UsagePipeError):
            self.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """Kill the process if it runs, and close its files. May be called again."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if not self._stderr.closed:
            self._stderr.close()

    def _ended(self, status: int) -> ChildEndedError:
        return ChildEndedError(self.name, status, self.last_words())


class Children:
    """The child processes of one run. A context manager: on exit it kills those that still run."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a process, in the main thread."""
        child = Child(name, command, environment)
        self._children.append(child)
        return child

    def check(self) -> None:
        """
        Raises:
            ChildEndedError: a process has ended, and `stop` was not called for it.
        """
        for child in self._children:
            child.check()

    def stop(self, child: Child, seconds: float) -> None:
        """Stop one process.

        Raises:
            ChildEndedError: it ended with another status than a stopped process.
            UsagePipeError: it still ran after `seconds`, and was killed.
        """
        self._children.remove(child)
        try:
            child.terminate()
            status = child.wait(seconds)
            if status not in (0, -signal.SIGTERM):
                raise ChildEndedError(child.name, status, child.last_words())
        finally:
            child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for child in self._children:
            child.kill()
        self._children.clear()
