"""Real servers on loopback, in a thread of the test: their application's objects are at hand."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import uvicorn

from tests.support.waiting import eventually
from usagepipe.local.ports import HOST, bound_socket


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[str]:
    """The URL of `app` while it is served; `options` are uvicorn's."""
    with bound_socket(0, "--port") as listener:
        config = uvicorn.Config(app, log_config=None, access_log=False, **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            eventually(lambda: server.started or not thread.is_alive(), what="uvicorn to start")
            assert thread.is_alive()
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def serving_wsgi(app: Any) -> Iterator[str]:
    """The same for a WSGI application, with the server of the standard library."""
    with make_server(HOST, 0, app, handler_class=_QuietHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, *message: object) -> None: ...


SECONDS = 10


def connection(url: str) -> socket.socket:
    """A bare connection to the server at `url`."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port or 0), SECONDS)


def request_bytes(method: str) -> bytes:
    """A request without a body, for a connection that the server closes after its answer."""
    lines = [f"{method} /v1/chat HTTP/1.1", "host: a", "connection: close", "content-length: 0"]
    return "\r\n".join([*lines, "", ""]).encode()


def raw_answer(url: str, method: str) -> bytes:
    """Everything that comes over the wire, without the line with the time."""
    with connection(url) as client:
        client.sendall(request_bytes(method))
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    return b"\r\n".join(line for line in answer.split(b"\r\n") if line[:5].lower() != b"date:")
