"""Which process owns which spill: a folder for each process, with a lock that ends with it.

The lock is POSIX's (`lockf`), not `flock`, because a forked child does not inherit it: the child
cannot keep the folder of a dead parent locked, nor release the lock of a living one. The lock
belongs to the process, not to the descriptor. So it does not exclude another thread of the process,
and closing any descriptor of the lock file releases it. Therefore a process claims a folder
(`_claimed`) before it opens the lock file. No network file system guarantees all of this.
"""

import fcntl
import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

LOCK: Final = "owner"

# The keys are process id and folder, so a child has none of its parent's claims. `setdefault` is
# atomic, and a fork cannot leave it locked.
_claimed: dict[tuple[int, str], object] = {}


class HeldFolder:
    """A folder that this process owns until `release`."""

    def __init__(self, path: Path, lock: int) -> None:
        """`path` is claimed already; `lock` is the descriptor of its lock file."""
        self.path = path
        self._lock = lock

    def release(self) -> bool:
        """Give up the folder: delete it if it is empty, else leave it for another process to adopt.
        Returns whether it is gone."""
        with suppress(OSError):
            if not any(self.path.glob("[!.]*.*")):
                # A process that has just opened the lock file will find that the folder is gone.
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        os.close(self._lock)
        _unclaim(self.path)
        return not self.path.exists()


def make_folder(root: Path, name: str) -> HeldFolder:
    """A new folder of this process. Raises OSError if it cannot be made."""
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.mkdir(mode=0o700, exist_ok=True)
    hidden, path = root / f".{name}", root / name
    hidden.mkdir(mode=0o700, exist_ok=True)  # it exists if the last attempt failed
    lock = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Claim and lock it before another thread or process can see it.
        _claim(path)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)
    except OSError:
        _unclaim(path)
        os.close(lock)
        raise
    return HeldFolder(path, lock)


def adopt_folder(root: Path, left: Collection[Path] = ()) -> HeldFolder | None:
    """The folder of a dead process, now owned by this one. Skips those in `left`. None: there is
    none."""
    with suppress(OSError):
        for path in sorted(root.iterdir(), key=_changed):
            is_candidate = not path.name.startswith(".") and path not in left and _is_ours(path)
            if is_candidate and (held := _adopt(path)):
                return held
    return None


def _claim(path: Path) -> bool:
    mine = object()
    return _claimed.setdefault((os.getpid(), str(path)), mine) is mine


def _unclaim(path: Path) -> None:
    _claimed.pop((os.getpid(), str(path)), None)


def _is_ours(path: Path) -> bool:
    """Whether it is a folder of this user. Another user's might hold foreign data, and files that
    we could send but not delete."""
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
    held.release()
    return None


def _locked(path: Path) -> int | None:
    try:
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # no permission, or deleted at this moment
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
