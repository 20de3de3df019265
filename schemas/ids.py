"""Identities: UUIDv7 of RFC 9562, whose first 48 bits are the time, so that ids sort by age."""

import os
import time
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT_RFC = 0x2 << 62


def uuid7() -> UUID:
    """A new UUIDv7 (RFC 9562, section 5.7): Unix milliseconds, then 74 random bits.

    The random bits come from the operating system at each call: a generator kept in the process
    would be copied by a fork, and two gunicorn workers would mint the same ids.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high = random >> 68 << 64  # 12 bits
    low = random & (2**62 - 1)
    return UUID(int=milliseconds << 80 | _VERSION_7 | high | _VARIANT_RFC | low)
