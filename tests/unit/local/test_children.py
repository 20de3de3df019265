"""The demo's processes: the error for one that dies has its last output, and none is left over."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from usagepipe.local.children import Child, Children
from usagepipe.schemas.errors import ChildEndedError, UsagePipeError

FOREVER = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"


def start(children: Children, program: str) -> Child:
    return children.start("gateway", [sys.executable, "-c", program], os.environ)


def is_gone(pid: int) -> bool:
    """Whether the process is neither running nor a zombie."""
    return not Path(f"/proc/{pid}").exists()


def test_a_child_that_dies_is_reported_with_its_last_words() -> None:
    """The error has the status and the end of standard error."""
    with Children() as children:
        child = start(
            children, "import sys; sys.stderr.write('x' * 9000 + 'no Kafka'); sys.exit(3)"
        )

        with pytest.raises(ChildEndedError, match=r"no Kafka$") as caught:
            child.check(grace_seconds=30)

    assert ("gateway", 3) == (caught.value.name, caught.value.status)
    assert len(caught.value.words) < 5_000


def test_a_child_that_dies_before_its_first_line_is_reported() -> None:
    """Waiting for a line ends with the child, not with the time."""
    with Children() as children:
        child = start(children, "raise SystemExit('a wrong setting')")

        with pytest.raises(ChildEndedError, match="a wrong setting"):
            child.read_line(30)


def test_a_silent_child_is_reported() -> None:
    """A line that does not come is an error after its time."""
    with Children() as children:
        child = start(children, "import time; time.sleep(600)")

        with pytest.raises(UsagePipeError, match="The gateway printed nothing for 0 s"):
            child.read_line(0.2)


def test_lines_come_one_by_one() -> None:
    """Two lines written at once are two lines."""
    with Children() as children:
        child = start(children, "print('a\\nb', flush=True)")

        assert [b"a", b"b"] == [child.read_line(30), child.read_line(30)]


def test_a_stopped_child_is_no_error() -> None:
    """Ending by the signal that we sent is ending in order."""
    with Children() as children:
        child = start(children, FOREVER)
        child.read_line(30)

        children.stop(child, 30)

    assert is_gone(child.pid)


def test_a_child_that_does_not_stop_is_killed_and_reported() -> None:
    """One that ignores the signal is an error, and gone."""
    with Children() as children:
        child = start(children, STUBBORN)
        child.read_line(30)

        with pytest.raises(UsagePipeError, match="did not stop within 0 s"):
            children.stop(child, 0.2)

        assert is_gone(child.pid)


def test_no_child_outlives_an_error() -> None:
    """After any end of the run its processes are gone, also those that ignore signals."""
    children = Children()
    child = start(children, STUBBORN)
    child.read_line(30)

    with pytest.raises(KeyboardInterrupt), children:
        raise KeyboardInterrupt

    assert is_gone(child.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_no_child_outlives_a_killed_parent(tmp_path: Path) -> None:
    """Even kill -9 of the demo ends its processes."""
    program = (
        "import os, sys\n"
        "from usagepipe.local.children import Children\n"
        f"child = Children().start('c', [sys.executable, '-c', {STUBBORN!r}], os.environ)\n"
        "child.read_line(30)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    with Children() as children:
        parent = start(children, program)
        pid = int(parent.read_line(60))

        assert -signal.SIGKILL == parent.wait(30)
        eventually(lambda: _is_dead(pid), 10, lambda: f"the end of process {pid}")


def _is_dead(pid: int) -> bool:
    """Gone or a zombie: its new parent reaps an orphan."""
    try:
        return "Z" == Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
