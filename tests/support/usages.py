"""The usage of decoded answers, without the bytes that the reader cuts them from."""

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.usage import Usage

CHAT_COUNTS = {"prompt_tokens": 42, "completion_tokens": 24, "total_tokens": 66}


def usage_of(answer: object) -> Usage | None:
    """The usage in a decoded JSON answer; None if there is none."""
    return tally_of(answer)


def tally_of(*events: object) -> Usage | None:
    """The usage in a stream of decoded events that ends; None if there is none."""
    tally = Tally()
    for event in events:
        tally.add(event)
    tally.end()
    return tally.usage()
