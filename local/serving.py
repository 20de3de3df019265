"""What `usagepipe local` runs: the broker as a child, ClickHouse in this very process.

Killing this process is therefore a crash of the ClickHouse server, and the broker goes with it.
"""

import asyncio
import os
import signal
import socket
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
from usagepipe.schemas.errors import ServerUnavailableError

log = structlog.get_logger()

REQUEST_LINE_BYTES: Final = 1 << 20  # settings and parameters are in it; a server's limit
GRACE_SECONDS: Final = 3  # for requests that run when the process is asked to stop
WATCH_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers answer."""

    kafka: str | None
    clickhouse: str


def serve(
    data: Path,
    kafka_port: int | None,
    clickhouse_port: int,
    ready: Callable[[Addresses], None],
    lifeline: int | None = None,
) -> int:
    """Run the servers until a signal; call it in the main thread.

    `kafka_port` None: no broker. Ports of 0: free ones. `ready` is called once, when all answer.
    `lifeline` is a descriptor whose other end closes when the servers are not wanted any more.
    Returns the signal's number, or 0 when the lifeline was cut.

    Raises:
        WrongUseError: the folder or a port cannot be used.
        ServerUnavailableError: a server did not start, or the broker ended.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(DataFolder(data))
        listener = stack.enter_context(bound_socket(clickhouse_port, "--clickhouse-port"))
        broker = _start_broker(kafka_port, stack)
        engine = Engine(folder.clickhouse)
        stack.callback(engine.close)
        addresses = Addresses(
            kafka=broker.address if broker else None,
            clickhouse=f"http://{HOST}:{listener.getsockname()[1]}",
        )
        folder.tell(kafka=addresses.kafka, clickhouse=addresses.clickhouse)
        server = _Server(ClickHouseFront(engine), lambda: ready(addresses))
        return asyncio.run(server.run(listener, broker, lifeline))


def _start_broker(port: int | None, stack: ExitStack) -> EmbeddedBroker | None:
    if port is None:
        return None
    if port:
        check_free(port, "--kafka-port")
    return stack.enter_context(EmbeddedBroker(port))


class _Server(uvicorn.Server):
    """uvicorn with our own reading of signals: it would end the process by the signal itself."""

    def __init__(self, front: ClickHouseFront, started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                front,
                lifespan="off",
                http="h11",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=REQUEST_LINE_BYTES,
                timeout_graceful_shutdown=GRACE_SECONDS,
                timeout_keep_alive=60,
            )
        )
        self._started = started
        self._signal = 0

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        yield

    def _stop(self, number: int) -> None:
        self._signal = number
        self.force_exit = self.should_exit  # asked twice: at once
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    async def run(  # type: ignore[override]  # this one runs in a loop that is there
        self, listener: socket.socket, broker: EmbeddedBroker | None, lifeline: int | None
    ) -> int:
        if lifeline is not None:
            asyncio.get_running_loop().add_reader(lifeline, self._cut, lifeline)
        watch = asyncio.create_task(self._watch(broker))
        await self.serve(sockets=[listener])
        watch.cancel()
        if broker and (status := broker.ended()) is not None and not self._signal:
            raise ServerUnavailableError(
                "The embedded Kafka broker", broker.address, f"it ended with status {status}"
            )
        return self._signal

    def _cut(self, lifeline: int) -> None:
        if not os.read(lifeline, 1):
            asyncio.get_running_loop().remove_reader(lifeline)
            self.should_exit = True

    async def _watch(self, broker: EmbeddedBroker | None) -> None:
        while broker and broker.ended() is None:
            await asyncio.sleep(WATCH_SECONDS)
        if broker:
            self.should_exit = True
