"""The same requests under each framework, on real servers: the same events."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import httpx
import pytest

from tests.support.frameworks.answers import CHAT, CHUNKS
from tests.support.loopback import serving, serving_wsgi
from tests.support.waiting import eventually
from usagepipe.producer import Caller, UsageMiddleware, UsageWsgiMiddleware
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.schemas.event import UsageEvent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

Serve = Callable[[Any], AbstractContextManager[str]]
FRAMEWORKS: dict[str, tuple[Any, Serve]] = {
    "fastapi_app.app": (UsageMiddleware, serving),
    "litestar_app.app": (UsageMiddleware, serving),
    "django_app.by_asgi": (UsageMiddleware, lambda app: serving(app, lifespan="off")),
    "django_app.by_wsgi": (UsageWsgiMiddleware, serving_wsgi),
    "flask_app.app": (UsageWsgiMiddleware, serving_wsgi),
}


class Service:
    def __init__(self, url: str, recorder: MemoryRecorder) -> None:
        self.url = url
        self._recorder = recorder

    def post(self, path: str, **headers: str) -> tuple[httpx.Response, UsageEvent]:
        """The answer and the one event of it."""
        answer = httpx.post(f"{self.url}{path}", json={"model": "auto"}, headers=headers)
        (event,) = eventually(lambda: self._recorder.events, what="the event")
        return answer, event


@pytest.fixture(params=FRAMEWORKS)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    middleware, serve = FRAMEWORKS[request.param]
    module, _, name = request.param.partition(".")
    app = getattr(import_module(f"tests.support.frameworks.{module}"), name)
    recorder = MemoryRecorder()
    with serve(middleware(app, recorder=recorder, identify=lambda _: Caller("u"))) as url:
        yield Service(url, recorder)


def facts(event: UsageEvent) -> tuple[str, int, int, str, bool, bool]:
    tokens, quality = event.total_tokens, event.usage_quality
    return event.model, tokens, event.status_code, quality, event.failed, event.streaming


def test_json_answer(service: Service) -> None:
    """T-05: the usage of a JSON answer is read, and the model that the request asked for."""
    answer, event = service.post("/chat")

    assert CHAT == answer.json()
    assert ("m-1", 38, 200, "complete", False, False) == facts(event)
    assert ("auto", "/chat") == (event.requested_model, event.endpoint)


def test_stream(service: Service) -> None:
    """A handler's generator stamps as it goes; its last word counts."""
    answer, event = service.post("/stream")

    assert b"".join(CHUNKS) == answer.content
    assert ("m-2", 11, 200, "complete", False, True) == facts(event)


def test_handler_that_raises(service: Service) -> None:
    """The framework answers 500 as usual, and the stamp of the handler becomes a failed event."""
    answer, event = service.post("/fails")

    assert 500 == answer.status_code
    assert ("m-3", 1, 500, True) == (
        event.model,
        event.total_tokens,
        event.status_code,
        event.failed,
    )


@pytest.mark.parametrize(
    ("sent", "tags"),
    [
        (f"00-{TRACE}-{SPAN}-01", {"trace_id": TRACE, "span_id": SPAN}),
        (f"00-{TRACE}-{'0' * 16}-01", {}),
    ],
)
def test_trace_of_a_request(service: Service, sent: str, tags: dict[str, str]) -> None:
    """The ids of a valid `traceparent` are in the event; an invalid one changes nothing."""
    answer, event = service.post("/chat", Traceparent=sent)

    assert (CHAT, 38, tags) == (answer.json(), event.total_tokens, event.tags)
