"""A file that appears under its name only when it is complete.

It is written next to its final place under another name, which a crash leaves there. A pipe or a
device such as `/dev/stdout` is written directly: other programs use it.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from usagepipe.schemas.errors import UnwritableFileError


class NewFile:
    """A file that is being written. It raises errors as `UnwritableFileError`."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file

    def write(self, data: bytes) -> None:
        with _own_errors(self._path):
            self._file.write(data)


@contextmanager
def new_file(path: Path) -> Iterator[NewFile]:
    """A new file, readable only by its owner, that replaces an existing one.

    If the context ends with an exception, the existing file stays.

    Raises:
        UnwritableFileError: the folder is missing, the disk is full, or the like.
    """
    with _own_errors(path):
        is_plain = path.is_file() or not path.exists()
        file: IO[bytes] = _part_of(path) if is_plain else path.open("wb")
    try:
        yield NewFile(path, file)
        with _own_errors(path):
            file.flush()
            if is_plain:
                # Before the name: else a crash of the machine may leave an empty file under it.
                os.fsync(file.fileno())
                os.replace(file.name, path.resolve())
            file.close()
    except BaseException:
        with suppress(OSError):  # a full disk refuses what is left a second time
            file.close()
        if is_plain:
            Path(file.name).unlink(missing_ok=True)
        raise


def _part_of(path: Path) -> "tempfile._TemporaryFileWrapper[bytes]":
    target = path.resolve()  # a link stays one
    return tempfile.NamedTemporaryFile(  # the caller closes it
        dir=target.parent, prefix=f".{target.name}.", suffix=".part", delete=False
    )


@contextmanager
def _own_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnwritableFileError(path, error) from None
