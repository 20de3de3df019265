"""`usagepipe local` as a child process, for the demo, the tests and other programs.

The child holds one end of a pipe and stops when the other end closes, so it stops even if this
process is killed.
"""

import json
import os
import sys
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from usagepipe.local.children import Child
from usagepipe.schemas.errors import (
    ChildEndedError,
    ServerUnavailableError,
    UsagePipeError,
    WrongUseError,
)

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
_COMMAND: Final = (sys.executable, "-P", "-c", "from usagepipe.cli import main; main()", "local")


class LocalServers:
    """The embedded broker and the embedded ClickHouse on a data folder. A context manager.

    The first `start` chooses the ports; a later `start` uses them again.
    """

    def __init__(self, data: Path, kafka_port: int | None = 0, clickhouse_port: int = 0) -> None:
        """`kafka_port` None: no broker. Ports of 0: free ones."""
        self.data = data
        self._kafka_port = kafka_port
        self._clickhouse_port = clickhouse_port
        self.kafka: str | None = None  # `host:port` of the broker, None without one
        self.clickhouse = ""  # `http://host:port/database`, as announced; also while it is down
        self._child: Child | None = None
        self._lifeline = -1

    @property
    def pid(self) -> int:
        """The process id of the ClickHouse server; 0 when it does not run."""
        return self._child.pid if self._child else 0

    def start(self) -> None:
        """Start the servers; returns when they answer.

        Raises:
            WrongUseError: the folder or a port cannot be used.
            ServerUnavailableError: a server did not come up.
        """
        assert self._child is None, "started already"
        theirs, self._lifeline = os.pipe()
        command = [*_COMMAND, *self._arguments(), "--lifeline", str(theirs)]
        try:
            self._child = Child("usagepipe local", command, os.environ, lifeline=theirs)
        finally:
            os.close(theirs)
        try:
            self._take_addresses(self._announcement(self._child))
        except BaseException:
            self.kill()
            raise

    def _arguments(self) -> list[str]:
        kafka = (
            ["--no-kafka"] if self._kafka_port is None else ["--kafka-port", str(self._kafka_port)]
        )
        return ["--data", str(self.data), *kafka, "--clickhouse-port", str(self._clickhouse_port)]

    def _announcement(self, child: Child) -> bytes:
        try:
            return child.read_line(START_SECONDS)
        except ChildEndedError as error:
            words = error.words.removeprefix("Error: ")
            if error.status == WrongUseError.exit_status:
                raise WrongUseError(words) from None
            raise self._unavailable(f"ended with status {error.status}: {words}") from None
        except UsagePipeError:
            raise self._unavailable(f"not up within {START_SECONDS:.0f} s") from None

    def _take_addresses(self, line: bytes) -> None:
        found = json.loads(line)
        self.kafka, self.clickhouse = found["kafka"], found["clickhouse"]
        self._clickhouse_port = urlsplit(self.clickhouse).port or 0
        if self.kafka:
            self._kafka_port = int(self.kafka.rpartition(":")[2])

    def _unavailable(self, reason: str) -> ServerUnavailableError:
        return ServerUnavailableError("usagepipe local", str(self.data), reason)

    def stop(self) -> None:
        """Stop the servers in order. May be called again."""
        if self._child is not None:
            self._child.stop(STOP_SECONDS)
            self._forget()

    def kill(self) -> None:
        """Kill the servers, as a crash would (`kill -9`). `start` then recovers the data."""
        if self._child is not None:
            self._child.kill()
            self._forget()

    def _forget(self) -> None:
        self._child = None
        os.close(self._lifeline)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class LocalClickHouse(LocalServers):
    """Only the embedded ClickHouse."""

    def __init__(self, data: Path, port: int = 0) -> None:
        super().__init__(data, kafka_port=None, clickhouse_port=port)

    @property
    def url(self) -> str:
        """`http://host:port`, without a database; also while it is down."""
        return self.clickhouse.rpartition("/")[0]
