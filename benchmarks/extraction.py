"""What reading usage costs a request: each chunk of a stream, a whole answer, and memory.

Everything is measured against a reader that does nothing, in the same loop, so that what the loop
and the clock cost is in neither number.
"""

import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from usagepipe.producer.reading.answers import AnswerReader

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
MAX_BYTES: Final = 256 * 1024  # the default of max_body_kilobytes
STREAMS: Final = (10, 2_000)  # chunks
TRIES: Final = 9
ANSWERS: Final = 2_000
LARGE_BYTES: Final = 100 * 1000 * 1000
PIECE: Final = b"x" * 65_536
USAGE: Final = {
    "prompt_tokens": 2006,
    "completion_tokens": 812,
    "total_tokens": 2818,
    "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 768, "audio_tokens": 0},
}


class Reader(Protocol):
    """What is measured."""

    def feed(self, chunk: bytes) -> None: ...
    def read(self) -> object: ...


class Nothing:
    """The reader that everything is measured against."""

    def feed(self, chunk: bytes) -> None:
        """Look at nothing."""

    def read(self) -> None:
        """Find nothing."""


def measure_extraction() -> dict[str, Any]:
    """Microseconds a chunk and an answer, medians, above doing nothing; MiB at most held."""
    found = {f"sse_{chunks}_us": _chunk_us(chunks) for chunks in STREAMS}
    found["json_us"] = _answer_us()
    found["stream_mebibytes"] = _mebibytes(EVENTS, large_stream())
    found["string_mebibytes"] = _mebibytes(JSON, _large_string())
    return found


def chat_stream(chunks: int) -> list[bytes]:
    """A chat's stream as OpenAI sends it when it is asked for usage."""
    head = {
        "id": "chatcmpl-C1KMEUDb1vVwsROQUCZTgG6A6vtWo",
        "object": "chat.completion.chunk",
        "created": 1754432618,
        "model": "gpt-5-2025-08-07",
        "service_tier": "default",
        "system_fingerprint": "fp_07871e2ad8",
    }
    choice = {"index": 0, "delta": {"content": " word"}, "finish_reason": None}
    middle = _event(head | {"choices": [choice], "usage": None, "obfuscation": "Ohcj4Nkg"})
    last = _event(head | {"choices": [], "usage": USAGE, "obfuscation": ""})
    return [middle] * (chunks - 2) + [last, b"data: [DONE]\n\n"]


def _event(document: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(document, separators=(",", ":")).encode()


def _chunk_us(chunks: int) -> float:
    """The median over all chunks of a stream, of the quietest of several goes."""
    stream = chat_stream(chunks)
    ours = min(_median_us(AnswerReader(EVENTS, "", MAX_BYTES), stream) for _ in range(TRIES))
    return ours - min(_median_us(Nothing(), stream) for _ in range(TRIES))


def _median_us(reader: Reader, stream: list[bytes]) -> float:
    took = []
    for chunk in stream:
        began = time.perf_counter_ns()
        reader.feed(chunk)
        took.append(time.perf_counter_ns() - began)
    reader.read()
    return statistics.median(took) / 1e3


def _answer_us() -> float:
    """From the reader's making to its result, of a chat's JSON answer."""
    answer = {
        "model": "gpt-5-2025-08-07",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 200}}],
        "usage": USAGE,
    }
    body = json.dumps(answer).encode()
    return _whole_us(lambda: AnswerReader(JSON, "", MAX_BYTES), body) - _whole_us(Nothing, body)


def _whole_us(make: Callable[[], Reader], body: bytes) -> float:
    took = []
    for _ in range(ANSWERS):
        began = time.perf_counter_ns()
        reader = make()
        reader.feed(body)
        reader.read()
        took.append(time.perf_counter_ns() - began)
    return statistics.median(took) / 1e3


def large_stream() -> Iterator[bytes]:
    """100 MB of chunks, then the usage."""
    *middle, last, done = chat_stream(1_000)
    size = sum(len(chunk) for chunk in middle)
    for _ in range(LARGE_BYTES // size):
        yield from middle
    yield last
    yield done


def _large_string() -> Iterator[bytes]:
    """A JSON answer of one text of 100 MB, and its usage after it."""
    yield b'{"model": "m", "text": "'
    for _ in range(LARGE_BYTES // len(PIECE)):
        yield PIECE
    yield b'", "usage": %s}' % json.dumps(USAGE).encode()


def _mebibytes(content_type: str, pieces: Iterable[bytes]) -> float:
    """The most that Python held at once for reading, beside the pieces."""
    reader = AnswerReader(content_type, "", MAX_BYTES)
    tracemalloc.start()
    for piece in pieces:
        reader.feed(piece)
    found = reader.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not isinstance(found, str), found
    return peak / 2**20


if __name__ == "__main__":
    print(json.dumps(measure_extraction(), indent=1))
