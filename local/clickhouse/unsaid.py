"""Finds the error of an INSERT that chDB does not tell.

chDB 26.9 raises what goes wrong while an INSERT is parsed, and swallows what goes wrong after it:
a constraint, a view, a full disk, a memory limit. The rows are not there, and it says that they
are written. The engine itself counts every error in `system.errors`, with the query it ended.
"""

import json
import threading
import uuid
from typing import Any, Final, NamedTuple

from usagepipe.local.clickhouse.exceptions import UNKNOWN_STATUS_OF_INSERT, ClickHouseError

_COUNTED: Final = (
    "SELECT code, value, query_id, name, last_error_message FROM system.errors"
    " SETTINGS output_format_json_quote_64bit_integers = 0"
)
_QUERY: Final = (
    "SELECT query_id FROM system.processes"
    " WHERE position(query, '{mark}') > 0 AND query_id != queryID()"
)


class Counted(NamedTuple):
    """An error as the engine counts it: how often, and how it came about the last time."""

    code: int
    times: int
    query_id: str
    name: str
    message: str


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
        self._before = {code: error.times for code, error in self._counted().items()}
        self._query_id = ""

    def begin(self) -> None:
        """Note which query it is, while it runs."""
        self._query_id = self._errors.ask(_QUERY.format(mark=self.mark))

    def check(self) -> None:
        """Raise what the INSERT failed of, after it ended without a word.

        Raises:
            ClickHouseError: its error; or that its status is unknown, when others failed of the
                same at the same time: only the last error of each kind is kept.
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
            raise ClickHouseError.of(
                UNKNOWN_STATUS_OF_INSERT,
                "Others failed of the same at the same time: whether this INSERT did is not known.",
            )

    def _counted(self) -> dict[int, Counted]:
        lines = self._errors.ask(_COUNTED, "JSONCompactEachRow").splitlines()
        return {(error := Counted(*json.loads(line))).code: error for line in lines}
