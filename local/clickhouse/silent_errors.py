"""Finds the error of an INSERT that chDB does not report.

chDB 26.9 raises errors of an INSERT while it parses the rows, but not later ones: a constraint, a
view, a full disk, a memory limit. It reports success, and the rows are missing. ClickHouse counts
every error in `system.errors`, with the query that failed.
"""

import json
import threading
import uuid
from typing import Any, Final, NamedTuple

from usagepipe.local.clickhouse.exceptions import Code, refusal
from usagepipe.schemas.errors import ClickHouseError

_COUNTED: Final = (
    "SELECT code, value, query_id, name, last_error_message FROM system.errors"
    " SETTINGS output_format_json_quote_64bit_integers = 0"
)
_QUERY: Final = (
    "SELECT query_id FROM system.processes"
    " WHERE position(query, '{mark}') > 0 AND query_id != queryID()"
)


class Counted(NamedTuple):
    """A row of `system.errors`: how often an error occurred, and its last occurrence."""

    code: int
    times: int
    query_id: str
    name: str
    message: str


class Errors:
    """Reads `system.errors` through its own connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # a connection runs one statement at a time

    def ask(self, sql: str, answer_format: str = "TSVRaw") -> str:
        """The answer to one of our own statements."""
        with self._lock:
            return bytes(self._connection.query(sql, answer_format).bytes()).decode().strip()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Watch:
    """Watches one INSERT. Create it before the INSERT starts; its text must contain `mark`."""

    def __init__(self, errors: Errors) -> None:
        self.mark: Final = uuid.uuid4().hex
        self._errors = errors
        self._before = {code: error.times for code, error in self._counted().items()}
        self._query_id = ""

    def begin(self) -> None:
        """Look up the id of the running query."""
        self._query_id = self._errors.ask(_QUERY.format(mark=self.mark))

    def check(self) -> None:
        """Raise the error of an INSERT for which chDB reported success.

        Raises:
            ClickHouseError: the INSERT failed. Or its status is unknown, because other statements
                failed with the same code meanwhile: ClickHouse keeps only the last error per code.
        """
        risen = {
            error: error.times - self._before.get(code, 0)
            for code, error in self._counted().items()
            if error.times != self._before.get(code, 0)
        }
        for error in risen:
            if error.query_id == self._query_id:
                text = f"Code: {error.code}. DB::Exception: {error.message}. ({error.name})"
                raise ClickHouseError(error.code, text)
        if any(rise > 1 for rise in risen.values()):
            raise refusal(
                Code.UNKNOWN_STATUS_OF_INSERT,
                "Other statements failed with this error too: the INSERT may have failed as well.",
            )

    def _counted(self) -> dict[int, Counted]:
        lines = self._errors.ask(_COUNTED, "JSONCompactEachRow").splitlines()
        return {(error := Counted(*json.loads(line))).code: error for line in lines}
