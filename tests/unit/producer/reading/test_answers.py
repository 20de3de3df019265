"""Bodies in chunks: what kind they are, where they end, and what a cut one is worth."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage

BODY = json.dumps({"model": "m", "t": "ü😀", "usage": {"prompt_tokens": 3}}, ensure_ascii=False)
LIMIT = 1_024
JSON, EVENTS, LINES = "application/json", "text/event-stream", "application/x-ndjson"
CHAT: dict[str, Any] = {
    "model": "m",
    "choices": [],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
}
FOUND = Usage("m", 3, 4, 7)
PARTIAL = Usage("m", 3, 4, 7, usage_quality="partial")


def read(kind: str, *pieces: bytes, complete: bool = True, limit: int = LIMIT) -> Usage | str:
    reader = AnswerReader(kind, "", limit)
    for piece in pieces:
        reader.feed(piece)
    return reader.read(complete)


def events(*documents: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(document).encode() for document in documents)


@settings(deadline=None)  # a shared machine may pause
@given(st.lists(st.integers(0, len(BODY.encode())), max_size=10), st.sampled_from([8, LIMIT]))
def test_any_split_gives_the_same_usage(cuts: list[int], limit: int) -> None:
    """The network may cut the body anywhere, even inside a character."""
    raw = BODY.encode()
    borders = [0, *sorted(cuts), len(raw)]

    found = read(JSON, *(raw[start:end] for start, end in pairwise(borders)), limit=limit)

    assert Usage("m", 3, 0, 3) == found


@pytest.mark.parametrize("limit", [8, LIMIT])
@pytest.mark.parametrize(
    "text",
    [
        r'{"t": "half a pair: \ud83d", "usage": {"prompt_tokens": 3}}',
        '\ufeff{"usage": {"prompt_tokens": 3}}',
        '{"deep": ' + "[" * 300 + "]" * 300 + ', "usage": {"prompt_tokens": 3}}',
        '{"deep": ' + '[{"a":' * 9_000 + "1" + "}]" * 9_000 + ', "usage": {"prompt_tokens": 3}}',
        '{"huge": ' + "9" * 5_000 + ', "usage": {"prompt_tokens": 3}}',
        '{"huge": 1e999999999999999999999, "usage": {"prompt_tokens": 3}}',
        '{"nan": NaN, "inf": -Infinity, "usage": {"prompt_tokens": 3}}',
        '{"usage": {"prompt_tokens": 3, "cost": 1e99}}',
        '\r\n\t {"usage": {"prompt_tokens": 3}} \n',
    ],
)
def test_oddities_beside_the_usage_do_not_hide_it(text: str, limit: int) -> None:
    """Half a surrogate pair, a BOM, deep nesting or a huge number is no reason to lose a count."""
    assert Usage("", 3, 0, 3) == read(JSON, text.encode(), limit=limit * 99)


def test_bytes_that_are_no_utf8_do_not_hide_the_usage() -> None:
    """A broken character in a text is replaced, as a client would."""
    assert Usage("", 3, 0, 3) == read(JSON, b'{"t": "\xff", "usage": {"prompt_tokens": 3}}')


def test_cost_is_never_made_from_a_float() -> None:
    """Digits that a float would lose are there, in held and in projected answers."""
    raw = b'{"usage": {"prompt_tokens": 3, "cost": 123456789.000000000001}}'
    expected = Usage("", 3, 0, 3, cost=Decimal("123456789.000000000001"))

    assert expected == read(JSON, raw)
    assert expected == read(JSON, raw, limit=8)
    assert expected.cost == getattr(read(EVENTS, b"data: " + raw), "cost", None)


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("", BODY.encode(), Usage("m", 3, 0, 3)),
        ("", b"\xef\xbb\xbf \n" + BODY.encode(), Usage("m", 3, 0, 3)),
        ("", events(CHAT), FOUND),
        ("", b"\n" + events(CHAT), FOUND),
        ("", b": hello\n" + events(CHAT), FOUND),
        ("", b'{"a": 1}\n' + json.dumps(CHAT).encode(), FOUND),
        ("", b"<html>", "no_usage"),
        ("", b"  ", "no_usage"),
        ("Application/JSON; charset=utf-8", BODY.encode(), Usage("m", 3, 0, 3)),
        ("application/vnd.api+json", BODY.encode(), Usage("m", 3, 0, 3)),
        ("TEXT/Event-Stream;charset=utf-8", events(CHAT), FOUND),
        ("application/x-ndjson", json.dumps(CHAT).encode(), FOUND),
        ("application/jsonl", json.dumps(CHAT).encode() + b"\r\n\r\n", FOUND),
        ("text/html", BODY.encode(), "no_usage"),
        ("audio/mpeg", BODY.encode(), "no_usage"),
        ("image/png", events(CHAT), "no_usage"),
        (JSON, b"", "no_usage"),
        (JSON, b"null", "no_usage"),
        (JSON, b'{"usage": {"prompt', "parse_failed"),
        (JSON, b'{"usage": {"prompt_tokens": 3}, oops}', "parse_failed"),
        (JSON, b'{"usage": {"prompt_tokens": 3}}\nnot json', "parse_failed"),
        (JSON, b"not json", "parse_failed"),
        (JSON, b"[" * 5_000, "parse_failed"),
    ],
)
def test_content_type_decides_how_to_read(
    content_type: str, body: bytes, expected: Usage | str
) -> None:
    """Case and parameters do not matter; without a type, the first byte decides."""
    assert expected == read(content_type, body)


@pytest.mark.parametrize("filler", [b" ", b"x", b"[", b'{"a": "'])
def test_body_over_its_bound_without_usage_has_a_reason(filler: bytes) -> None:
    """However much comes, it is looked through, and nothing is invented."""
    assert read(JSON, *[filler * LIMIT] * 99) in {"no_usage", "parse_failed"}


DONE = b"data: [DONE]\n\n"
OPEN = CHAT | {"choices": [{"delta": {}, "finish_reason": None}]}
LAST = CHAT | {"choices": [{"delta": {}, "finish_reason": "stop"}]}
IN_RESPONSE = {"response": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 4}}}
GEMINI = {
    "modelVersion": "m",
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
}
CLAUDE = {
    "type": "message_start",
    "message": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 4}},
}
OLLAMA = {"model": "m", "prompt_eval_count": 3, "eval_count": 4}
COHERE = {"model": "m", "delta": {"usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}}}}
MEDIA = {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 4}}
ENDED = {
    "chat": events(CHAT) + DONE,
    "chat, usage in each chunk": events(OPEN) + DONE,
    "chat, a comment after the end": events(CHAT) + DONE + b": bye\n\n",
    "chat, the end in other words": events(CHAT) + b"data:[DONE]",
    "responses": events({"type": "response.completed"} | IN_RESPONSE),
    "responses, incomplete": events({"type": "response.incomplete"} | IN_RESPONSE),
    "responses, failed": events({"type": "response.failed"} | IN_RESPONSE),
    "realtime": events({"type": "response.done"} | IN_RESPONSE),
    "claude": events(CLAUDE, {"type": "message_stop"}),
    "gemini": events(GEMINI | {"candidates": [{"finishReason": "STOP"}]}),
    "gemini, blocked": events(GEMINI | {"promptFeedback": {"blockReason": "SAFETY"}}),
    "ollama": events(OLLAMA | {"done": True}),
    "cohere": events({"type": "message-end"} | COHERE),
    "image": events({"type": "image_generation.completed"} | MEDIA),
    "speech": events({"type": "speech.audio.done"} | MEDIA),
}


@pytest.mark.parametrize("stream", ENDED.values(), ids=ENDED)
@pytest.mark.parametrize("limit", [8, LIMIT])
def test_stream_that_reached_its_end_is_complete(stream: bytes, limit: int) -> None:
    """Each family's own mark of the end, though the client went away after it."""
    middle = events({"model": "m", "choices": [{"delta": {}}]})

    pieces = [middle] * 5 + [event + b"\n\n" for event in stream.split(b"\n\n") if event]

    assert FOUND == read(EVENTS, *pieces, complete=False, limit=limit)


