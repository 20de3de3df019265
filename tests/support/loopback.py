"""Real servers on loopback, in a thread of the test: their application's objects are at hand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
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
    """The same for a WSGI application, by the standard library's server."""
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
