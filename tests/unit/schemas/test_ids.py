"""UUIDv7: the time comes first, and no id occurs twice, also after a fork."""

import os
import time

from usagepipe.schemas.ids import uuid7


def test_id_is_a_uuid_of_version_7() -> None:
    """Version and variant have the places of RFC 9562."""
    minted = uuid7()

    assert 7 == minted.version
    assert "specified in RFC 4122" == minted.variant


def test_first_48_bits_are_the_time() -> None:
    """Ids sort by age, to the millisecond."""
    before = time.time_ns() // 1_000_000
    minted = uuid7()
    after = time.time_ns() // 1_000_000

    assert before <= minted.int >> 80 <= after


def test_ids_of_one_millisecond_differ() -> None:
    """100,000 ids, many of each millisecond, are all different."""
    assert 100_000 == len({uuid7() for _ in range(100_000)})


def test_all_random_bits_vary() -> None:
    """Each of the 74 random bits varies."""
    minted = [uuid7().int for _ in range(1_000)]
    ones, zeros = 0, 0
    for number in minted:
        ones |= number
        zeros |= ~number

    random_bits = (2**12 - 1) << 64 | (2**62 - 1)
    assert random_bits == ones & zeros & random_bits


def test_fork_mints_other_ids() -> None:
    """Parent and child create different ids from the same state."""
    reader, writer = os.pipe()
    uuid7()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(uuid7().bytes for _ in range(100)))
        os._exit(0)
    mine = {uuid7().bytes for _ in range(100)}
    os.waitpid(child, 0)

    raw = os.read(reader, 1_600)
    os.close(reader)
    os.close(writer)

    assert 1_600 == len(raw)
    assert set() == mine & {raw[at : at + 16] for at in range(0, 1_600, 16)}
