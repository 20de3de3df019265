"""The folder that keeps the local ClickHouse's data, held by one process at a time.

A process holds it with the kernel's lock on the marker file, which ends with the process: a marker
that a crash left is not a lock. The marker's text is only for messages.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Final, Self

from usagepipe.schemas.errors import WrongUseError

MARKER: Final = "usagepipe-local.json"
_FORMAT: Final = 1


class DataFolder:
    """A data folder that this process holds. A context manager; `close` releases it."""

    def __init__(self, path: Path) -> None:
        """Create the folder, or take over an unused one.

        Raises:
            WrongUseError: it cannot be written, holds something else, or another process has it.
        """
        self.path = path.absolute()
        try:
            self._descriptor = self._hold()
        except OSError as error:
            reason = error.strerror or str(error)
            raise WrongUseError(
                f"The data folder {self.path} cannot be used: {reason}. Name another with --data."
            ) from error

    @property
    def clickhouse(self) -> Path:
        """Where ClickHouse's engine keeps its files."""
        return self.path / "clickhouse"

    def _hold(self) -> int:
        self.path.mkdir(parents=True, exist_ok=True)
        marker = self.path / MARKER
        if not marker.exists() and any(self.path.iterdir()):
            raise WrongUseError(
                f"{self.path} is not empty and no data folder of usagepipe: nothing was touched. "
                "Name an empty or a new folder with --data."
            )
        descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._lock(descriptor, marker)
            self._check(marker)
            self._prepare()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _lock(self, descriptor: int, marker: Path) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongUseError(
                f"The data folder {self.path} is in use{_holder(marker)}. Use that one, stop it, "
                "or name another folder with --data."
            ) from None

    def _check(self, marker: Path) -> None:
        text = marker.read_text()
        if not text:  # just created, or its process was killed before it wrote
            return
        found = _read(text).get("format")
        if found != _FORMAT:
            raise WrongUseError(
                f"{marker} is of format {found!r} and this version reads {_FORMAT}: "
                "use the version that wrote it, or another folder."
            )

    def _prepare(self) -> None:
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")  # it often lies inside a checkout
        self.clickhouse.mkdir(exist_ok=True)

    def write_note(self, **addresses: str | None) -> None:
        """Write the holder's addresses to the marker, for the error message of a second start."""
        note = {"format": _FORMAT, "pid": os.getpid()} | addresses
        content = (json.dumps(note) + "\n").encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, content, 0)

    def close(self) -> None:
        """Release the folder. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _read(text: str) -> dict[str, object]:
    try:
        note = json.loads(text)
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _holder(marker: Path) -> str:
    note = _read(marker.read_text())
    if "pid" not in note:
        return " by another process"
    return f" by process {note['pid']} (ClickHouse at {note.get('clickhouse', 'an unknown port')})"