SESSION = [{"type": "session.created", "session": {"model": "m"}}] + [
    {"type": "response.done", "response": {"id": f"r{number}", "usage": MEDIA["usage"]}}
    for number in (1, 2, 2, 1, 3)
]


@pytest.mark.parametrize("limit", [8, LIMIT])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (EVENTS, events(*SESSION)),
        (LINES, b"".join(json.dumps(event).encode() + b"\n" for event in SESSION)),
        (JSON, json.dumps(SESSION).encode()),
    ],
)
def test_realtime_session_adds_up_by_single_bytes(kind: str, body: bytes, limit: int) -> None:
    """Three responses, two of them sent twice, in any framing and with events of any size."""
    pieces = [body[at : at + 1] for at in range(len(body))]

    assert Usage("m", 9, 12, 21) == read(kind, *pieces, limit=limit)


CUT = {
    "chat": events(OPEN),
    "responses": events({"type": "response.in_progress"} | IN_RESPONSE),
    "claude": events(CLAUDE),
    "claude, the end in a text": events(CLAUDE, {"type": "x", "text": "message_stop [DONE]"}),
    "gemini": events(GEMINI),
    "image": events({"type": "image_generation.partial_image"} | MEDIA),
}


@pytest.mark.parametrize("stream", CUT.values(), ids=CUT)
def test_stream_that_lacks_its_end_is_partial(stream: bytes) -> None:
    """Whether the client went away or the server did: more could have come."""
    assert PARTIAL == read(EVENTS, stream, complete=False)
    assert PARTIAL == read(EVENTS, stream, complete=True)


