"""Ties a child process to the life of this one, so that a killed test run leaves no server.

A shell waits on a pipe that only this process holds open: it ends however this process ends.
"""

import subprocess
from typing import Final


class Tether:
    """Kills the process `pid` when this process is gone. `cut` it before you stop the process."""

    def __init__(self, pid: int) -> None:
        self._watcher: Final = subprocess.Popen(
            ["sh", "-c", f"read -r _; kill -9 {pid}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the test run
        )

    def cut(self) -> None:
        """Stop watching the process. May be called again."""
        self._watcher.kill()
        self._watcher.wait()
        if self._watcher.stdin:
            self._watcher.stdin.close()
