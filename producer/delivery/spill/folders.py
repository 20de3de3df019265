"""Whose spill is whose: a folder for each process, and a lock that ends with the process.

The lock is POSIX's (`lockf`), not `flock`: a forked child does not inherit it, so it neither holds
the folder of a parent that died nor lets go of a living one's. It belongs to the process and not
to the descriptor: to another thread of the process it means nothing, and closing any descriptor of
the lock file lets go of it. So a process claims a folder (`_claimed`) before it opens the lock
file. No network file system promises all of this.
"""

import fcntl
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

LOCK: Final = "owner"

# By process id and folder, whatever it is that is kept there: a child holds nothing of its
# parent's. `setdefault` is atomic, and a fork cannot leave it locked.
_claimed: dict[tuple[int, str], object] = {}


class HeldFolder:
    """A folder that this process holds until `let_go`."""

    def __init__(self, path: Path, lock: int) -> None:
        """`path` is claimed, and `lock` the descriptor of its lock file."""
        self.path = path
        self._lock = lock

    def let_go(self) -> bool:
        """Give the folder up: deleted when it is empty, else for the next process to adopt.
        Whether it is gone."""
        with suppress(OSError):
            if not any(self.path.glob("[!.]*.*")):
                # Whoever opened the lock file before will find a folder that is gone.
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        os.close(self._lock)
        _unclaim(self.path)
        return not self.path.exists()


def make_folder(root: Path, name: str) -> HeldFolder:
    """A new folder of this process. Raises OSError where it cannot be made."""
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.mkdir(mode=0o700, exist_ok=True)
    hidden, path = root / f".{name}", root / name
    hidden.mkdir(mode=0o700, exist_ok=True)  # one is there where the last attempt failed
    lock = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Claimed and held before anybody can see it, another thread or another process.
        _claim(path)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)
    except OSError:
        _unclaim(path)
        os.close(lock)
        raise
    return HeldFolder(path, lock)


def adopt_folder(root: Path, left: Collection[Path] = ()) -> HeldFolder | None:
    """The folder of a process that is gone, now held by this one, but for those in `left`; None
    for none."""
    with suppress(OSError):
        for path in sorted(root.iterdir(), key=_changed):
            is_to_be_had = not path.name.startswith(".") and path not in left and _is_ours(path)
            if is_to_be_had and (held := _adopt(path)):
                return held
    return None


def _claim(path: Path) -> bool:
    mine = object()
    return _claimed.setdefault((os.getpid(), str(path)), mine) is mine


def _unclaim(path: Path) -> None:
    _claimed.pop((os.getpid(), str(path)), None)


def _is_ours(path: Path) -> bool:
    """Whether it is a folder of this user: another's might hold what we never wrote, and what we
    may send but not delete."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _adopt(path: Path) -> HeldFolder | None:
    if not _claim(path):
        return None
    if (lock := _locked(path / LOCK)) is None:
        _unclaim(path)
        return None
    held = HeldFolder(path, lock)
    with suppress(OSError):
        if any(path.glob("*.spill")):
            return held
    held.let_go()
    return None


def _locked(path: Path) -> int | None:
    try:
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # not ours to open, or deleted at this moment
        return None
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its owner lives
        os.close(lock)
        return None
    return lock


def _changed(path: Path) -> float:
    with suppress(OSError):
        return path.lstat().st_mtime
    return 0.0
