"""What is sent to ClickHouse to find the copies of a batch's events, in place of their ids.

The ids themselves would cost more on the way and in the parser than the search: 50,000 are 1.8 MB
of text. Four bytes of each are enough to leave a handful of wrong finds, which the reader drops;
so an answer to these conditions is a superset, never the truth.
"""

from array import array
from base64 import b64encode
from collections.abc import Collection, Sequence
from heapq import nlargest
from itertools import pairwise
from sys import byteorder
from typing import Final
from uuid import UUID

ID_BYTES: Final = 16
# A batch is cut at larger gaps between its ids' times, so that one late event among live ones does
# not have the whole table read.
GAP_SECONDS: Final = 10
# Each window is checked against each granule of the index.
MAX_WINDOWS: Final = 32

# Times are compared in steps of 256 ms. A UUIDv7 has 48 bits of milliseconds in front, and 16
# others complete its first half.
_STEP_BITS: Final = 16 + 8
_STEP_SECONDS: Final = 0.256
_LOWER_BITS: Final = 64 + _STEP_BITS
_GAP: Final = round(GAP_SECONDS / _STEP_SECONDS)


def packed_ids(ids: Sequence[str]) -> bytes:
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
        f"UUIDToNum({column}) BETWEEN UUIDStringToNum('{UUID(int=first << _LOWER_BITS)}')"
        f" AND UUIDStringToNum('{UUID(int=(last + 1 << _LOWER_BITS) - 1)}')"
        for first, last in _windows(_steps(ids))
    )
    return f"({' OR '.join(windows)})"


def _fingerprints(ids: bytes) -> bytes:
    """Four bytes of each id, little-endian, the last id first."""
    folded = int.from_bytes(ids)  # all ids as one number: 50,000 are folded in a millisecond
    folded ^= folded >> 64
    folded ^= folded >> 32
    words = memoryview(folded.to_bytes(len(ids), "little")).cast("I")
    return words[:: ID_BYTES // 4].tobytes()


def _steps(ids: bytes) -> set[int]:
    """The times of the ids, in steps; of a UUID of another version, its first bits."""
    halves = array("Q", ids)
    if byteorder == "little":
        halves.byteswap()
    return {half >> _STEP_BITS for half in halves[::2]}


def _windows(steps: Collection[int]) -> list[tuple[int, int]]:
    """First and last of each run of `steps` without a large gap, in order."""
    ordered = sorted(steps)
    gaps = ((after - before, before, after) for before, after in pairwise(ordered))
    widest = nlargest(MAX_WINDOWS - 1, (gap for gap in gaps if gap[0] > _GAP))
    cuts = sorted((before, after) for _, before, after in widest)
    firsts = [ordered[0], *(after for _, after in cuts)]
    lasts = [*(before for before, _ in cuts), ordered[-1]]
    return list(zip(firsts, lasts, strict=True))
