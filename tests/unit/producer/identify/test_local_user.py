"""The local user of an installation without users keeps one id in a file."""

import stat
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.identifying import asgi, found
from usagepipe.producer import Caller
from usagepipe.producer.identify import local_user
from usagepipe.schemas.errors import WrongUseError


def test_local_user_keeps_its_id(tmp_path: Path) -> None:
    """The id is a UUID in a file for its owner only, made once."""
    file = tmp_path / "state" / "local_user_id"

    callers = [found(local_user(file), asgi()) for _ in range(2)]

    assert callers[0] == callers[1]
    assert Caller(str(UUID(file.read_text().strip())), "local", source="web") == callers[0]
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert [file] == list(file.parent.iterdir())


def test_local_user_is_kept_with_other_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a path the file lies where the XDG base directories say."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    local_user()

    assert (tmp_path / "usagepipe" / "local_user_id").is_file()


RACE = """
import sys
from usagepipe.producer.identify.local_user import local_user_id
print("ready", flush=True)
sys.stdin.read()
for number in range(100):
    print(local_user_id(f"{sys.argv[1]}/{number}"))
"""


def test_processes_that_start_together_agree_on_the_local_user(tmp_path: Path) -> None:
    """Four processes that find no file end up with one id, a hundred times over."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert "ready\n" == racer.stdout.readline()
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None

    ids = {racer.communicate(timeout=60)[0] for racer in racers}

    assert 1 == len(ids)
    assert 100 == len(set(ids.pop().split()))


def test_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    """The error for a wrong path names the cure, and existing files stay."""
    file = tmp_path / "notes"
    file.write_text("mine")

    with pytest.raises(WrongUseError, match="does not hold a local user's id"):
        local_user(file)
    assert "mine" == file.read_text()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """The start fails if the id cannot be stored; later would be too late."""
    (tmp_path / "file").write_text("")

    with pytest.raises(WrongUseError, match="cannot keep the local user's id"):
        local_user(tmp_path / "file" / "id")
