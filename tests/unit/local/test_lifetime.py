"""A child process that is tied to its parent."""

import subprocess
import sys

SECONDS = 30
# Another thread may take the signal, though it is the main one in which Python handles it.
CTRL_C_DURING_THE_FORK = """
import os, signal, subprocess, sys, tempfile, threading, time
from usagepipe.local.lifetime import start_tied

def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
os.register_at_fork(after_in_parent=press)
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    start_tied(["sleep", "60"], os.environ, stdout=subprocess.PIPE, stderr=tempfile.TemporaryFile())
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


def output_of(program: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS
    )
    return done.stdout, done.stderr


def test_a_ctrl_c_while_the_child_is_made_is_not_lost() -> None:
    """Python swallows what comes up in callbacks of a fork, and modules have such callbacks."""
    assert ("interrupted\nno child is left\n", "") == output_of(CTRL_C_DURING_THE_FORK)


def test_a_ctrl_c_that_is_ignored_stays_so() -> None:
    """As in a shell's background jobs, for parent and child."""
    assert ("True True\n", "") == output_of(IGNORED)
