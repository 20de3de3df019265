"""Finds the error of an INSERT that chDB does not tell.

chDB 26.9 raises what goes wrong while an INSERT is parsed, and swallows what goes wrong after it:
a constraint, a view, a full disk, a memory limit. The rows are not there, and it says that they
are written. The engine itself counts every error in `system.errors`, with the query it ended.
"""

import json
import threading
import uuid
from typing import Any, Final

from usagepipe.local.clickhouse.exceptions import UNKNOWN_STATUS_OF_INSERT, ClickHouseError

_TOTAL: Final = "SELECT sum(value) FROM system.errors"
_QUERY: Final = (
    "SELECT query_id FROM system.processes"
    " WHERE position(query, '{mark}') > 0 AND query_id != queryID()"
)
_ERROR: Final = (
    "SELECT code, name, last_error_message FROM system.errors WHERE query_id = '{query_id}'"
    " ORDER BY last_error_time DESC LIMIT 1 SETTINGS output_format_json_quote_64bit_integers = 0"
)


class Errors:
    """The engine's count of errors, read through a connection of its own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # a connection runs one statement at a time

    def ask(self, sql: str, answer_format: str = "TSVRaw") -> str:
        """The answer to a statement that is no client's."""
        with self._lock:
            return bytes(self._connection.query(sql, answer_format).bytes()).decode().strip()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Watch:
    """Watches one INSERT: make it before the statement begins, which must hold `mark`."""

    def __init__(self, errors: Errors) -> None:
        self.mark: Final = uuid.uuid4().hex
        self._errors = errors
        self._before = errors.ask(_TOTAL)
        self._query_id = ""

    def begin(self) -> None:
        """Note which query it is, while it runs."""
        self._query_id = self._errors.ask(_QUERY.format(mark=self.mark))

    def check(self) -> None:
        """Raise what the INSERT failed of, after it ended without a word.

        Raises:
            ClickHouseError: its error; or that its status is unknown, when others failed at the
                same time: only the last error of each kind is kept.
        """
        if self._errors.ask(_TOTAL) == self._before:
            return
        found = self._errors.ask(_ERROR.format(query_id=self._query_id), "JSONCompactEachRow")
        if found:
            code, name, message = json.loads(found)
            raise ClickHouseError(code, f"Code: {code}. DB::Exception: {message}. ({name})")
        raise ClickHouseError.of(
            UNKNOWN_STATUS_OF_INSERT,
            "Another statement failed at the same time, so whether this INSERT did is not known.",
        )
