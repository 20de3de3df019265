"""The query of a look-up: as narrow in time as its ids, for ids of any kind."""

from uuid import UUID, uuid1, uuid4

import pytest

from usagepipe.consumer.clickhouse.id_filter import MAX_WINDOWS, packed_ids, window_of

DAY_MS = 86_400_000
START_MS = 1_767_225_600_000


def uuid7_at(milliseconds: int, tail: int = 0) -> str:
    """A UUIDv7 of that moment."""
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | tail))


def windows_of(*ids: str) -> list[tuple[int, int]]:
    """The windows of the condition for `ids`, as the numbers they span."""
    edges = window_of("event_id", packed_ids(ids)).split("UUIDStringToNum('")[1:]
    numbers = [UUID(edge[:36]).int for edge in edges]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_live_ids_are_one_narrow_window() -> None:
    """A batch of some seconds reads these seconds, with any random parts of its ids."""
    ids = [uuid7_at(START_MS + n, 2**62 - 1 - n) for n in range(0, 5_000, 7)]

    ((first, last),) = windows_of(*ids)

    assert 5_000 + 2 * 256 >= (last - first) >> 80


def test_late_id_among_live_ones_is_a_window_of_its_own() -> None:
    """Else one late event would have the table read from its time on."""
    live = [uuid7_at(START_MS + n) for n in range(1_000)]

    windows = windows_of(*live, uuid7_at(START_MS - 30 * DAY_MS))

    assert 2 == len(windows)
    assert 3_000 > sum((last - first) >> 80 for first, last in windows)


def test_ids_without_order_are_few_windows() -> None:
    """Each window costs time; more than a few are joined at the smallest gaps."""
    ids = [uuid7_at(START_MS + n * DAY_MS) for n in range(3 * MAX_WINDOWS)]
    far = uuid7_at(START_MS + 1_000 * DAY_MS)

    windows = windows_of(far, *ids)

    assert MAX_WINDOWS == len(windows)
    assert UUID(far).int >> 88 << 88 == windows[-1][0]


@pytest.mark.parametrize(
    "ids",
    [
        [uuid7_at(START_MS + n * n * 50_000, n) for n in range(200)],
        [str(uuid4()) for _ in range(200)],
        [str(uuid1()) for _ in range(200)],
        [str(UUID(int=0)), str(UUID(int=2**128 - 1))],
        [str(UUID(int=n)) for n in range(200)],
    ],
    ids=["spread", "v4", "v1", "ends", "numbers"],
)
def test_each_id_is_in_a_window(ids: list[str]) -> None:
    """No id of any version is out of reach."""
    windows = windows_of(*ids)

    assert all(any(first <= UUID(id_).int <= last for first, last in windows) for id_ in ids)
    assert windows == sorted(windows)


def test_what_is_no_uuid_is_refused() -> None:
    """Wrong ids are an error, not an empty answer."""
    with pytest.raises(ValueError, match="hexadecimal"):
        packed_ids(["no uuid"])
