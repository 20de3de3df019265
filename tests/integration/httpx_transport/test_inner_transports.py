"""What the transport inside ours may do: read the answer, add a header, be of the wrong library."""

import gzip
import json
from typing import Any

import httpx
import httpx2
import pytest

from tests.support.httpx_clients import ADA, CHAT, OURS, SPAN, TRACE
from usagepipe.producer import httpx as for_httpx
from usagepipe.producer import httpx2 as for_httpx2
from usagepipe.producer.testing import MemoryRecorder

pytestmark = pytest.mark.one_process


def test_answer_that_a_transport_has_read_already_counts(library: Any) -> None:
    """Transports of caches and tests answer from memory."""
    recorder = MemoryRecorder()
    memory = library.MockTransport(lambda request: library.Response(200, json=CHAT))
    transport = OURS[library].UsageTransport(memory, recorder=recorder, caller=ADA)

    with library.Client(transport=transport) as client:
        client.post("http://provider/v1/chat")

    assert [38] == [event.total_tokens for event in recorder.events]


def test_compressed_answer_that_a_transport_has_read_already_counts() -> None:
    """Retries, caches and logging read answers before they hand them on: they are unpacked then."""
    recorder = MemoryRecorder()

    class Reading(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            packed = gzip.compress(json.dumps(CHAT).encode())
            headers = {"content-type": "application/json", "content-encoding": "gzip"}
            answer = httpx.Response(200, headers=headers, content=packed)
            answer.read()
            return answer

    transport = for_httpx.UsageTransport(Reading(), recorder=recorder, caller=ADA)
    with httpx.Client(transport=transport) as client:
        client.post("http://provider/v1/chat")

    assert [38] == [event.total_tokens for event in recorder.events]


def test_trace_that_the_inner_transport_adds_counts() -> None:
    """Instrumentations of httpx add the header in the inner transport, after ours was called."""
    recorder = MemoryRecorder()

    def instrumented(request: httpx.Request) -> httpx.Response:
        request.headers["traceparent"] = f"00-{TRACE}-{SPAN}-01"
        return httpx.Response(200, json=CHAT)

    transport = for_httpx.UsageTransport(
        httpx.MockTransport(instrumented), recorder=recorder, caller=ADA
    )
    with httpx.Client(transport=transport) as client:
        client.post("http://provider/v1/chat")

    assert [{"trace_id": TRACE, "span_id": SPAN}] == [event.tags for event in recorder.events]


@pytest.mark.parametrize(
    ("ours", "theirs"), [(for_httpx, httpx2), (for_httpx2, httpx)], ids=["httpx2", "httpx"]
)
def test_transport_of_the_other_library_is_refused(ours: Any, theirs: Any) -> None:
    """A client accepts its own streams only: the error comes when the transport is made."""
    options = {"recorder": MemoryRecorder(), "caller": ADA}

    with pytest.raises(TypeError, match=f"not one of {theirs.__name__}"):
        ours.UsageTransport(theirs.HTTPTransport(), **options)
    with pytest.raises(TypeError, match=f"not one of {theirs.__name__}"):
        ours.AsyncUsageTransport(theirs.AsyncHTTPTransport(), **options)
