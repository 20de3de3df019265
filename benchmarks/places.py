"""Where the servers of a run keep their data, and on what kind of file system that is.

ClickHouse makes some sixty files for each insert and removes them when it merges. On ext4 without
a journal the kernel walks past every inode that was freed in the last minutes before it gives out a
new one (`recently_deleted` in fs/ext4/ialloc.c), so each run costs more than the one before: the
same worker went from 6.7 to 10.1 µs of ClickHouse an event within four runs. Disks of servers have
a journal or are no ext4; neither Kafka nor ClickHouse waits for them. So the data go into memory
where there is room for them.
"""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
ROOM_BYTES: Final = 8 << 30  # a million events take 3 GiB, with all contestants' leavings
MOUNTS: Final = Path("/proc/self/mounts")
JOURNALS: Final = Path("/proc/fs/jbd2")


def default_folder() -> Path:
    """In memory where that is large enough, else where temporary files go."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        return MEMORY
    return Path(tempfile.gettempdir())


def file_system_of(path: Path, mounts: Path = MOUNTS, journals: Path = JOURNALS) -> str:
    """The kind of file system under `path`; of ext4, whether it has no journal."""
    device, kind = _mount_of(path.resolve(), mounts.read_text().splitlines())
    if kind == "ext4" and not any(journals.glob(f"{Path(device).resolve().name}-*")):
        return "ext4 without a journal"
    return kind


def _mount_of(path: Path, lines: Iterable[str]) -> tuple[str, str]:
    """Device and kind of the innermost mount; of two at one place, the later one covers."""
    found = ("", "unknown")
    length = 0
    for line in lines:
        device, point, kind, *_ = line.split()
        if path.is_relative_to(point) and len(point) >= length:
            found, length = (device, kind), len(point)
    return found
