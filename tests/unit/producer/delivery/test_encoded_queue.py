"""Encoded records keep their order and their size on the way to librdkafka or to the disk."""

from usagepipe.producer.delivery.encoded_queue import EncodedQueue

ONE, TWO, THREE = (b"k", b"1"), (b"k", b"22"), (b"k", b"333")


def test_older_records_go_before_waiting_ones() -> None:
    """What librdkafka returns is sent before what came later."""
    queue = EncodedQueue()
    queue.append(THREE)

    queue.put_first([ONE, TWO])

    assert [ONE, TWO, THREE] == queue.first(9)
    assert 9 == queue.bytes


def test_records_are_handed_over_until_one_is_refused() -> None:
    """A record that is not taken stays first, and the size is that of what is left."""
    queue = EncodedQueue()
    queue.put_first([ONE, TWO, THREE])
    taken = []

    def take(record: tuple[bytes, bytes]) -> bool:
        if record == TWO:
            return False
        taken.append(record)
        return True

    queue.hand_over(take)

    assert ([ONE], [TWO, THREE], 7) == (taken, queue.first(9), queue.bytes)


def test_written_records_are_dropped_from_the_front() -> None:
    """The first records go to disk; the rest waits."""
    queue = EncodedQueue()
    queue.put_first([ONE, TWO, THREE])

    assert [ONE, TWO] == queue.first(2)
    queue.drop_first(2)

    assert ([THREE], 4) == (queue.first(9), queue.bytes)


def test_age_is_that_of_the_first_record() -> None:
    """A queue that was empty begins to age with its next record; older records are old at once."""
    queue = EncodedQueue()
    queue.append(ONE)
    fresh = queue.age

    queue.put_first([TWO])

    assert fresh < 5
    assert queue.age > fresh