def test_answer_without_a_type_is_known_by_single_bytes() -> None:
    """A BOM and spaces before the deciding byte are skipped."""
    raw = b"\xef\xbb\xbf \n" + BODY.encode()

    assert Usage("m", 3, 0, 3) == read("", *(raw[at : at + 1] for at in range(len(raw))))


STOPPED = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}


@pytest.mark.parametrize("stream", [events(CHAT), events(LAST), events(CLAUDE, STOPPED)])
def test_usage_that_is_final_needs_no_mark(stream: bytes) -> None:
    """Not every server sends [DONE]; but a stream that was cut before its mark is partial."""
    assert FOUND == read(EVENTS, stream)
    assert PARTIAL == read(EVENTS, stream, complete=False)


def test_reading_twice_gives_the_same() -> None:
    """The end is looked at once."""
    reader = AnswerReader(JSON, "", LIMIT)
    reader.feed(BODY.encode())

    assert reader.read() == reader.read()
    assert not reader.streaming


LATE = {
    "escaped name": b'{"\\u0075sage": {"prompt_tokens": 3, "completion_tokens": 4}}',
    "spaces": b'{"usage"  :  {"prompt_tokens": 3, "completion_tokens": 4}}',
    "beside a null": b'{"a": {"usage": null}, "usage": {"input_tokens": 3, "output_tokens": 4}}',
    "groq": b'{"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}',
    "gemini": b'{"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}}',
    "cohere": b'{"meta": {"billed_units": {"input_tokens": 3, "output_tokens": 4}}}',
    "titan": b'{"inputTextTokenCount": 3, "totalOutputTextTokenCount": 4}',
    "llama": b'{"prompt_token_count": 3, "generation_token_count": 4}',
    "ollama": b'{"done": true, "prompt_eval_count": 3, "eval_count": 4}',
}


@pytest.mark.parametrize("document", LATE.values(), ids=LATE)
@pytest.mark.parametrize(("kind", "form"), [(EVENTS, b"data: %s\n\n"), (LINES, b"%s\n")])
def test_usage_is_found_however_late_it_comes(document: bytes, kind: str, form: bytes) -> None:
    """No kind of usage is taken for a chunk that cannot hold any."""
    middle = form % b'{"model": "m", "text": "", "usage": null}'

    found = read(kind, *[middle] * 9, form % document, middle)

    assert isinstance(found, Usage)
    assert ("m", 3, 4) == (found.model, found.prompt_tokens, found.completion_tokens)


ARRAY = json.dumps([GEMINI, GEMINI | {"other": "x" * 99}]).encode()


@pytest.mark.parametrize("limit", [8, LIMIT])
def test_array_is_a_stream(limit: int) -> None:
    """Gemini streams an array of answers: whole it is complete, cut it has what was seen."""
    cut = ARRAY[: ARRAY.index(b"other")]

    assert FOUND == read(JSON, ARRAY, limit=limit)
    assert PARTIAL == read(JSON, cut, complete=False, limit=limit)


@pytest.mark.parametrize(
    ("content_type", "body", "streaming"),
    [
        (EVENTS, b"", True),
        (LINES, b"", True),
        ("application/vnd.amazon.eventstream", b"", True),
        (JSON, BODY.encode(), False),
        (JSON, ARRAY, True),
        (JSON, b"[1]", False),
        ("text/html", b"", False),
        ("", events(CHAT), True),
    ],
)
def test_streams_differ_from_documents(content_type: str, body: bytes, streaming: bool) -> None:
    """By the type; of a JSON body by its being several documents, once it has been read."""
    reader = AnswerReader(content_type, "", LIMIT)

    reader.feed(body)
    reader.read()

    assert streaming == reader.streaming


def test_json_lines_are_read_up_to_the_last() -> None:
    """Ollama's counts come in the last line, which may lack its line feed."""
    lines = [{"model": "m", "done": False}] * 9 + [OLLAMA | {"done": True}]
    raw = "\n".join(json.dumps(line) for line in lines).encode()

    assert FOUND == read(LINES, raw)
    assert FOUND == read(LINES, *(raw[at : at + 1] for at in range(len(raw))))
    assert FOUND == read(LINES, raw, limit=8)
    assert FOUND == read(JSON, raw)


def test_model_is_taken_from_the_first_chunk_that_names_one() -> None:
    """The last chunk of some servers has nothing but the usage."""
    first = {"model": "m", "choices": [{"delta": {}}]}
    middle = {"choices": [{"delta": {"content": "x"}}]}
    last = {"choices": [], "usage": CHAT["usage"]}

    assert FOUND == read(EVENTS, *(events(chunk) for chunk in [first, *[middle] * 9, last]))
