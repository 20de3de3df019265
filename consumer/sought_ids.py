"""What is sent to ClickHouse to find the copies of a batch's events, in place of their ids.

The ids themselves would cost more on the way and in the parser than the search: 50,000 are 1.8 MB
of text. Four bytes of each are enough to leave a handful of wrong finds, which the reader drops;
so an answer to these conditions is a superset, never the truth.
"""

from array import array
from base64 import b64encode
from collections.abc import Sequence
from heapq import nlargest
from itertools import pairwise
from sys import byteorder
from typing import Final
from uuid import UUID

ID_BYTES: Final = 16
# A batch is cut at larger gaps between its ids' times, so that one late event among live ones does
# not have the whole table read. Ids within it are one window: fewer are faster to check.
GAP_SECONDS: Final = 10
# Each window is checked against each granule of the index.
MAX_WINDOWS: Final = 32

_GAP: Final = GAP_SECONDS * 1000 << 16  # in the first 64 bits of a UUIDv7, which end in 16 others
_LOW_HALF: Final = 64


def packed(ids: Sequence[str]) -> bytes:
    """`ids`, canonical texts of UUIDs, as their bytes one after the other.

    Raises:
        ValueError: one is none.
    """
    return bytes.fromhex("".join(ids).encode().translate(None, b"-").decode())


def fingerprint_in(column: str, ids: bytes) -> str:
    """A condition that holds for each row whose UUID `column` is one of `ids`, and few others.

    The fingerprint is the exclusive or of an id's four words: no version of UUID has all of its
    differences in bits that cancel out. A row that is not sought matches once in
    2³² divided by their number. `ids` are packed, at least one.
    """
    words = f"reinterpretAsUInt128({column})"
    halves = f"toUInt64(bitXor({words}, bitShiftRight({words}, 64)))"
    return (
        f"toUInt32(bitXor({halves}, bitShiftRight({halves}, 32))) IN ("
        f"WITH base64Decode('{b64encode(_fingerprints(ids)).decode()}') AS words"
        " SELECT reinterpretAsUInt32(substring(words, number * 4 + 1, 4))"
        f" FROM numbers({len(ids) // ID_BYTES}))"
    )


def window_of(column: str, ids: bytes) -> str:
    """A condition on the bytes of the UUID `column`, for an index on them, that holds for `ids`.

    `ids` are packed, at least one.
    """
    windows = (
        f"UUIDToNum({column}) BETWEEN UUIDStringToNum('{UUID(int=first << _LOW_HALF)}')"
        f" AND UUIDStringToNum('{UUID(int=(last + 1 << _LOW_HALF) - 1)}')"
        for first, last in _windows(_high_halves(ids))
    )
    return f"({' OR '.join(windows)})"


def _fingerprints(ids: bytes) -> bytes:
    """Four bytes of each id, little-endian, the last id first."""
    folded = int.from_bytes(ids)  # all ids as one number: 50,000 are folded in a millisecond
    folded ^= folded >> 64
    folded ^= folded >> 32
    words = memoryview(folded.to_bytes(len(ids), "little")).cast("I")
    return words[:: ID_BYTES // 4].tobytes()


def _high_halves(ids: bytes) -> Sequence[int]:
    """The first 64 bits of each id."""
    halves = array("Q", ids)
    if byteorder == "little":
        halves.byteswap()
    return halves[::2]


def _windows(halves: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of `halves` in each run of them without a large gap, in order."""
    first, last = min(halves), max(halves)
    if last - first <= _GAP:
        return [(first, last)]
    ordered = sorted(halves)
    gaps = ((b - a, a, b) for a, b in pairwise(ordered) if b - a > _GAP)
    cuts = sorted((a, b) for _, a, b in nlargest(MAX_WINDOWS - 1, gaps))
    firsts = [first, *(b for _, b in cuts)]
    lasts = [*(a for a, _ in cuts), last]
    return list(zip(firsts, lasts, strict=True))
