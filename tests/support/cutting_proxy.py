"""A TCP proxy before ClickHouse, which cuts connections at the moments that hurt.

`before`: the insert does not reach the server. `after`: the server has answered, and the answer
does not reach the client, which cannot know whether the insert was carried out.
"""

import random
import socket
import threading
import time
from contextlib import suppress
from typing import Final, Literal

from tests.support.ports import HOST

Cut = Literal["before", "after"]
INSERT: Final = b"insert_deduplication_token"  # stands in the URL of each insert of a worker


class CuttingProxy:
    """Listens on a port of its own and passes everything to `port`, until it cuts on request."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._target = port
        self._rng = rng
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.most_delay = 0.0  # seconds an answer waits: the time in which a crash hurts
        self.cuts: dict[Cut, int] = {"before": 0, "after": 0}
        self._armed: dict[Cut, int] = {"before": 0, "after": 0}
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, when: Cut, count: int = 1) -> None:
        """Cut the next `count` inserts."""
        with self._lock:
            self._armed[when] += count

    def disarm(self) -> None:
        """End the cuts."""
        with self._lock:
            self._armed = {"before": 0, "after": 0}

    @property
    def armed(self) -> bool:
        """Whether a cut is pending."""
        return any(self._armed.values())

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
                inserting = threading.Event()
                back = threading.Thread(
                    target=self._answer, args=(server, client, inserting), daemon=True
                )
                back.start()
                self._request(client, server, inserting)
                back.join(30)

    def _request(
        self, client: socket.socket, server: socket.socket, inserting: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if INSERT in data:
                    if self._cuts("before"):
                        break
                    inserting.set()
                server.sendall(data)
        _shut(server)

    def _answer(
        self, server: socket.socket, client: socket.socket, inserting: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if inserting.is_set():
                    time.sleep(self._rng.uniform(0, self.most_delay))
                    if self._cuts("after"):
                        break
                    inserting.clear()
                client.sendall(data)
        _shut(client)
        _shut(server)

    def _cuts(self, when: Cut) -> bool:
        with self._lock:
            if not self._armed[when]:
                return False
            self._armed[when] -= 1
            self.cuts[when] += 1
            return True


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
