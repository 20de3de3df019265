"""A WSGI server around an application that PEP 3333's own checker watches."""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

from tests.support.watched import ALICE
from usagepipe.producer import UsageWsgiMiddleware, stamp_usage
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.schemas.event import UsageEvent

JSON = [("Content-Type", "application/json")]


STREAM = [("Content-Type", "text/event-stream")]


class Server:
    """A WSGI server in one call: no chunk is asked for before the last one was taken."""

    def __init__(self, app: WSGIApplication, *, strict: bool = True, **options: Any) -> None:
        self.recorder = options.pop("recorder", None) or MemoryRecorder()
        identify = options.pop("identify", lambda environ: ALICE)
        inner = validator(app) if strict else app
        watched = UsageWsgiMiddleware(inner, recorder=self.recorder, identify=identify, **options)
        self.app = validator(watched) if strict else watched
        self.status = ""
        self.body = b""
        self.write: Callable[[bytes], None] = self._keep

    def ask(
        self,
        path: str = "/v1/chat/completions",
        body: bytes = b"{}",
        chunks: int | None = None,
        **variables: str,
    ) -> bytes:
        """POST and read the answer; the client leaves after `chunks` chunks."""
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "wsgi.file_wrapper": FileWrapper,
        } | variables
        setup_testing_defaults(environ)
        answer = self.app(environ, self.start_response)
        try:
            for number, chunk in enumerate(answer, start=1):
                self.body += chunk
                if number == chunks:
                    break
        finally:
            if (close := getattr(answer, "close", None)) is not None:
                close()
        return self.body

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], None]:
        self.status = status
        return self.write

    def _keep(self, chunk: bytes) -> None:
        self.body += chunk

    @property
    def event(self) -> UsageEvent:
        (event,) = self.recorder.events
        return event

    @property
    def unrecorded(self) -> dict[str, int]:
        counted = self.recorder.counters.unrecorded.values()
        return {reason: n for reasons in counted for reason, n in reasons.items()}


def answering(
    body: object, status: str = "200 OK", headers: list[tuple[str, str]] | None = None
) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, JSON if headers is None else headers)
        return [body if isinstance(body, bytes) else json.dumps(body).encode()]

    return app


def streaming(chunks: Iterable[bytes]) -> WSGIApplication:
    """A generator that begins its answer with the first chunk, and stamps as it goes."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", STREAM)
        for number, chunk in enumerate(chunks, start=1):
            stamp_usage("m", 9, number)
            yield chunk

    return app


def facts(server: Server) -> tuple[int, bool, str, int]:
    event = server.event
    return event.status_code, event.failed, event.usage_quality, event.total_tokens
