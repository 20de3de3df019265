"""`usagepipe local` as a child of this process, for the demo, the tests and other programs.

The child holds the other end of a pipe and stops when it closes, so no server is left behind even
when this process is killed.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self
from urllib.parse import urlsplit

from usagepipe.schemas.errors import ServerUnavailableError, WrongUseError

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
_COMMAND: Final = (sys.executable, "-P", "-c", "from usagepipe.cli import main; main()", "local")


class LocalServers:
    """The embedded broker and the embedded ClickHouse on a data folder. A context manager.

    Ports are chosen at the first `start` and kept: a later `start` comes back on them.
    """

    def __init__(self, data: Path, kafka_port: int | None = 0, clickhouse_port: int = 0) -> None:
        """`kafka_port` None: no broker. Ports of 0: free ones."""
        self.data = data
        self._kafka_port = kafka_port
        self._clickhouse_port = clickhouse_port
        self._kafka: str | None = None
        self._clickhouse = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._words: IO[bytes] | None = None

    @property
    def kafka(self) -> str | None:
        """`host:port` of the broker, None without one."""
        return self._kafka

    @property
    def clickhouse(self) -> str:
        """`http://host:port/database` of ClickHouse, as announced; also while it is down."""
        return self._clickhouse

    @property
    def pid(self) -> int:
        """Of the process that is the ClickHouse server; 0 when it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the servers; returns when they answer.

        Raises:
            WrongUseError: the folder or a port cannot be used.
            ServerUnavailableError: a server did not come up.
        """
        assert self._process is None, "started already"
        theirs, self._lifeline = os.pipe()
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  # closed when it has ended
        try:
            self._process = subprocess.Popen(
                [*_COMMAND, *self._arguments(), "--lifeline", str(theirs)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._words,
                pass_fds=[theirs],
                start_new_session=True,  # Ctrl-C is for us: we stop them in our own order
            )
        finally:
            os.close(theirs)
        try:
            self._take_addresses(self._announcement())
        except BaseException:
            self.kill()
            raise

    def _arguments(self) -> list[str]:
        kafka = (
            ["--no-kafka"] if self._kafka_port is None else ["--kafka-port", str(self._kafka_port)]
        )
        return ["--data", str(self.data), *kafka, "--clickhouse-port", str(self._clickhouse_port)]

    def _announcement(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise self._unavailable(f"not up within {START_SECONDS:.0f} s")
            if not (part := os.read(self._process.stdout.fileno(), 4096)):
                raise self._refusal(self._process.wait())
            line += part
        return line

    def _take_addresses(self, line: bytes) -> None:
        found = json.loads(line)
        self._kafka, self._clickhouse = found["kafka"], found["clickhouse"]
        self._clickhouse_port = urlsplit(found["clickhouse"]).port or 0
        if found["kafka"]:
            self._kafka_port = int(found["kafka"].rpartition(":")[2])

    def _refusal(self, status: int) -> Exception:
        words = self._last_words().removeprefix("Error: ")
        if status == WrongUseError.exit_status:
            return WrongUseError(words)
        return self._unavailable(f"ended with status {status}: {words}")

    def _last_words(self) -> str:
        assert self._words is not None
        self._words.seek(0)
        return self._words.read().decode(errors="replace").strip()

    def _unavailable(self, reason: str) -> ServerUnavailableError:
        return ServerUnavailableError("usagepipe local", str(self.data), reason)

    def stop(self) -> None:
        """Stop the servers in order. May be called again."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the servers as a crash would (`kill -9`): `start` then recovers the data."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if (process := self._process) is None:
            return
        self._process = None
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(self._lifeline)
        for stream in (process.stdout, self._words):
            if stream:
                stream.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class LocalClickHouse(LocalServers):
    """Only the embedded ClickHouse."""

    def __init__(self, data: Path, port: int = 0) -> None:
        super().__init__(data, kafka_port=None, clickhouse_port=port)

    @property
    def url(self) -> str:
        """`http://host:port`, without a database; also while it is down."""
        return self.clickhouse.rpartition("/")[0]
