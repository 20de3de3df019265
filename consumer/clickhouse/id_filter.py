"""Conditions that find the stored rows of a batch's ids, without sending the ids.

Sending and parsing the ids would cost more than the search: 50,000 are 1.8 MB of text. Four bytes
of each id find a few other rows too, and the reader drops those.
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
# The window is divided at larger gaps between the times of the ids. Otherwise one late event among
# live ones would make ClickHouse read the whole table.
GAP_SECONDS: Final = 10
# ClickHouse checks each window against each granule of the index.
MAX_WINDOWS: Final = 32

# Times are compared in steps of 256 ms. The first half of a UUIDv7 has 48 bits of milliseconds and
# 16 other bits.
_STEP_BITS: Final = 16 + 8
_STEP_SECONDS: Final = 0.256
_LOWER_BITS: Final = 64 + _STEP_BITS
_GAP: Final = round(GAP_SECONDS / _STEP_SECONDS)


def packed_ids(ids: Sequence[str]) -> bytes:
    """The bytes of `ids` (canonical texts of UUIDs), concatenated.

    Raises:
        ValueError: an id is not a UUID.
    """
    return bytes.fromhex("".join(ids).encode().translate(None, b"-").decode())


def fingerprint_in(column: str, ids: bytes) -> str:
    """A condition that is true for rows whose UUID `column` is one of `ids`, and for few others.

    The fingerprint is the exclusive or of an id's four words: in every version of UUID, some of the
    bits that differ do not cancel out. Another row matches with the probability of the number of
    ids divided by 2³². `ids` come from `packed_ids`, at least one.
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
    """A condition on the bytes of the UUID `column`, which have an index. True for `ids`.

    `ids` come from `packed_ids`, at least one.
    """
    windows = (
        f"UUIDToNum({column}) BETWEEN UUIDStringToNum('{UUID(int=first << _LOWER_BITS)}')"
        f" AND UUIDStringToNum('{UUID(int=(last + 1 << _LOWER_BITS) - 1)}')"
        for first, last in _windows(_steps(ids))
    )
    return f"({' OR '.join(windows)})"


def _fingerprints(ids: bytes) -> bytes:
    """Four bytes of each id, little-endian, the last id first."""
    folded = int.from_bytes(ids)  # one number of all ids: 50,000 take a millisecond
    folded ^= folded >> 64
    folded ^= folded >> 32
    words = memoryview(folded.to_bytes(len(ids), "little")).cast("I")
    return words[:: ID_BYTES // 4].tobytes()


def _steps(ids: bytes) -> set[int]:
    """The times of the ids, in steps. For other versions of UUID, their first bits."""
    halves = array("Q", ids)
    if byteorder == "little":
        halves.byteswap()
    return {half >> _STEP_BITS for half in halves[::2]}


def _windows(steps: Collection[int]) -> list[tuple[int, int]]:
    """First and last of each group of `steps` without a large gap, in order."""
    ordered = sorted(steps)
    gaps = ((after - before, before, after) for before, after in pairwise(ordered))
    widest = nlargest(MAX_WINDOWS - 1, (gap for gap in gaps if gap[0] > _GAP))
    cuts = sorted((before, after) for _, before, after in widest)
    firsts = [ordered[0], *(after for _, after in cuts)]
    lasts = [*(before for before, _ in cuts), ordered[-1]]
    return list(zip(firsts, lasts, strict=True))
