"""A TCP proxy before a server, which cuts connections at the moments that hurt.

`before`: the request does not reach the server. `after`: the server has answered, and the answer
does not reach the client, which cannot know whether the request was carried out.
"""

import random
import socket
import threading
import time
from contextlib import suppress
from typing import Literal

from tests.support.ports import HOST

Cut = Literal["before", "after"]


class CuttingProxy:
    """Listens on a port of its own and passes everything to `port`, until told to cut."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._target = port
        self._rng = rng
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.probability = 0.0  # of each connection's next exchange to be cut
        self.most_delay = 0.0  # seconds an answer waits: the time in which a crash hurts
        self.cuts: dict[str, int] = {"before": 0, "after": 0}
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed = True
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            server = socket.create_connection((HOST, self._target), timeout=30)
            with server:
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    end.settimeout(None)
                back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
                back.start()
                self._request(client, server)
                back.join(30)

    def _request(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if data.startswith(b"POST") and self._cuts("before"):
                    break
                server.sendall(data)
        _shut(server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                time.sleep(self._rng.uniform(0, self.most_delay))
                if self._cuts("after"):
                    break
                client.sendall(data)
        _shut(client)
        _shut(server)

    def _cuts(self, when: Cut) -> bool:
        if self._rng.random() >= self.probability / 2:
            return False
        self.cuts[when] += 1
        return True


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
