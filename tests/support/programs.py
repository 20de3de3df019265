"""Programs that a test starts, watches, ends and reads the output of, as a user would.

Output goes to files: a pipe that nobody reads would stop the program when it is full.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.support.tether import Tether
from tests.support.waiting import eventually
from usagepipe.schemas.settings import PREFIX, Settings
from usagepipe.schemas.settings.secret_files import revealed

STOP_SECONDS: Final = 45
TAIL_CHARS: Final = 6_000
BIN: Final = Path(sys.executable).parent  # where the installed commands stand


class Program:
    """A running program. `kill` and `stop` may be called when it has ended already."""

    def __init__(
        self, command: list[str], environment: Mapping[str, str], folder: Path, name: str
    ) -> None:
        self.command: Final = command
        self._out = folder / f"{name}.stdout"
        self._err = folder / f"{name}.stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(environment),
                cwd=folder,  # a program that only runs inside the checkout is found out here
                start_new_session=True,
            )
        self._tether = Tether(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        """Its standard output up to now."""
        return self._out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """Its standard error up to now."""
        return self._err.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs, negative when a signal ended it."""
        return self._process.poll()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit status, when it has ended by itself."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.command} still runs after {seconds:g} s\n{self.tail()}"
            ) from None
        finally:
            if self.status is not None:
                self._tether.cut()

    def wait_for_output(self, text: str, seconds: float = 60) -> None:
        """Return when `text` is in its output or its errors."""
        eventually(
            lambda: text in self.stdout or text in self.stderr or self._fail_if_ended(text),
            seconds,
            lambda: f"{text!r} from {self.command}\n{self.tail()}",
        )

    def _fail_if_ended(self, text: str) -> bool:
        # Read once more after it ended: its last words may have come in between.
        if self.status is None or text in self.stdout or text in self.stderr:
            return False
        raise AssertionError(
            f"{self.command} ended with {self.status} without {text!r}\n{self.tail()}"
        )

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, mostly SIGSTOP or SIGCONT."""
        self._process.send_signal(number)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end (SIGTERM) and wait; its exit status."""
        self._process.terminate()
        return self.wait(seconds)

    def kill(self) -> None:
        """End it as a crash would (`kill -9`)."""
        self._process.kill()
        self._process.wait()
        self._tether.cut()

    def tail(self) -> str:
        """The end of its output and errors, for the report of a failed test."""
        out, err = self.stdout[-TAIL_CHARS:], self.stderr[-TAIL_CHARS:]
        return (
            f"-- {' '.join(self.command)}: status {self.status}\n-- stdout\n{out}-- stderr\n{err}"
        )


class Programs:
    """Starts programs for one test. Call it: `run_program("worker", "--web-port", "0")`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Program] = []

    def __call__(
        self,
        *arguments: str,
        program: str = "usagepipe",
        environment: Mapping[str, str] | None = None,
    ) -> Program:
        """Start an installed command, or one of another environment by its whole path.

        It sees no `USAGEPIPE_*` but those in `environment`.
        """
        command = [str(BIN / program), *arguments]
        name = f"{len(self._started)}-{Path(program).name}"
        merged = clean_environment() | dict(environment or {})
        started = Program(command, merged, self._folder, name)
        self._started.append(started)
        return started

    def end(self) -> None:
        """Kill what still runs and print the end of what each said (shown if the test failed)."""
        for program in self._started:
            program.kill()
            print(program.tail())


def clean_environment() -> dict[str, str]:
    """This process's environment without the settings of the person who runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def as_environment(settings: Settings) -> dict[str, str]:
    """The `USAGEPIPE_*` variables that make a program load these settings."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set | {"clickhouse"}}
    return {f"{PREFIX}{name.upper()}": revealed(value) for name, value in given.items()}


def run_python(script: str, *inside: str) -> subprocess.CompletedProcess[str]:
    """Run `script` in a Python that treats warnings as errors, started by the command `inside`."""
    return subprocess.run(
        [*inside, sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
