"""What the benchmark of reading usage measures is what it says."""

import pytest

from benchmarks.extraction import EVENTS, MAX_BYTES, USAGE, chat_stream
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage


@pytest.mark.parametrize("chunks", [10, 2_000])
def test_the_measured_stream_is_read(chunks: int) -> None:
    """A reader that finds nothing would be fast: this one finds the usage at the end."""
    reader = AnswerReader(EVENTS, "", MAX_BYTES)

    stream = chat_stream(chunks)
    for chunk in stream:
        reader.feed(chunk)

    usage = reader.read()
    assert chunks == len(stream)
    assert isinstance(usage, Usage)
    assert USAGE["total_tokens"] == usage.total_tokens
