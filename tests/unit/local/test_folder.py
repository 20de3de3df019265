"""The data folder: found again, held once, and never somebody else's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from usagepipe.local.folder import MARKER, DataFolder
from usagepipe.schemas.errors import WrongUseError


def test_new_folder_is_made(tmp_path: Path) -> None:
    """With the folders above it, and out of the sight of git."""
    with DataFolder(tmp_path / "a" / "b") as folder:
        assert folder.clickhouse.is_dir()
        assert "*\n" == (folder.path / ".gitignore").read_text()


def test_folder_is_found_again(tmp_path: Path) -> None:
    """What is in it stays."""
    with DataFolder(tmp_path) as folder:
        (folder.clickhouse / "kept").touch()

    with DataFolder(tmp_path) as folder:
        assert (folder.clickhouse / "kept").exists()


def test_second_holder_learns_who_has_it(tmp_path: Path) -> None:
    """The message names the process and its address."""
    with DataFolder(tmp_path) as folder:
        folder.write_note(clickhouse="http://127.0.0.1:1234")

        with pytest.raises(WrongUseError) as caught:
            DataFolder(tmp_path)

    assert f"in use by process {os.getpid()}" in str(caught.value)
    assert "http://127.0.0.1:1234" in str(caught.value)


def test_lock_of_a_dead_process_is_stale(tmp_path: Path) -> None:
    """A holder that was killed leaves its marker, and the next start takes the folder over."""
    program = (
        "import os, pathlib, signal, sys; from usagepipe.local.folder import DataFolder\n"
        "folder = DataFolder(pathlib.Path(sys.argv[1])); folder.write_note(clickhouse='gone')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert -9 == killed.returncode
    assert "gone" in (tmp_path / MARKER).read_text()

    with DataFolder(tmp_path) as folder:
        assert folder.clickhouse.is_dir()


def test_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    """A typing error in --data does not fill somebody's home with a database."""
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(WrongUseError, match="no data folder of usagepipe"):
        DataFolder(tmp_path)

    assert ["thesis.txt"] == [path.name for path in tmp_path.iterdir()]


def test_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    """Data of a later version are not touched by this one."""
    with DataFolder(tmp_path):
        pass
    (tmp_path / MARKER).write_text(json.dumps({"format": 2}))

    with pytest.raises(WrongUseError, match="format 2"):
        DataFolder(tmp_path)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_path_that_can_be_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    """With the system's reason and what to do."""
    (tmp_path / "file").touch()

    with pytest.raises(WrongUseError, match=r"cannot be used: .*--data"):
        DataFolder(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A read-only folder is a sentence, no traceback."""
    tmp_path.chmod(0o500)

    with pytest.raises(WrongUseError, match="cannot be used"):
        DataFolder(tmp_path)


def test_folder_on_a_system_that_refuses_is_refused() -> None:
    """Nor is one of the kernel's, which root cannot write either."""
    with pytest.raises(WrongUseError, match="cannot be used"):
        DataFolder(Path("/proc/usagepipe"))
