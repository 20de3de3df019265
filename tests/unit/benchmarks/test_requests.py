"""What the benchmark of requests measures is what it says."""

import asyncio

import pytest

from benchmarks.extraction import USAGE, chat_stream
from benchmarks.gateways import Call, DoNothing, chat, streamed_chat
from benchmarks.requests import added, caller_of, figures_of
from usagepipe.producer import UsageMiddleware
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.asgi import App

GATEWAYS = [
    pytest.param(chat(), 1, False, id="json"),
    pytest.param(streamed_chat(chat_stream(10)), 11, True, id="stream"),
]


def call(began: int, ended: int, *pieces: int) -> Call:
    made = Call()
    made.began, made.ended, made.pieces = began, ended, [*pieces]
    return made


@pytest.mark.parametrize(("gateway", "pieces", "streaming"), GATEWAYS)
def test_the_measured_requests_are_recorded(gateway: App, pieces: int, streaming: bool) -> None:
    """A middleware that finds nothing would be fast: this one records the usage of each request,
    and its client gets all of the answer.
    """
    recorder, asked = MemoryRecorder(), Call()

    asyncio.run(asked.make(UsageMiddleware(gateway, recorder=recorder, identify=caller_of)))

    (event,) = recorder.events
    assert pieces == len(asked.pieces)
    assert (USAGE["total_tokens"], "complete") == (event.total_tokens, event.usage_quality)
    assert ("gpt-5", streaming) == (event.requested_model, event.streaming)


@pytest.mark.parametrize(("gateway", "pieces", "streaming"), GATEWAYS)
def test_doing_nothing_passes_all_on(gateway: App, pieces: int, streaming: bool) -> None:
    """The middleware that does nothing passes each message on: else it would be no measure."""
    asked = Call()

    asyncio.run(asked.make(DoNothing(gateway)))

    assert pieces == len(asked.pieces)


def test_waits_are_the_client_s() -> None:
    """The first byte counts from the request on, a chunk from the one before it."""
    calls = [call(0, 9_000, 2_000, 5_000, 6_000), call(100_000, 109_000, 104_000, 107_000)]

    figures = figures_of(calls)

    assert {
        "us": 9.0,
        "p99_us": 9.0,
        "p999_us": 9.0,
        "first_byte_us": 3.0,
        "chunk_us": 3.0,
    } == figures


def test_an_answer_in_one_piece_has_no_wait_between() -> None:
    """A JSON answer has no time per chunk."""
    figures = figures_of([call(0, 9_000, 2_000)])

    assert "chunk_us" not in figures


def test_the_slowest_requests_make_the_p99() -> None:
    """Of two hundred requests the p99 is that of the second slowest."""
    calls = [call(0, 1_000 * number, 0) for number in range(1, 201)]

    figures = figures_of(calls)

    assert (100.5, 199.0) == (figures["us"], figures["p99_us"])


def test_what_is_added_is_compared_within_a_round() -> None:
    """A slow round of the machine meets both, and is in no figure."""
    turns = {
        "bare": [{"us": 2.0}, {"us": 50.0}, {"us": 3.0}],
        "nothing": [{"us": 3.0}, {"us": 51.0}, {"us": 5.0}],
        "ours": [{"us": 62.0}, {"us": 110.0}, {"us": 64.0}],
    }

    assert {"us": 60.0, "nothing_us": 1.0, "bare_us": 3.0} == added(turns)
