"""The usage of one decoded answer, without the bytes that the reader cuts it from."""

from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.usage import Usage


def usage_of(answer: object) -> Usage | None:
    """The usage in a decoded JSON answer; None if there is none."""
    tally = Tally()
    tally.add(answer)
    tally.end()
    return tally.usage()
