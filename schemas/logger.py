"""The logger for code that runs inside other programs: it uses the standard library's `logging`.

It prints nothing unless the program configures `logging`, and leaves structlog alone. Each record
has a text (`kafka_failed error='…' servers='…'`) and the same data in its attributes `event` and
`facts`.
"""

import logging
from contextlib import suppress
from typing import Final

ROOT: Final = "usagepipe"

_root: Final = logging.getLogger(ROOT)
_root.addHandler(logging.NullHandler())  # else Python prints warnings when nothing is configured
_level_set_here = logging.NOTSET


class HarmlessLogger:
    """A logger whose methods never raise, even if a line cannot be written."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **facts: object) -> None:
        """Log only if the level of one of our own loggers is DEBUG. A root level of DEBUG is meant
        for the program, not for us."""
        if self._logger.level or _root.level:
            self._write(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: object) -> None:
        self._write(logging.INFO, event, facts)

    def warning(self, event: str, **facts: object) -> None:
        self._write(logging.WARNING, event, facts)

    def error(self, event: str, **facts: object) -> None:
        self._write(logging.ERROR, event, facts)

    def _write(self, level: int, event: str, facts: dict[str, object]) -> None:
        with suppress(Exception):
            if self._logger.isEnabledFor(level):
                text = " ".join([event, *(f"{name}={value!r}" for name, value in facts.items())])
                data = {"event": event, "facts": facts}
                # As the only argument: a % in a path is no placeholder.
                self._logger.log(level, "%s", text, extra=data, stacklevel=3)


def set_level(level: str) -> None:
    """Log at `level` and above, unless the program has set the level of `usagepipe` itself.

    Call it only for a level that was set explicitly: else the program's configuration decides.
    """
    global _level_set_here
    if _root.level in (logging.NOTSET, _level_set_here):
        _level_set_here = logging.getLevelNamesMapping()[level.upper()]
        _root.setLevel(_level_set_here)
