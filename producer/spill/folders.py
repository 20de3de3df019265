"""Whose spill is whose: a folder for each process, and a lock that ends with the process.

The lock is POSIX's (`lockf`), not `flock`: a forked child does not inherit it, so it neither holds
the folder of a parent that died nor lets go of a living one's. It belongs to the process and not
to the descriptor: closing any descriptor of the lock file lets go of it, so a process never opens
the lock file of a folder that it holds (`_held`). No network file system promises all of this.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

LOCK: Final = "owner"

_held: set[tuple[int, str]] = set()  # process id and folder: a child holds nothing of its parent's


class HeldFolder:
    """A folder that this process holds until `let_go`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        _held.add((os.getpid(), str(path)))

    def let_go(self) -> None:
        """Give the folder up: deleted when it is empty, else for the next process to adopt."""
        if not any(self.path.glob("[!.]*.*")):
            # Whoever opened the lock file before will find a folder that is gone.
            with suppress(OSError):
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()
        os.close(self._lock)
        _held.discard((os.getpid(), str(self.path)))


def make_folder(root: Path, name: str) -> HeldFolder:
    """A new folder of this process. Raises OSError where it cannot be made."""
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    root.mkdir(mode=0o700, exist_ok=True)
    hidden, path = root / f".{name}", root / name
    hidden.mkdir(mode=0o700)
    lock = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)  # held before anybody can see it
    except OSError:
        os.close(lock)
        raise
    return HeldFolder(path, lock)


def adopt_folder(root: Path) -> HeldFolder | None:
    """The folder of a process that is gone, now held by this one; None for none."""
    with suppress(OSError):
        for path in sorted(root.iterdir(), key=_changed):
            if not path.name.startswith(".") and (held := _adopt(path)):
                return held
    return None


def _adopt(path: Path) -> HeldFolder | None:
    if (os.getpid(), str(path)) in _held:
        return None
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # not ours to open, or deleted at this moment
        return None
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its owner lives
        os.close(lock)
        return None
    held = HeldFolder(path, lock)
    if any(path.glob("*.spill")):
        return held
    held.let_go()
    return None


def _changed(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
