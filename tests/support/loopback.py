"""A real uvicorn on loopback, in a thread of the test: its application's objects are at hand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
