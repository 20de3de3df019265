"""Folders: each has one owner, who keeps it until it ends, also after forks."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from usagepipe.producer.delivery.spill.folders import adopt_folder, make_folder

HOLD = """
import os, sys
from pathlib import Path
from usagepipe.producer.delivery.spill.folders import make_folder
held = make_folder(Path(sys.argv[1]), "theirs")
(held.path / "1.spill").write_bytes(b"x")
if sys.argv[2] == "fork" and os.fork() == 0:
    os.close(1)
    os.read(0, 1)
    os._exit(0)
print("held", flush=True)
os.read(0, 1)
"""


@contextmanager
def owner(root: Path, kind: str = "alone") -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the folder `theirs`, with something in it."""
    command = [sys.executable, "-c", HOLD, str(root), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        assert "held\n" == it.stdout.readline()
        try:
            yield it
        finally:
            it.kill()


def test_folder_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    """Two processes with one setting never send each other's events."""
    with owner(tmp_path):
        assert adopt_folder(tmp_path) is None


def test_folder_of_a_killed_process_is_adopted_once(tmp_path: Path) -> None:
    """After kill -9 the next process gets it, and no other as long as that one holds it."""
    with owner(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()

        adopted = adopt_folder(tmp_path)

    assert adopted is not None
    assert "theirs" == adopted.path.name
    assert adopt_folder(tmp_path) is None


def test_child_of_a_killed_process_does_not_keep_its_folder(tmp_path: Path) -> None:
    """A forked child that outlives its parent inherits the file, but not the lock."""
    with owner(tmp_path, "fork") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()

        assert adopt_folder(tmp_path) is not None


def test_end_of_a_child_does_not_free_the_folder(tmp_path: Path) -> None:
    """A child that closes all it has inherited takes nothing from its parent."""
    held = make_folder(tmp_path, "ours")
    (held.path / "1.spill").write_bytes(b"x")
    child = os.fork()
    if child == 0:
        os.closerange(3, 1_000)
        os._exit(0)
    os.waitpid(child, 0)
    adopt = "import sys; from pathlib import Path;"
    adopt += "from usagepipe.producer.delivery.spill.folders import adopt_folder;"
    adopt += "print(adopt_folder(Path(sys.argv[1])))"

    other = subprocess.run(
        [sys.executable, "-c", adopt, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert "None\n" == other.stdout


def test_two_recorders_of_a_process_have_a_folder_each(tmp_path: Path) -> None:
    """A process never takes its own other folder for that of a process that is gone."""
    one, other = make_folder(tmp_path, "one"), make_folder(tmp_path, "other")
    (one.path / "1.spill").write_bytes(b"x")

    adopted = adopt_folder(tmp_path)
    one.release()
    later = adopt_folder(tmp_path)

    assert adopted is None
    assert later is not None
    assert ("one", "other") == (later.path.name, other.path.name)


def test_empty_folder_is_removed(tmp_path: Path) -> None:
    """A process that ends with no events left removes its folder, and those of others."""
    with owner(tmp_path) as process:
        (tmp_path / "theirs" / "1.spill").unlink()
        process.kill()
        process.wait()
        make_folder(tmp_path, "ours").release()

        assert adopt_folder(tmp_path) is None
        assert [] == list(tmp_path.iterdir())


def test_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    """Events hold names: nobody else may look for them."""
    held = make_folder(tmp_path / "state" / "topic", "ours")

    modes = [path.stat().st_mode & 0o777 for path in (held.path, *list(held.path.parents)[:2])]
    assert [0o700] * 3 == modes


def test_folder_that_is_being_made_is_not_adopted_by_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the process' own threads the lock means nothing: a folder is claimed before it appears."""
    seen: list[object] = []
    rename = Path.rename

    def rename_and_look(hidden: Path, path: Path) -> None:
        rename(hidden, path)
        seen.append(adopt_folder(tmp_path))  # as another recorder's thread may at this moment

    monkeypatch.setattr(Path, "rename", rename_and_look)
    held = make_folder(tmp_path, "ours")

    assert [None] == seen
    assert held.path.exists()


def test_folder_that_is_being_adopted_is_not_adopted_by_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorders of one process that look at the same moment never send the same files twice."""
    dead = make_folder(tmp_path, "dead")
    (dead.path / "1.spill").write_bytes(b"x")
    dead.release()
    seen: list[object] = []

    def lock_and_look(*_: int) -> None:
        monkeypatch.undo()
        seen.append(adopt_folder(tmp_path))  # as another recorder's thread may at this moment

    monkeypatch.setattr(fcntl, "lockf", lock_and_look)

    assert adopt_folder(tmp_path) is not None
    assert [None] == seen


def test_folder_of_another_user_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another user has put there is not ours to send, nor is what a link leads to."""
    theirs = make_folder(tmp_path / "spill", "theirs")
    (theirs.path / "1.spill").write_bytes(b"x")
    theirs.release()
    elsewhere = theirs.path.rename(tmp_path / "elsewhere")
    theirs.path.symlink_to(elsewhere)

    by_link = adopt_folder(tmp_path / "spill")
    theirs.path.unlink()
    elsewhere.rename(theirs.path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    of_another = adopt_folder(tmp_path / "spill")
    monkeypatch.undo()
    ours = adopt_folder(tmp_path / "spill")

    assert (None, None) == (by_link, of_another)
    assert ours is not None


def test_folder_whose_making_failed_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first attempt has left does not stand in the way of the next."""

    def refuse(_: int, __: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(OSError, match="no locks"):
        make_folder(tmp_path, "ours")
    monkeypatch.undo()

    assert "ours" == make_folder(tmp_path, "ours").path.name
