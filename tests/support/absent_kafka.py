"""A Kafka that is unreachable at first: an address without an answer, then a way to a broker.

Clients learn the broker's own address with the first answer and go on without this one, so it can
be absent once, at the beginning. Much cheaper than a broker that is killed and started again.
"""

import socket
import threading
from contextlib import suppress
from typing import Final

from tests.support.ports import HOST, lasting_port

NOWHERE: Final = "127.0.0.1:1"  # no Kafka listens on a port that only root may take
CHUNK_BYTES: Final = 65_536


class AbsentKafka:
    """An address before the broker at `target`, refused until `start`."""

    def __init__(self, target: str) -> None:
        host, _, port = target.partition(",")[0].rpartition(":")
        self._target = (host, int(port))
        self._port = lasting_port()
        self._listener: socket.socket | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port`; also while nobody answers there."""
        return f"{HOST}:{self._port}"

    def start(self) -> None:
        """Start to forward to the broker."""
        self._listener = socket.create_server((HOST, self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Accept no more connections. May be called again."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target, timeout=30)
                for source, sink in ((client, server), (server, client)):
                    source.settimeout(None)
                    threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    source.close()
