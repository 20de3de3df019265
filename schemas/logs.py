"""How usagepipe's own processes write logs: events with keys, one JSON line each, on stderr.

Only our own programs call `configure_logs`. Code that also runs inside other programs uses
`logger.py`; in our programs its records look like all others.
"""

import logging
import sys
import time

import structlog

from usagepipe.schemas.logger import set_level


def configure_logs(level: str) -> None:
    """Write structlog events and the standard library's records at `level` and above to stderr."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if sys.stderr.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,  # else a logger keeps the stream of its first line
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_with_facts, *shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(level=number, handlers=[handler], force=True)
    set_level(level)


def _with_facts(
    logger: object, method: str, entry: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """The keys and values of a record that `logger.py` wrote, in place of its text."""
    record = entry["_record"]
    facts = getattr(record, "facts", None)
    return entry if facts is None else {**entry, "event": record.event, **facts}


def quiet_driver() -> None:
    """Silence the logs of ClickHouse's driver, for commands that print its errors themselves."""
    for name in ("clickhouse_connect", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class OncePerInterval(logging.Filter):
    """Passes each message of a library once per `seconds`, regardless of its values.

    While a broker is unreachable, aiokafka logs an error for every attempt: thirty a second.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._last.get(record.msg, -self._seconds) < self._seconds:
            return False
        self._last[record.msg] = now
        return True
