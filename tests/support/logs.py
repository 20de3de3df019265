"""The log entries of code that runs inside other programs, as data."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from usagepipe.schemas.logger import ROOT


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        known = record.__dict__
        level = record.levelname.lower()
        self.entries.append({"event": known["event"], "log_level": level, **known["facts"]})


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """The entries of all levels that are logged inside, also by other threads."""
    keeper, logger = _Keeper(), logging.getLogger(ROOT)
    level = logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.DEBUG)
    try:
        yield keeper.entries
    finally:
        logger.removeHandler(keeper)
        logger.setLevel(level)
