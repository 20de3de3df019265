"""OpenAI's and Anthropic's own clients through `examples/provider_gateway.py`, on real servers.

The provider is a stub that answers as theirs do; what the clients send and expect is real.
"""

from collections.abc import Iterator
from dataclasses import replace

import anthropic
import openai
import pytest

from tests.support import stub_provider
from tests.support.gateway_world import KEY, REPORTED, World, gateway_before, reported
from tests.support.loopback import serving
from tests.support.official_clients import ASKED_MODEL
from tests.support.stub_answers import TEXT
from usagepipe.producer.testing import MemoryRecorder

NOWHERE = "http://127.0.0.1:1"

pytestmark = pytest.mark.one_process


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    """One gateway for all: each test waits for its events, and forgets those of the one before."""
    with serving(stub_provider.app) as provider, gateway_before(provider) as world:
        yield world


@pytest.fixture(params=["sync", "async"])
def world(request: pytest.FixtureRequest, shared: World) -> World:
    shared.recorder.events.clear()
    return replace(shared, is_async=request.param == "async")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", REPORTED)
def test_answer_reaches_the_client_and_is_an_event(world: World, api: str, stream: bool) -> None:
    """The client has its text; the event has the provider's model and tokens, both models, the
    time to the first byte of a stream, and the key as a fingerprint and nothing of it else."""
    text = world.ask(api, stream=stream)

    (event,) = world.events()
    assert TEXT == text
    assert REPORTED[api] == reported(event)
    assert (ASKED_MODEL, "complete", 200, False, stream, 1) == (
        event.requested_model,
        event.usage_quality,
        event.status_code,
        event.failed,
        event.streaming,
        event.attempt,
    )
    assert stream == (event.ttft_ms is not None)
    assert ("apikey", event.user_id) == (event.source, event.api_key_id)
    assert KEY not in event.model_dump_json()


def test_stream_that_was_not_asked_for_usage_has_none(world: World) -> None:
    """T-40: OpenAI's chat stream without `include_usage` is one event of zero tokens, flagged."""
    text = world.ask("chat", stream=True, stream_options={"include_usage": False})

    (event,) = world.events()
    assert TEXT == text
    assert ("missing", 0, True, False, ASKED_MODEL) == (
        event.usage_quality,
        event.total_tokens,
        event.streaming,
        event.failed,
        event.requested_model,
    )


IDS = {
    "correlation id": ({"x-correlation-id": "req-7"}, "req-7"),
    "idempotency key": ({"Idempotency-Key": "idem-7"}, "idem-7"),
    "no id": ({}, ""),
}


@pytest.mark.parametrize("api", REPORTED)
@pytest.mark.parametrize(("headers", "request_id"), IDS.values(), ids=IDS)
def test_retries_of_a_client_are_attempts(
    world: World, api: str, headers: dict[str, str], request_id: str
) -> None:
    """T-39: refused twice by 429, both clients try a third time by themselves: three events, two
    failed and of no tokens, with the number of each try. An id that the application gives its
    request is that of all three; the clients give none of their own."""
    text = world.ask(api, "limited", stream=False, extra_headers=headers)

    events = world.events(stub_provider.TRIES)
    assert TEXT == text
    assert [
        (1, 429, True, "missing", 0),
        (2, 429, True, "missing", 0),
        (3, 200, False, "complete", REPORTED[api][5]),
    ] == [(e.attempt, e.status_code, e.failed, e.usage_quality, e.total_tokens) for e in events]
    assert [request_id] * 3 == [event.request_id for event in events]


@pytest.mark.parametrize("api", REPORTED)
def test_error_of_the_provider_is_the_clients(world: World, api: str) -> None:
    """T-04: a failure of the provider reaches the client as the client's own error class."""
    with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)):
        world.ask(api, "fail", stream=True)

    events = world.events(stub_provider.TRIES)
    assert [1, 2, 3] == [event.attempt for event in events]
    assert {(500, True, 0)} == {(e.status_code, e.failed, e.total_tokens) for e in events}


def test_provider_that_cannot_be_reached_is_a_failed_event() -> None:
    """The gateway answers 502, which the client understands, and tries again after."""
    with gateway_before(NOWHERE) as world:
        with pytest.raises(openai.InternalServerError, match="ConnectError"):
            world.ask("chat", stream=False)

        events = world.events(stub_provider.TRIES)

    assert {("openai", 502, True)} == {(e.provider, e.status_code, e.failed) for e in events}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", REPORTED)
def test_clients_without_a_gateway_record_by_a_transport(
    shared: World, api: str, stream: bool, is_async: bool
) -> None:
    """Both take a client of httpx2 with our transport: each of their tries is an event."""
    world = replace(
        shared,
        url=shared.provider,
        recorder=MemoryRecorder(),
        is_async=is_async,
        records_itself=True,
    )

    text = world.ask(api, "limited", stream=stream)

    *refused, event = world.events(stub_provider.TRIES)
    assert TEXT == text
    assert [(1, 429), (2, 429)] == [(each.attempt, each.status_code) for each in refused]
    assert ("127.0.0.1", *REPORTED[api][1:]) == reported(event)
    assert ("u-program", ASKED_MODEL, "complete", stream, 3) == (
        event.user_id,
        event.requested_model,
        event.usage_quality,
        event.streaming,
        event.attempt,
    )
