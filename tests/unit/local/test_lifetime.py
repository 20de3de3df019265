"""A child process that is tied to its parent."""

import subprocess
import sys

import pytest

SECONDS = 30
# Another thread may take the signal, though it is the main one in which Python handles it.
CTRL_C_DURING_THE_FORK = """
import os, signal, subprocess, sys, threading, time
from usagepipe.local.children import Child

lifeline = os.pipe()[0] if sys.argv[1:] else None

def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
start = subprocess.Popen.__init__

def start_and_press(self, *args, **options) -> None:
    start(self, *args, **options)
    press()

if lifeline is None:
    os.register_at_fork(after_in_parent=press)
else:  # Python makes such a child with vfork, which calls no callbacks
    subprocess.Popen.__init__ = start_and_press
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    Child("sleep", ["sleep", "60"], os.environ, lifeline=lifeline)
except KeyboardInterrupt:
    print("interrupted")
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child is left")
"""
IGNORED = """
import os, signal, subprocess, sys, tempfile
from usagepipe.local.lifetime import start_tied

signal.signal(signal.SIGINT, signal.SIG_IGN)
program = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
child = start_tied(
    [sys.executable, "-c", program], os.environ,
    stdout=subprocess.PIPE, stderr=tempfile.TemporaryFile(),
)
print(child.communicate()[0].decode().strip(), signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""


def output_of(program: str, *arguments: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [(), ("with a lifeline",)])
def test_a_ctrl_c_while_the_child_is_made_is_not_lost(arguments: tuple[str, ...]) -> None:
    """Python swallows what comes up in callbacks of a fork, and modules have such callbacks."""
    assert ("interrupted\nno child is left\n", "") == output_of(CTRL_C_DURING_THE_FORK, *arguments)


def test_a_ctrl_c_that_is_ignored_stays_so() -> None:
    """As in a shell's background jobs, for parent and child."""
    assert ("True True\n", "") == output_of(IGNORED)
