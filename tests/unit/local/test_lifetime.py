"""A child process that is tied to its parent."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from usagepipe.local.lifetime import start_tied

SECONDS = 30
CTRL_C_DURING_THE_FORK = """
import os, signal, subprocess, tempfile
from usagepipe.local.lifetime import start_tied

os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    start_tied(["sleep", "60"], os.environ, stdout=subprocess.PIPE, stderr=tempfile.TemporaryFile())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_ctrl_c_while_the_child_is_made_is_not_lost() -> None:
    """Python swallows what comes up in callbacks of a fork, and modules have such callbacks."""
    program = subprocess.run(
        [sys.executable, "-c", CTRL_C_DURING_THE_FORK],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert ("interrupted\n", "") == (program.stdout, program.stderr)


def test_the_child_takes_signals_as_its_parent_did() -> None:
    """What is held back while it is made is not held back in it."""
    with tempfile.TemporaryFile() as words:
        child = start_tied(
            ["sed", "-n", "s/^SigBlk://p", "/proc/self/status"],
            {"PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=words,
        )
        blocked, _ = child.communicate(timeout=SECONDS)

    own = Path("/proc/self/status").read_text()
    assert f"SigBlk:{blocked.decode()}" in own
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
