"""A TCP proxy before ClickHouse that hangs up in the middle of long answers."""

import socket
import threading
from contextlib import suppress

from tests.support.ports import HOST


class ShortAnswers:
    """Listens on a port of its own and passes `most_bytes` of each connection's answers on."""

    def __init__(self, target: int, most_bytes: int) -> None:
        self._target = target
        self._most_bytes = most_bytes
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._target))
                for source, sink, most in (
                    (client, server, None),
                    (server, client, self._most_bytes),
                ):
                    passing = threading.Thread(target=_pass, args=(source, sink, most), daemon=True)
                    passing.start()


def _pass(source: socket.socket, sink: socket.socket, left: int | None) -> None:
    with source, sink, suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data if left is None else data[:left])
            if left is not None and (left := left - len(data)) <= 0:
                break
        for end in (source, sink):  # the other thread may wait for one of them
            end.shutdown(socket.SHUT_RDWR)
