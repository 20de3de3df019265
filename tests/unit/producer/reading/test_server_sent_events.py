"""Event streams by the letter of the WHATWG standard, in any pieces."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage

LIMIT = 1_024
DATA = '{"model": "m", "choices": [], "usage": {"prompt_tokens": 19, "completion_tokens": 10}}'
FIRST, SECOND = '{"model": "m", "choices": [],', '"usage": {"prompt_tokens": 19,'
THIRD = '"completion_tokens": 10}}'
EXPECTED = Usage("m", 19, 10, 29)


def read(stream: bytes, *cuts: int) -> Usage | str:
    reader = AnswerReader("text/event-stream", "", LIMIT)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
    return reader.read()


STREAMS = {
    "LF": f"data: {DATA}\n\n",
    "CRLF": f"data: {DATA}\r\n\r\n",
    "lone CR": f"data: {DATA}\r\r",
    "all three": f": hello\r\ndata: {FIRST}\ndata: {SECOND}\rdata: {THIRD}\r\n\n",
    "BOM": f"\ufeffdata: {DATA}\n\n",
    "BOM and lone CR": f"\ufeffdata: {DATA}\r\r",
    "no space": f"data:{DATA}\n\n",
    "more spaces than one": f"data:   {DATA}\n\n",
    "comments": f": keep-alive\n\n:\n:data: x\ndata: {DATA}\n: more\n\n",
    "blank lines before": f"\n\n\r\n\rdata: {DATA}\n\n",
    "other fields": f"id: 1\nevent: message\nretry: 3\nfoo\ndata: {DATA}\n\n",
    "event after data": f"data: {DATA}\nevent: message\n\n",
    "several lines of data": f"data: {FIRST}\ndata: {SECOND}\ndata: {THIRD}\n\n",
    "several lines of data, CRLF": f"data: {FIRST}\r\ndata: {SECOND}\r\ndata: {THIRD}\r\n\r\n",
    "empty lines of data": f"data\ndata:\ndata: {DATA}\ndata\n\n",
    "no blank line at the end": f"data: {DATA}\n",
    "no line end at the end": f"data: {DATA}",
    "separators that are none here": f'data: {{"x": "\u2028\u0085\x0b"}}\n\ndata: {DATA}\n\n',
    "another event and the end": f"data: {DATA}\n\ndata: {{}}\n\ndata: [DONE]\n\n",
    "an event that is no JSON": f"data: {DATA}\n\ndata: hello\n\n",
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_event_is_read_however_it_is_written(stream: str) -> None:
    """Every way that the standard allows to write an event is read, cut at any two bytes."""
    raw = stream.encode()

    results = [read(raw), read(raw, *range(1, len(raw)))]
    results += [read(raw, cut) for cut in range(len(raw) + 1)]
    results += [read(raw, cut, cut + 1) for cut in range(len(raw))]

    assert [EXPECTED] * len(results) == results


@pytest.mark.parametrize(
    "stream",
    [
        f" data: {DATA}\n\n",
        f"Data: {DATA}\n\n",
        f"datum: {DATA}\n\n",
        f": data: {DATA}\n\n",
        f"data: {FIRST}\n\ndata: {SECOND}\ndata: {THIRD}\n\n",
        f"\n\ufeffdata: {DATA}\n\n",
        f"data: {DATA[:-1]}\n\n",
        'data: {"text": "a\ndata: b", "usage": {"prompt_tokens": 1}}\n\n',
        'data: {"usage": {"prompt_tokens": 1\ndata: 9}}\n\n',
    ],
)
def test_what_is_no_event_is_not_read(stream: str) -> None:
    """Fields have exact names, an event ends at a blank line, a BOM is at the start only, and a
    line feed is between two lines of data, where JSON may not have one."""
    raw = stream.encode()

    results = {read(raw), read(raw, *range(1, len(raw)))}

    assert {"no_usage"} == results


lines = st.sampled_from(
    ["data: {}", "data: [DONE]", "data:", ":", "event: x", "data", "", "", FIRST, f"data: {DATA}"]
    + [f"data: {part}" for part in (FIRST, SECOND, THIRD)]
    + ['data: {"usage": null}', 'data: {"usage": {"prompt_tokens": 1}}', "data: \u2028"]
)


@settings(deadline=None, max_examples=300)  # a shared machine may pause
@given(st.lists(st.tuples(lines, st.sampled_from(["\n", "\r\n", "\r"]))), st.data())
def test_any_stream_is_read_as_the_standard_says(
    written: list[tuple[str, str]], data: st.DataObject
) -> None:
    """For any lines in any pieces, the last usage of each chat is found."""
    text = "".join(line + end for line, end in written)
    raw = text.encode()
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=20))

    found = read(raw, *sorted(cuts))

    prompt = found.prompt_tokens if isinstance(found, Usage) else None
    assert _prompt_tokens(text) == prompt


def _prompt_tokens(text: str) -> int | None:
    """The same, read slowly from the whole text with the standard's own words."""
    data: list[str] = []
    last, earlier, is_done = None, 0, False
    for line in [*re.split(r"\r\n|\n|\r", text), ""]:
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        if line == "":
            text, data = "\n".join(data), []
            document = _document(text)
            usage = document.get("usage")
            is_done |= text.strip() == "[DONE]"
            if is_done and last and usage and usage != last and "choices" in document:
                earlier, is_done = earlier + last["prompt_tokens"], False
            last = usage or last
    return None if last is None else earlier + last["prompt_tokens"]


def _document(data: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
