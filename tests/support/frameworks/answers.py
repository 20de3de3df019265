"""What every framework's application answers, so that all can be held against one list."""

from collections.abc import AsyncIterator, Iterator

from usagepipe.producer import stamp_usage

CHAT = {"model": "m-1", "usage": {"prompt_tokens": 31, "completion_tokens": 7}}
CHUNKS = [b"data: 1\n\n", b"data: 2\n\n"]


def stream() -> Iterator[bytes]:
    for number, chunk in enumerate(CHUNKS, start=1):
        stamp_usage("m-2", 9, number)
        yield chunk


async def async_stream() -> AsyncIterator[bytes]:
    for chunk in stream():
        yield chunk


def fail() -> None:
    stamp_usage("m-3", 1)
    raise RuntimeError("the application's own")
