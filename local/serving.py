"""The servers of `usagepipe local`: the broker in a child process, ClickHouse in this process.

To kill this process is to crash the ClickHouse server; the broker ends with it.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
import uvicorn

from usagepipe.local.broker import EmbeddedBroker
from usagepipe.local.clickhouse import ClickHouseFront, Engine
from usagepipe.local.folder import DataFolder
from usagepipe.local.ports import HOST, bound_socket, check_free

log = structlog.get_logger()

REQUEST_LINE_BYTES: Final = 1 << 20  # settings and parameters are in it; a server's limit
INTERRUPTED: Final = 128 + signal.SIGINT
GRACE_SECONDS: Final = 3  # for requests that run when the process is asked to stop
WATCH_SECONDS: Final = 0.5
# A connection that is closed as a client sends an INSERT on it is an error the client cannot retry.
IDLE_SECONDS: Final = 3_600


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers answer."""

    kafka: str | None
    clickhouse: str  # with the database that holds the tables, or will


def serve(
    data: Path,
    kafka_port: int | None,
    clickhouse_port: int,
    ready: Callable[[Addresses], None],
    lifeline: int | None = None,
) -> int:
    """Run the servers until a signal; call it in the main thread.

    `kafka_port` None: no broker. Ports of 0: free ones. `ready` is called once, when all answer.
    `lifeline` is a descriptor whose other end closes when the servers must stop.
    Returns the exit status: 0, or 130 after Ctrl-C. Requests that still run `GRACE_SECONDS` later
    are abandoned, and then the process ends here.

    Raises:
        WrongUseError: the folder or a port cannot be used.
        ServerUnavailableError: a server did not start, or the broker ended.
    """
    with ExitStack() as stack:
        # The ports first: a taken one must not leave an empty folder.
        listener = stack.enter_context(bound_socket(clickhouse_port, "--clickhouse-port"))
        if kafka_port:
            check_free(kafka_port, "--kafka-port")
        folder = stack.enter_context(DataFolder(data))
        broker = None
        if kafka_port is not None:
            broker = stack.enter_context(EmbeddedBroker(kafka_port))
        engine = Engine(folder.clickhouse)
        stack.callback(engine.close)
        addresses = Addresses(
            kafka=broker.address if broker else None,
            clickhouse=f"http://{HOST}:{listener.getsockname()[1]}/{engine.database}",
        )
        folder.write_note(kafka=addresses.kafka, clickhouse=addresses.clickhouse)
        server = _Server(ClickHouseFront(engine), broker, lambda: ready(addresses))
        return asyncio.run(server.until_stopped(listener, lifeline))


class _Server(uvicorn.Server):
    """uvicorn with our own shutdown: its own would end the process by the signal itself."""

    def __init__(
        self, front: ClickHouseFront, broker: EmbeddedBroker | None, started: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                front,
                lifespan="off",
                http="h11",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=REQUEST_LINE_BYTES,
                timeout_keep_alive=IDLE_SECONDS,
            )
        )
        self._broker = broker
        self._started = started
        self._status: int | None = None

    async def until_stopped(self, listener: socket.socket, lifeline: int | None) -> int:
        if lifeline is not None:
            asyncio.get_running_loop().add_reader(lifeline, self._cut, lifeline)
        watch = asyncio.create_task(self._watch())
        await self.serve(sockets=[listener])
        watch.cancel()
        if self._status is None and self._broker:
            raise self._broker.unavailable(f"it ended with status {self._broker.status}")
        return self._status or 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._stop, INTERRUPTED)
        loop.add_signal_handler(signal.SIGTERM, self._stop, 0)
        yield

    def _stop(self, status: int) -> None:
        if self._status is not None:  # asked twice
            self._abandon()
        self._status = status
        self.should_exit = True
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._abandon)

    def _abandon(self) -> None:
        """End now. A thread inside the engine cannot be stopped, and closing the engine under it
        crashes; the data survive this end as they survive a kill.
        """
        log.warning("requests_abandoned", requests=len(self.server_state.tasks))
        if self._broker:
            self._broker.stop()
        sys.stdout.flush()
        os._exit(self._status or 0)

    def _cut(self, lifeline: int) -> None:
        if not os.read(lifeline, 1):
            asyncio.get_running_loop().remove_reader(lifeline)
            self._stop(0)

    async def _watch(self) -> None:
        while self._broker and self._broker.status is None:
            await asyncio.sleep(WATCH_SECONDS)
        self.should_exit = self._broker is not None
