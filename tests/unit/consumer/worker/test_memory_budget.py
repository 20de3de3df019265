"""What partition workers hold together is bounded, and they take turns."""

import asyncio

from usagepipe.consumer.worker.memory_budget import MemoryBudget


def test_partition_workers_take_turns() -> None:
    """Who asked first begins first, also where a smaller batch would fit."""
    memory = MemoryBudget(200, workers=3)
    one, two, three = asyncio.Event(), asyncio.Event(), asyncio.Event()
    assert memory.take_turn(80, one)
    memory.begin(80)

    refused = [memory.take_turn(50, two), memory.take_turn(10, three)]
    memory.end(80)
    called = [two.is_set(), three.is_set()]
    begun = memory.take_turn(50, two)

    assert [False, False] == refused
    assert [True, False] == called
    assert begun
    assert three.is_set()
    assert memory.take_turn(10, three)


def test_a_batch_that_is_larger_than_all_there_may_be_goes_alone() -> None:
    """Otherwise it would wait without end."""
    memory = MemoryBudget(100, workers=1)

    assert memory.take_turn(1_000, asyncio.Event())


def test_a_partition_worker_that_ends_is_not_waited_for() -> None:
    """The next in the line is called."""
    memory = MemoryBudget(100, workers=2)
    memory.begin(50)
    gone, next_one = asyncio.Event(), asyncio.Event()
    memory.take_turn(50, gone)
    memory.take_turn(50, next_one)
    memory.end(50)

    memory.give_up(gone)

    assert next_one.is_set()
    assert memory.take_turn(50, next_one)


def test_one_partition_worker_may_fill_the_common_part_and_each_keeps_a_share() -> None:
    """With skewed keys one partition has most of the events."""
    memory = MemoryBudget(800, workers=4)
    memory.add(199)
    alone = memory.has_room(199)
    memory.add(1)

    assert alone
    assert not memory.has_room(50)
    assert memory.has_room(49)
