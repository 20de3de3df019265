"""An HTTP proxy before ClickHouse that fails as servers and networks do, on request.

Unlike the cutting proxy it knows whole requests: it can answer in the server's place, and it can
let the server carry out what the client never hears of.
"""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from tests.support.ports import HOST

_BETWEEN_TWO = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"}
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset, at once


@dataclass(frozen=True)
class Answer:
    """The answer of a server to a request."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Line(BaseHTTPRequestHandler):
    """One client's line to the server: what a fault can do with a request of it."""

    protocol_version = "HTTP/1.1"
    target = 0  # the server's port
    body = b""

    def forward(self, more_settings: str = "") -> Answer:
        """Have the server carry the request out; its answer."""
        path = f"{self.path}&{more_settings}" if more_settings else self.path
        server = http.client.HTTPConnection(HOST, self.target, timeout=120)
        try:
            server.request(self.command, path, self.body, dict(self.headers))
            answer = server.getresponse()
            headers = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in _BETWEEN_TWO
            }
            return Answer(answer.status, answer.read(), headers)
        finally:
            server.close()

    def forward_half(self) -> None:
        """Send the server the first half of the request, and reset that connection."""
        server = http.client.HTTPConnection(HOST, self.target, timeout=120)
        server.putrequest(self.command, self.path)
        for name, value in self.headers.items():
            server.putheader(name, value)
        server.endheaders(self.body[: len(self.body) // 2])
        _reset(server.sock)

    def answer(self, answer: Answer) -> None:
        """Answer the client."""
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def reset(self) -> None:
        """Reset the client's connection."""
        self.close_connection = True
        _reset(self.connection)

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):  # the client gave up waiting
            super().handle_one_request()

    def log_message(self, *_: Any) -> None:
        """Log nothing: the tests read the logs of the worker."""


Fault: TypeAlias = Callable[[Line], None]


def answers(status: int, code: int | None = None, name: str = "") -> Fault:
    """Answers in the server's place: a proxy's 502, or ClickHouse's error `code`."""
    headers, text = {}, "Bad Gateway"
    if code is not None:
        headers["X-ClickHouse-Exception-Code"] = str(code)
        text = f"Code: {code}. DB::Exception: So it is. ({name}) (version 25.8.2.29)\n"
    return lambda line: line.answer(Answer(status, text.encode(), headers))


def adds(settings: str) -> Fault:
    """Adds `name=value` to what the request asks for, as a user's profile would."""
    return lambda line: line.answer(line.forward(settings))


def resets(line: Line) -> None:
    """Resets both connections when half of the request has gone through."""
    line.forward_half()
    line.reset()


def drops(line: Line) -> None:
    """Lets the server carry the request out, and resets the connection instead of answering."""
    line.forward()
    line.reset()


def holds(seconds: float) -> Fault:
    """Delays the answer of the server by `seconds`."""

    def hold(line: Line) -> None:
        answer = line.forward()
        time.sleep(seconds)
        line.answer(answer)

    return hold


class FaultyProxy:
    """Listens on a port of its own and passes inserts on to `target`, unless they are to fail.

    With `reads_of` it is the queries that name this table which fail, and no insert.
    """

    def __init__(
        self, target: int, inserts_into: str = "usage_events+", reads_of: str = ""
    ) -> None:
        self._inserts = f"INSERT+INTO+{inserts_into}"
        self._reads = f"FROM {reads_of}".encode() if reads_of else b""
        self.inserts: list[float] = []  # when each arrived, in monotonic seconds
        self._fault: Fault | None = None
        proxy = self

        class Passing(Line):
            def do_POST(self) -> None:
                self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy._pass(self)

            def do_GET(self) -> None:
                self.answer(self.forward())

        Passing.target = target
        self._server = ThreadingHTTPServer((HOST, 0), Passing)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Inserts fail in this way while the context is open."""
        self._fault = fault
        try:
            yield
        finally:
            self._fault = None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _pass(self, line: Line) -> None:
        meant = self._reads in line.body if self._reads else self._inserts in line.path
        if not meant:
            line.answer(line.forward())
            return
        self.inserts.append(time.monotonic())
        if self._fault is None:
            line.answer(line.forward())
        else:
            self._fault(line)


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.close()
