"""`paths=` under a root path, with the real uvicorn and a proxy that strips the prefix."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.installs import ROOT
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import Programs
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.schemas import decode

SECONDS = 30


@contextmanager
def stripping_proxy(port: int, prefix: str) -> Iterator[int]:
    """A proxy that passes `prefix/…` on to the server at `port` as `/…`; its own port."""

    class Strip(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            upstream = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
            upstream.request("POST", self.path.removeprefix(prefix))
            answer = upstream.getresponse()
            body = answer.read()
            upstream.close()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None: ...

    with ThreadingHTTPServer((HOST, 0), Strip) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("paths", ["/ai/v3", "/v3"])
@pytest.mark.parametrize(
    ("app", "options"),
    [
        ("with_root_path", ()),
        ("plain", ("--root-path", "/ai")),
        ("mounted", ()),
    ],
)
def test_requests_below_a_root_path_are_recorded(
    app: str, options: tuple[str, ...], paths: str, run_program: Programs, kafka: str, topic: str
) -> None:
    """With the prefix known to the server, the application or a proxy, both ways to write `paths`
    work, and the endpoint is the whole path."""
    port = lasting_port()
    server = run_program(
        *("--app-dir", str(ROOT), "--port", str(port), *options),
        f"tests.support.gateways.root_path:{app}",
        program="uvicorn",
        environment={"USAGEPIPE_KAFKA": kafka, "USAGEPIPE_TOPIC": topic, "GATEWAY_PATHS": paths},
    )
    eventually(lambda: is_answered(port), 60, server.tail)
    strips = "" if app == "mounted" else "/ai"

    with stripping_proxy(port, strips) as proxy:
        for path in ("/ai/v3/chat", "/ai/other"):
            client = http.client.HTTPConnection(HOST, proxy, timeout=SECONDS)
            client.request("POST", path)
            answer = client.getresponse()
            answer.read()
            client.close()
            assert 200 == answer.status, server.tail()
        server.stop()

    (event,) = (decode(record.value) for record in read(kafka, topic))
    assert ("/ai/v3/chat", 3) == (event.endpoint, event.total_tokens)
