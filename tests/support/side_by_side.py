"""Several processes run the tests side by side (`pytest -n 3`, pytest-xdist).

Each process has its own session fixtures, and so its own servers. A test that measures time has the
mark `alone`: no other test runs meanwhile.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

ALONE: Final = "alone"
ONE_PROCESS: Final = "one_process"
_UNIT: Final = "tests/unit/"
_PACKAGING: Final = "tests/unit/packaging/"  # its fixtures build and install the wheel once


@contextmanager
def locked(path: Path, operation: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold the lock of the file `path` against other processes; the file is made if missing."""
    with path.open("a") as file:
        fcntl.flock(file, operation)
        yield


def process_number() -> int | None:
    """The number of this process among those that run the tests; None if it is the only one."""
    name = os.environ.get("PYTEST_XDIST_WORKER")
    return int(name.removeprefix("gw")) if name else None


def is_alone(item: pytest.Item) -> bool:
    """Whether no other test may run meanwhile."""
    return item.get_closest_marker(ALONE) is not None


def arrange(items: list[pytest.Item]) -> None:
    """Put tests into groups, which one process runs in order, and those that run alone last, when
    the other processes have nothing left to do.

    A test outside of `unit` takes long: it is a group of its own unless it is marked `one_process`.
    """
    for item in items:
        if group := _group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=is_alone)


def _group_of(item: pytest.Item) -> str | None:
    if is_alone(item):
        return ALONE
    if item.nodeid.startswith(_PACKAGING):
        return _PACKAGING
    file = item.nodeid.partition("::")[0]
    is_shared = file.startswith(_UNIT) or item.get_closest_marker(ONE_PROCESS)
    return file if is_shared else None


class Turns:
    """Lets tests of several processes run side by side, and those marked `alone` alone.

    A readers-writer lock: the test that waits for all others to end holds the door, so that none
    starts meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        """The processes of one run have the same `folder`."""
        self._door: Final = folder / "door"
        self._room: Final = folder / "room"

    @contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Wait until a test may run; it runs within the context."""
        with self._room.open("a") as room:
            with locked(self._door):
                fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield


def servers_line(labels: list[str]) -> str:
    """Which servers a run used, each with the number of processes that had one."""
    counts = {label: labels.count(label) for label in labels}
    each = [label if count == 1 else f"{label} ({count})" for label, count in counts.items()]
    return f"servers: {'; '.join(each) or 'none'}"
