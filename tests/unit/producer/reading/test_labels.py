"""A content type is a hint: the first bytes of an answer decide."""

import json
from typing import Any

import pytest

from tests.support.watched import CHAT, Bench, answering
from tests.unit.producer.reading.test_aws_event_stream import message
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage

LIMIT = 4_096
DOCUMENTS: list[dict[str, Any]] = [
    {"model": "m", "choices": [{"delta": {"content": "Hi"}}]},
    {"model": "m", "choices": [], "usage": {"prompt_tokens": 31, "completion_tokens": 7}},
]
FOUND = Usage("m", 31, 7, 38)
LINES = [json.dumps(document).encode() for document in DOCUMENTS]
BODIES = {
    "events": b"".join(b"data: %b\n\n" % line for line in LINES) + b"data: [DONE]\n\n",
    "events after a comment": b": wait\n\n" + b"".join(b"data:%b\r\n\r\n" % line for line in LINES),
    "named events": b"".join(b"event: chunk\nid: 7\ndata: %b\n\n" % line for line in LINES),
    "lines": b"\n".join(LINES) + b"\n",
    "an array": b"[" + b",\r\n".join(LINES) + b"]",
    "JSON": b"\r\n" + LINES[-1],
    "JSON on several lines": b"\xef\xbb\xbf" + json.dumps(DOCUMENTS[-1], indent=2).encode(),
    "AWS's stream": b"".join(message("chunk", document) for document in DOCUMENTS),
}
TYPES = [
    "",
    "application/json",
    "application/JSON; charset=utf-8",
    "application/problem+json",
    "application/x-ndjson",
    "application/vnd.amazon.eventstream",
    "text/plain",
    "Text/Plain;charset=UTF-8",
    "TEXT/EVENT-STREAM",
    "text/event-stream, application/json",
    "application/stream",
    "nonsense",
]


def read(content_type: str, body: bytes, size: int = LIMIT) -> Usage | str:
    reader = AnswerReader(content_type, "", LIMIT)
    for at in range(0, len(body), size):
        reader.feed(body[at : at + size])
    return reader.read()


@pytest.mark.parametrize("size", [1, 7, LIMIT])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("content_type", TYPES)
def test_usage_is_found_under_any_label(content_type: str, body: bytes, size: int) -> None:
    """An answer with any label of a gateway is read by its content, in pieces of any size."""
    assert FOUND == read(content_type, body, size)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\n"])
@pytest.mark.parametrize("padding", [0, 2 * LIMIT])
@pytest.mark.parametrize("content_type", ["application/x-ndjson", "text/event-stream"])
@pytest.mark.parametrize(
    "answer",
    [
        {"type": "message", "usage": {"input_tokens": 31, "output_tokens": 7}},
        {"object": "response", "usage": {"input_tokens": 31, "output_tokens": 7}},
        {"object": "interaction", "usage": {"total_input_tokens": 31, "total_output_tokens": 7}},
    ],
    ids=lambda answer: next(iter(answer.values())),
)
def test_answer_that_passes_as_a_stream_is_complete(
    answer: dict[str, Any], content_type: str, padding: int, end: bytes
) -> None:
    """A JSON answer of one line has no mark of an end but its own."""
    body = json.dumps({"model": "m", "pad": "x" * padding} | answer).encode() + end

    assert FOUND == read(content_type, body)
    assert FOUND == read(content_type, body, size=1)


def test_line_of_a_stream_that_was_cut_is_partial() -> None:
    """One line may be all that came of a stream, with what was counted until then."""
    reader = AnswerReader("application/x-ndjson", "", LIMIT)

    reader.feed(json.dumps({"usageMetadata": {"promptTokenCount": 31}}).encode() + b"\n")

    assert Usage("", 31, 0, 31, usage_quality="partial") == reader.read(complete=False)


