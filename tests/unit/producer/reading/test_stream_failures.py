"""Failures inside an answer that began with a status of 200."""

import json
import struct
from binascii import crc32
from typing import Any

import pytest

from tests.support.watched import CHAT, STREAM, Bench, answering, reading
from tests.unit.producer.reading.test_aws_event_stream import TYPE as AWS
from tests.unit.producer.reading.test_aws_event_stream import message
from usagepipe.producer import stamp_usage
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.framing.prefilter import may_matter
from usagepipe.producer.reading.usage import Usage

EVENTS, LINES, JSON = "text/event-stream", "application/x-ndjson", "application/json"
LIMIT = 4_096
SHORT = 24  # bytes: every document is over this bound
TEXT = {"model": "m", "choices": [{"index": 0, "delta": {"content": "H"}}]}
COUNTED = TEXT | {"usage": {"prompt_tokens": 31, "completion_tokens": 7}}  # as vLLM: so far
OVERLOADED = {"message": "overloaded", "code": 529}
SEEN = Usage("m", 31, 7, 38, usage_quality="partial")

FAILED_DOCUMENTS: dict[str, dict[str, Any]] = {
    "OpenAI": {"error": OVERLOADED},
    "OpenRouter": TEXT | {"error": OVERLOADED, "choices": [{"finish_reason": "error"}]},
    "Mistral": TEXT | {"choices": [{"finish_reason": "error"}]},
    "Anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
    "Responses, the stream": {"type": "error", "code": "server_error", "message": "x"},
    "Responses, the answer": {
        "type": "response.failed",
        "response": {"status": "failed", "error": OVERLOADED, "usage": None},
    },
    "Gemini": {"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}},
    "Interactions": {"event_type": "error", "error": {"code": "x"}},
    "Interactions, the answer": {
        "event_type": "interaction.completed",
        "interaction": {"status": "failed", "error": OVERLOADED},
    },
    "Interactions, the status": {
        "event_type": "interaction.status_update",
        "interaction_id": "x",
        "status": "failed",
    },
    "Ollama": {"error": "an error was encountered while running the model"},
    "vLLM, older": {"object": "error", "message": "x", "code": 500},
    "Mistral's conversations": {"type": "conversation.response.error", "code": 1},
}
SOUND_DOCUMENTS: dict[str, dict[str, Any]] = {
    "null": TEXT | {"error": None},
    "nothing": TEXT | {"error": {}, "status": "failed"},
    "incomplete": {
        "type": "response.incomplete",
        "response": {"status": "incomplete", "error": None},
    },
    "cancelled": {"type": "response.done", "response": {"status": "cancelled"}},
    "a tool's call": {"type": "response.mcp_call.failed", "item_id": "x"},
    "said": TEXT | {"choices": [{"delta": {"content": '{"error": {"code": 1}, "type": "error"}'}}]},
    "a tool's result": TEXT | {"choices": [{"message": {"error": OVERLOADED}}]},
}


def written(content_type: str, *documents: Any) -> bytes:
    texts = [json.dumps(document).encode() for document in documents]
    if content_type == LINES:
        return b"\n".join(texts) + b"\n"
    return b"".join(b"data: %b\n\n" % text for text in texts)


def read(content_type: str, body: bytes, size: int, limit: int = LIMIT) -> AnswerReader:
    reader = AnswerReader(content_type, "", limit)
    for at in range(0, len(body), size):
        reader.feed(body[at : at + size])
    reader.read()
    return reader


@pytest.mark.parametrize("limit", [SHORT, LIMIT])
@pytest.mark.parametrize("size", [1, LIMIT])
@pytest.mark.parametrize("content_type", [EVENTS, LINES])
@pytest.mark.parametrize("document", FAILED_DOCUMENTS.values(), ids=FAILED_DOCUMENTS)
def test_error_in_a_stream_is_a_failure(
    document: dict[str, Any], content_type: str, size: int, limit: int
) -> None:
    """Each provider's own way, in the middle of a stream, at any size; its tokens are kept."""
    body = written(content_type, TEXT, TEXT, COUNTED, document, TEXT)

    reader = read(content_type, body, size, limit)

    assert (True, SEEN) == (reader.failed, reader.read())


@pytest.mark.parametrize("limit", [SHORT, LIMIT])
@pytest.mark.parametrize("document", SOUND_DOCUMENTS.values(), ids=SOUND_DOCUMENTS)
def test_what_is_no_error_of_the_answer_is_none(document: dict[str, Any], limit: int) -> None:
    """An answer that stopped early has not failed, nor has one that speaks of errors."""
    body = written(EVENTS, TEXT, TEXT, COUNTED, document) + b"data: [DONE]\n\n"

    reader = read(EVENTS, body, LIMIT, limit)

    assert (False, SEEN._replace(usage_quality="complete")) == (reader.failed, reader.read())


@pytest.mark.parametrize("document", FAILED_DOCUMENTS.values(), ids=FAILED_DOCUMENTS)
def test_prefilter_lets_failures_through(document: dict[str, Any]) -> None:
    """A document that is never parsed could not fail the answer."""
    assert may_matter(json.dumps(document).encode())


@pytest.mark.parametrize("size", [1, 13, LIMIT])
@pytest.mark.parametrize("data", [b'{"message": "overloaded"}', b"overloaded"])
def test_event_named_error_is_a_failure(data: bytes, size: int) -> None:
    """The name of the event decides, not its data."""
    body = written(EVENTS, TEXT, TEXT, COUNTED) + b"event: error\ndata: %b\n\n" % data

    reader = read(EVENTS, body, size)

    assert (True, SEEN) == (reader.failed, reader.read())


@pytest.mark.parametrize("size", [1, 13, LIMIT])
@pytest.mark.parametrize(
    "tail",
    [
        b"event: errors\ndata: {}\n\n",
        b"event: error\n\ndata: {}\n\n",
        b": error\nevent: x\ndata:\n\n",
    ],
)
def test_other_names_are_no_failure(tail: bytes, size: int) -> None:
    """Names are exact, and an event without data is none."""
    assert not read(EVENTS, written(EVENTS, TEXT, TEXT, COUNTED) + tail, size).failed


@pytest.mark.parametrize("size", [1, LIMIT])
@pytest.mark.parametrize("kind", ["exception", "error"])
def test_exception_in_aws_stream_is_a_failure(kind: str, size: int) -> None:
    """Bedrock's headers name the failure, not the payload."""
    usage = {"usage": {"inputTokens": 31, "outputTokens": 7, "totalTokens": 38}}
    body = message("metadata", usage) + aws_failure(kind)

    reader = read(AWS, body, size)

    assert (True, 38) == (reader.failed, getattr(reader.read(), "total_tokens", 0))
    assert not read(AWS, message("metadata", usage), size).failed


def aws_failure(kind: str) -> bytes:
    """A message as Bedrock sends it for a failure in the middle of a stream."""
    names = {":exception-type": "throttlingException", ":message-type": kind}
    headers = b"".join(
        struct.pack(">B", len(name))
        + name.encode()
        + struct.pack(">BH", 7, len(text))
        + text.encode()
        for name, text in names.items()
    )
    payload = b'{"message": "Too many tokens"}'
    prelude = struct.pack(">II", 12 + len(headers) + len(payload) + 4, len(headers))
    unsigned = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return unsigned + struct.pack(">I", crc32(unsigned))


def test_response_that_failed_keeps_its_whole_usage() -> None:
    """The event of the failure may hold the final usage too: then it is complete."""
    usage = {"input_tokens": 31, "output_tokens": 7, "total_tokens": 38}
    failed = {"status": "failed", "error": OVERLOADED, "usage": usage}
    body = written(EVENTS, {"type": "response.failed", "response": failed})

    reader = read(EVENTS, body, LIMIT)

    assert (True, Usage("", 31, 7, 38)) == (reader.failed, reader.read())


def test_realtime_response_that_failed_is_a_failure() -> None:
    """One event ends all responses; its response's status says how."""
    body = written(EVENTS, TEXT, {"type": "response.done", "response": {"status": "failed"}})

    assert read(EVENTS, body, LIMIT).failed


def test_mark_of_the_end_after_an_error_ends_no_usage() -> None:
    """Gateways close a broken stream properly: what the model wrote was still cut."""
    body = written(EVENTS, COUNTED, {"error": OVERLOADED}) + b"data: [DONE]\n\n"

    assert SEEN == read(EVENTS, body, LIMIT).read()


@pytest.mark.parametrize(
    ("content_type", "answer", "tokens"),
    [
        (EVENTS, written(EVENTS, TEXT, COUNTED, {"error": OVERLOADED}), 38),
        (JSON, json.dumps({"error": OVERLOADED}).encode(), 0),
        (JSON, json.dumps(CHAT | {"status": "failed", "object": "response"}).encode(), 38),
        (JSON, json.dumps([COUNTED, {"error": OVERLOADED}]).encode(), 38),
    ],
)
def test_failure_inside_of_an_answer_is_a_failed_event(
    content_type: str, answer: bytes, tokens: int
) -> None:
    """The status stays what the client was sent, and the request counts as failed."""
    bench = Bench(reading(answering(answer, headers=[("content-type", content_type)])))

    bench.post(body={"model": "asked"})

    event = bench.event
    assert (200, True, tokens) == (event.status_code, event.failed, event.total_tokens)
    assert ({} if tokens else {"failed": 1}) == bench.unrecorded


def test_handler_knows_better_whether_it_failed() -> None:
    """A gateway that tried again stamps that it went well after all."""
    body = written(EVENTS, {"error": OVERLOADED}, COUNTED)
    bench = Bench(answering(body, headers=STREAM, before=lambda: stamp_usage(failed=False)))

    bench.post()

    assert not bench.event.failed


@pytest.mark.parametrize("status", [200, 503])
def test_failed_request_counts_for_the_model_that_was_asked(status: int) -> None:
    """No model answered: usage by model shows the failure where it belongs."""
    bench = Bench(reading(answering({"error": OVERLOADED}, status=status)))

    bench.post(body={"model": "asked"})

    assert ("asked", "asked", True) == (
        bench.event.requested_model,
        bench.event.model,
        bench.event.failed,
    )


def test_model_that_answered_is_kept_with_a_failure() -> None:
    """A stream that broke had a model already."""
    body = written(EVENTS, TEXT, {"error": OVERLOADED})
    bench = Bench(reading(answering(body, headers=STREAM)))

    bench.post(body={"model": "auto"})

    assert ("auto", "m") == (bench.event.requested_model, bench.event.model)


def test_answer_that_names_no_model_counts_for_the_one_that_was_asked() -> None:
    """Bedrock's Converse and Cohere never name one."""
    usage = {"usage": {"inputTokens": 30, "outputTokens": 6, "totalTokens": 36}}
    bench = Bench(answering(usage))

    bench.post("/model/eu.nova-lite-v1%3A0/converse")

    assert ("eu.nova-lite-v1:0", 36) == (bench.event.model, bench.event.total_tokens)
