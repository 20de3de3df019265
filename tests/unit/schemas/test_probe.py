"""The errors for an address where something other than ClickHouse listens."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server, socket
from typing import ClassVar

import pytest

from usagepipe.schemas.clickhouse import probe
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.errors import ServerUnavailableError, SettingsError, UsagePipeError
from usagepipe.schemas.settings import ClickHouseAddress


class Website(BaseHTTPRequestHandler):
    """Answers everything alike, as no ClickHouse does."""

    status: ClassVar[int]

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Length", "13")
        self.end_headers()
        self.wfile.write(b"<html></html>")

    do_POST = do_GET

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def website() -> Iterator[Callable[[int], int]]:
    """Starts one that answers with a status; its port."""
    started: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(status: int) -> int:
        handler = type("Handler", (Website,), {"status": status})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        started.append((server, thread))
        return server.server_port

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def listener(say: bytes | None) -> Iterator[int]:
    """A port that sends `say` to each connection and closes it; None: it never answers."""
    with create_server(("127.0.0.1", 0)) as server:
        if say is not None:
            threading.Thread(target=_answer, args=(server, say), daemon=True).start()
        yield server.getsockname()[1]
        if say is not None:
            server.shutdown(2)


def _answer(server: socket, say: bytes) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.recv(65_536)
            connection.sendall(say)


def error_of(port: int, scheme: str = "http") -> UsagePipeError:
    with pytest.raises(UsagePipeError) as caught:
        connect(ClickHouseAddress.parse(f"{scheme}://127.0.0.1:{port}/"))
    return caught.value


@pytest.mark.parametrize("status", [200, 404, 405])
def test_a_web_server_is_called_no_clickhouse(website: Callable[[int], int], status: int) -> None:
    """It can be reached, so the address is what is wrong."""
    error = error_of(website(status))

    assert isinstance(error, SettingsError)
    assert "is not a ClickHouse server" in str(error)


def test_a_proxy_without_its_server_is_one_that_is_away(website: Callable[[int], int]) -> None:
    """What a load balancer answers while ClickHouse is down is worth another try."""
    assert isinstance(error_of(website(503)), ServerUnavailableError)


def test_https_to_a_server_without_tls_is_named(website: Callable[[int], int]) -> None:
    """The cure is one letter."""
    assert str(error_of(website(200), "https")).endswith(
        "/default does not speak TLS: write http://."
    )


def test_a_port_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka waits for the rest of what it takes for a long request: 198 s, once."""
    monkeypatch.setattr(probe, "ANSWER_SECONDS", 0.2)
    with listener(None) as port:
        error = error_of(port)

    assert isinstance(error, ServerUnavailableError)
    assert "something listens there, but gives no answer within 0.2 s" in str(error)


@pytest.mark.parametrize(
    ("say", "kind", "words"),
    [
        (b"", ServerUnavailableError, "hangs up without an answer"),
        (b"\x15\x03\x01\x00\x02\x02\x46", SettingsError, "does not answer in HTTP: is it TLS?"),
    ],
)
def test_a_port_that_is_not_http_is_named(
    say: bytes, kind: type[UsagePipeError], words: str
) -> None:
    """A server of something else hangs up; one with TLS answers in bytes of its own."""
    with listener(say) as port:
        error = error_of(port)

    assert isinstance(error, kind)
    assert words in str(error)