@pytest.mark.parametrize("size", [1, LIMIT])
@pytest.mark.parametrize(
    "content_type",
    ["audio/mpeg", "image/png", "video/mp4", "text/html", "text/css", "application/xhtml+xml"],
)
def test_what_no_model_says_in_text_is_not_read(content_type: str, size: int) -> None:
    """Sound, pictures and pages have no usage, with any first bytes."""
    assert ["no_usage"] * len(BODIES) == [
        read(content_type, body, size) for body in BODIES.values()
    ]


@pytest.mark.parametrize("size", [1, LIMIT])
@pytest.mark.parametrize("content_type", ["application/octet-stream", "binary/octet-stream"])
def test_of_files_only_event_streams_are_read(content_type: str, size: int) -> None:
    """A stream may pass as octets; a file of JSON is one that somebody made before."""
    expected = [FOUND if "events" in name or "AWS" in name else "no_usage" for name in BODIES]

    assert expected == [read(content_type, body, size) for body in BODIES.values()]


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/plain", b"Hello", "no_usage"),
        ("text/plain", b"{oops", "no_usage"),
        ("text/plain", b"\0\0\0\x10nothing of AWS", "no_usage"),
        ("text/plain", b"", "no_usage"),
        ("text/plain", b"dat", "no_usage"),
        ("", b"dat", "no_usage"),
        ("application/json", b"dat", "parse_failed"),
        ("application/json", b"\0\0", "parse_failed"),
        ("application/json", b"<html>", "parse_failed"),
        ("application/vnd.amazon.eventstream", b"a stream of something else", "parse_failed"),
        ("application/x-ndjson", b"{", "no_usage"),
    ],
)
def test_body_that_is_nothing_is_what_its_label_says(
    content_type: str, body: bytes, expected: str
) -> None:
    """If the first bytes decide nothing, the label does."""
    assert expected == read(content_type, body)
    assert expected == read(content_type, body, size=1)


@pytest.mark.parametrize(
    ("content_type", "body", "streaming"),
    [
        ("application/json", BODIES["events"], True),
        ("text/plain", BODIES["events"], True),
        ("application/octet-stream", BODIES["AWS's stream"], True),
        ("text/event-stream", BODIES["JSON"], False),
        ("text/event-stream", b"", True),
        ("text/plain", b"Hello", False),
    ],
)
def test_the_body_shows_whether_it_was_a_stream(
    content_type: str, body: bytes, streaming: bool
) -> None:
    """A stream under another label is one; the label counts only where nothing came."""
    bench = Bench(answering(body, headers=[("content-type", content_type)]))

    bench.post(body={"model": "m"})

    assert [streaming] * len(bench.recorder.events) == [e.streaming for e in bench.recorder.events]


def test_events_after_a_line_in_braces_are_a_stream() -> None:
    """By the standard such a line is a field to ignore, also where each event comes by itself."""
    reader = AnswerReader("text/event-stream", "", LIMIT)
    for chunk in (b"{}\n\n", *(b"data: %b\n\n" % line for line in LINES)):
        reader.feed(chunk)

    assert (FOUND, True) == (reader.read(), reader.streaming)


@pytest.mark.parametrize("content_type", ["text/plain", "text/html", "application/octet-stream"])
def test_page_is_no_event_newly(content_type: str) -> None:
    """A text that was looked into and has no usage is no answer of a model."""
    bench = Bench(answering(b'{"page": 1}', headers=[("content-type", content_type)]))

    bench.post()

    assert [] == bench.recorder.events
    assert {"no_usage": 1} == bench.unrecorded


def test_mislabelled_stream_is_an_event_with_its_tokens() -> None:
    """The whole way: a stream that passes as text is recorded."""
    body = b"data: %b\n\n" % json.dumps(CHAT).encode()
    bench = Bench(answering(body, headers=[("content-type", "text/plain; charset=utf-8")]))

    bench.post()

    assert (31, 7, 38) == bench.tokens
    assert bench.event.streaming
