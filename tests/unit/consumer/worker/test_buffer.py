"""What partition workers hold together is bounded, and they take turns."""

import asyncio

from usagepipe.consumer.worker.buffer import Buffer


def test_partition_workers_take_turns() -> None:
    """Who asked first begins first, also where a smaller batch would fit."""
    buffer = Buffer(200, workers=3)
    one, two, three = asyncio.Event(), asyncio.Event(), asyncio.Event()
    assert buffer.take_turn(80, one)
    buffer.begin(80)

    refused = [buffer.take_turn(50, two), buffer.take_turn(10, three)]
    buffer.end(80)
    called = [two.is_set(), three.is_set()]
    begun = buffer.take_turn(50, two)

    assert [False, False] == refused
    assert [True, False] == called
    assert begun
    assert three.is_set()
    assert buffer.take_turn(10, three)


def test_a_batch_that_is_larger_than_all_there_may_be_goes_alone() -> None:
    """Else it would wait for ever."""
    buffer = Buffer(100, workers=1)

    assert buffer.take_turn(1_000, asyncio.Event())


def test_a_partition_worker_that_ends_is_not_waited_for() -> None:
    """The next in the line is called."""
    buffer = Buffer(100, workers=2)
    buffer.begin(50)
    gone, next_one = asyncio.Event(), asyncio.Event()
    buffer.take_turn(50, gone)
    buffer.take_turn(50, next_one)
    buffer.end(50)

    buffer.give_up(gone)

    assert next_one.is_set()
    assert buffer.take_turn(50, next_one)


def test_one_partition_worker_may_fill_the_common_part_and_each_keeps_a_share() -> None:
    """With skewed keys one partition has most of the events."""
    buffer = Buffer(800, workers=4)
    buffer.add(199)
    alone = buffer.has_room(199)
    buffer.add(1)

    assert alone
    assert not buffer.has_room(50)
    assert buffer.has_room(49)
