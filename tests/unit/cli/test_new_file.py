"""A file appears under its name only when it is complete."""

import os
import subprocess
from pathlib import Path

import pytest

from usagepipe.cli.new_file import new_file
from usagepipe.schemas.errors import UnwritableFileError


def write(path: Path, data: bytes, error: type[BaseException] | None = None) -> None:
    with new_file(path) as file:
        file.write(data)
        if error is not None:
            raise error


def test_it_appears_when_it_is_whole(tmp_path: Path) -> None:
    """Until then the name is free or holds the old file; only the owner may read the new one."""
    path = tmp_path / "export"
    path.write_bytes(b"before")

    with new_file(path) as file:
        file.write(b"after")
        assert b"before" == path.read_bytes()

    assert (b"after", 0o600) == (path.read_bytes(), path.stat().st_mode & 0o777)
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    """The old file stays alone in its folder, and the error stays what it is."""
    path = tmp_path / "export"
    path.write_bytes(b"before")

    with pytest.raises(error):
        write(path, b"half", error)

    assert b"before" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_a_link_stays_one(tmp_path: Path) -> None:
    """The target of the link is replaced."""
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)

    write(link, b"whole")

    assert (True, b"whole") == (link.is_symlink(), target.read_bytes())


def test_what_is_no_plain_file_is_written_as_it_is(tmp_path: Path) -> None:
    """The reader of a replaced pipe would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)

    write(pipe, b"whole")

    assert b"whole" == reader.communicate(timeout=30)[0]
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dev/full", "No space left on device"),
        ("/nosuch/folder/export", "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_written_is_named(path: str, reason: str) -> None:
    """The status is that of an unwritable output."""
    with pytest.raises(UnwritableFileError, match=f"{path} cannot be written: {reason}.") as error:
        write(Path(path), b"whole")

    assert 74 == error.value.exit_status
