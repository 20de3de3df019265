"""The demo's own processes: the worker and the gateway. None outlives the demo, however it ends.

Ctrl-C is for the demo: it stops them all, at once.
"""

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Final, Self

from usagepipe.local.lifetime import start_tied
from usagepipe.schemas.errors import UsagePipeError

LAST_WORDS_BYTES: Final = 4_000


class ChildEndedError(UsagePipeError):
    """A process of the demo ended by itself. `status` is its exit status, `words` its last ones."""

    def __init__(self, name: str, status: int, words: str) -> None:
        self.name = name
        self.status = status
        self.words = words
        super().__init__(f"The {name} ended with status {status}. It said:\n{words or '(nothing)'}")


class Child:
    """A process of the demo. What it writes to standard error is kept for when it fails."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it. Do so in the main thread: on Linux the kernel ends a child with the thread."""
        self.name = name
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in kill()
        self._said = b""
        self._process = start_tied(command, environment, stdout=subprocess.PIPE, stderr=self._words)

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self, grace_seconds: float = 0) -> None:
        """
        Raises:
            ChildEndedError: it has ended, or does so within the grace.
        """
        with suppress(subprocess.TimeoutExpired):
            status = self._process.wait(grace_seconds)
            raise ChildEndedError(self.name, status, self.last_words())

    def read_line(self, seconds: float) -> bytes:
        """The next line of its standard output.

        Raises:
            ChildEndedError: it ended without one.
            UsagePipeError: it wrote none for `seconds`.
        """
        deadline = time.monotonic() + seconds
        assert self._process.stdout is not None
        while b"\n" not in self._said:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise UsagePipeError(f"The {self.name} said nothing for {seconds:.0f} s.")
            if not (part := os.read(self._process.stdout.fileno(), 65_536)):
                raise ChildEndedError(self.name, self._process.wait(), self.last_words())
            self._said += part
        line, _, self._said = self._said.partition(b"\n")
        return line

    def terminate(self) -> None:
        """Ask it to end in good order; returns at once, does nothing if it has ended."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float) -> int:
        """Its exit status, once it has ended.

        Raises:
            UsagePipeError: it has not within `seconds`.
        """
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise UsagePipeError(f"The {self.name} did not stop within {seconds:.0f} s.") from None

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        size = os.fstat(self._words.fileno()).st_size
        start = max(0, size - LAST_WORDS_BYTES)
        return (
            os.pread(self._words.fileno(), LAST_WORDS_BYTES, start).decode(errors="replace").strip()
        )

    def kill(self) -> None:
        """End it now, if it has not ended, and let go of it. May be called again."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if not self._words.closed:
            self._words.close()


class Children:
    """All processes of the demo. A context manager: at its end none of them is left."""

    def __init__(self) -> None:
        self._children: list[Child] = []

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a process."""
        child = Child(name, command, environment)
        self._children.append(child)
        return child

    def check(self) -> None:
        """
        Raises:
            ChildEndedError: one that was not asked to has ended.
        """
        for child in self._children:
            child.check()

    def stop(self, child: Child, seconds: float) -> None:
        """End one in good order.

        Raises:
            ChildEndedError: it ended otherwise than asked to.
            UsagePipeError: it has not within `seconds`.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.kill()
        self._children.clear()
