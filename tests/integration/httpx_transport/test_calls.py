"""Calls that a program makes by httpx or httpx2 to a provider: here a uvicorn on loopback."""

import json
from typing import Any

import httpx
import httpx2
import pytest

from tests.support.httpx_clients import CHAT, SPAN, TRACE, Client
from usagepipe.local.ports import HOST, free_port
from usagepipe.producer import Caller

pytestmark = pytest.mark.one_process


def test_call_is_an_event_of_its_caller(client: Client) -> None:
    """The answer is what the provider sent; the event has who, which models, which try."""
    answer = client.post("/v1/chat", {"model": "auto"}, **{"x-stainless-retry-count": "1"})

    (event,) = client.recorder.events
    assert CHAT == answer.json()
    assert (200, False, "complete", 38) == client.facts
    assert ("u-ada", "auto", "m-1", HOST) == (
        event.user_id,
        event.requested_model,
        event.model,
        event.provider,
    )
    assert ("/v1/chat", "req-7", 2) == (event.endpoint, event.request_id, event.attempt)


def test_call_has_its_trace(client: Client) -> None:
    """What an instrumentation has put into the outgoing request's header is in the event."""
    client.post("/v1/chat", traceparent=f"00-{TRACE}-{SPAN}-01")

    (event,) = client.recorder.events
    assert {"trace_id": TRACE, "span_id": SPAN} == event.tags


def test_failed_call_is_a_failed_event(client: Client) -> None:
    """T-39: 429 and no tokens is one failed event of zero tokens."""
    client.post("/status/429")

    assert (429, True, "missing", 0) == client.facts
    assert {"failed": 1} == client.unrecorded


def test_call_that_reaches_nobody_is_a_failed_event(client: Client) -> None:
    """Without an answer there is no status; the program gets the error unchanged."""
    client.url = f"http://{HOST}:{free_port()}"

    with pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
        client.post("/v1/chat", {"model": "auto"})

    assert (0, True, "missing", 0) == client.facts


def test_answer_that_breaks_off_is_a_failed_event(client: Client) -> None:
    """The provider closed in the middle of its answer."""
    with pytest.raises((httpx.RemoteProtocolError, httpx2.RemoteProtocolError)):
        client.post("/breaks")

    assert (200, True, "missing", 0) == client.facts


def test_stream_that_the_program_leaves_is_cancelled(client: Client) -> None:
    """Closed after its first chunk, a stream did not fail and is counted as cancelled."""
    first = client.post_and_leave("/halves")

    assert json.dumps(CHAT).encode()[:9] == first
    assert (200, False, "missing", 0) == client.facts
    assert {"cancelled": 1} == client.unrecorded


def test_stream_that_the_program_never_reads_is_cancelled(client: Client) -> None:
    """Closed without a look at its body, it is an event all the same."""
    status = client.post_and_read_nothing("/halves")

    assert 200 == status
    assert (200, False, "missing", 0) == client.facts
    assert {"cancelled": 1} == client.unrecorded


def test_compressed_answer_reaches_the_program(client: Client) -> None:
    """httpx asks for compression: the program has its answer, and the call is one event."""
    answer = client.post("/gzip")

    assert CHAT == answer.json()
    assert [38] == [event.total_tokens for event in client.recorder.events]


@pytest.mark.parametrize("is_async", [False, True])
def test_caller_may_be_told_by_the_request(library: Any, url: str, is_async: bool) -> None:
    """A function of the request returns the caller of a call, or None for nobody."""

    def caller(request: httpx.Request | httpx2.Request) -> Caller | None:
        name = request.headers.get("x-tenant")
        return Caller(name) if name else None

    client = Client(library, url, is_async=is_async, caller=caller)

    client.post("/a", **{"x-tenant": "t-1"})
    client.post("/b")

    assert ["t-1"] == [event.user_id for event in client.recorder.events]
    assert {"/b": {"no_user": 1}} == client.recorder.counters.unrecorded


def test_body_from_a_stream_is_sent_as_it_is(library: Any, url: str) -> None:
    """A request whose body is a generator works, and its requested model is unknown."""
    client = Client(library, url, is_async=False)

    with client.sync() as session:
        answer = session.post("/v1/chat", content=iter([b'{"model": ', b'"auto"}']))

    assert 200 == answer.status_code
    assert "" == client.recorder.events[0].requested_model
