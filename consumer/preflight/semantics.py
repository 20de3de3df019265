"""Checks that the server handles a repeated insert as the worker needs; the preflight's cases.

ClickHouse changed this in 24.7, 25.9, 25.10 and 26.2, and a user's profile can change it any day.
The cases that must double matter as much as those that must not: they show that the scratch
tables reveal a double row, and that windows and flag prevent it.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from usagepipe.consumer.preflight.scratch_tables import (
    BARE_RAW,
    BARE_ROLLUP,
    DAYS,
    RAW,
    ROLLUP,
    Scratch,
)
from usagepipe.schemas.clickhouse.client import UNKNOWN_TABLE, error_code
from usagepipe.schemas.clickhouse.codes import lacking_right
from usagepipe.schemas.errors import RightMissingError, SemanticsError, StartRefusedError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

TRIES: Final = 10  # of a case whose insert the server does not know the end of

AT_OWN_RISK: Final = "To start without this check, at your own risk: USAGEPIPE_PREFLIGHT=off."

_ACCESS_DENIED: Final = 497
# The check fails until an operator changes something.
_FOR_GOOD: Final = {
    115: "does not know a setting of the worker's inserts: it is older than 25.8",
    164: "lets its user only read",
    452: "forbids its user to change a setting of the worker's inserts",
    UNKNOWN_TABLE: "lost a table that this worker had just made, in every attempt: several servers "
    "answer at its address, and a repeated insert may reach another one. Name one server",
}
_UNKNOWN_STATUS_OF_INSERT: Final = 319
_FLAG: Final = "deduplicate_blocks_in_dependent_materialized_views"


@dataclass(frozen=True, slots=True)
class Case:
    """An insert of 10 rows, done twice, and the rows that must be counted then."""

    name: str
    expected: Mapping[str, int]  # by table, the raw one first
    changed: Mapping[str, int] = field(default_factory=dict)  # of the worker's settings
    throwing: tuple[str, ...] = ()  # tables whose views fail one try each, before the last one
    tokens: tuple[str, str] = ("a", "a")

    @property
    def raw(self) -> str:
        return next(iter(self.expected))


CASES: Final = (
    Case("retry, no windows", {BARE_RAW: 20, BARE_ROLLUP: 20}),
    Case("retry, window on raw only", {RAW: 10, BARE_ROLLUP: 20}),
    Case(f"retry, both windows, {_FLAG}=0", {RAW: 10, ROLLUP: 20}, {_FLAG: 0}),
    Case(f"retry, both windows, {_FLAG}=1", {RAW: 10, ROLLUP: 10, DAYS: 10}),
    Case(
        "retry, views threw after raw was stored",
        {RAW: 10, ROLLUP: 10, DAYS: 10},
        throwing=(ROLLUP, DAYS),
    ),
    # Two batches may well make equal rows in a rollup.
    Case("another token, equal rows", {RAW: 20, ROLLUP: 20, DAYS: 20}, tokens=("a", "b")),
)


def check_clickhouse(
    client: "Client", settings_of_insert: Mapping[str, str | int], *, replicated: bool = False
) -> None:
    """Return if a repeated insert does what the worker relies on. Blocks, for about half a second.

    `settings_of_insert` are those of the worker's own inserts; `replicated` makes the scratch
    tables replicated, as the raw table is. They are created in the client's database, on the server
    that answers, and are always dropped.

    Raises:
        SemanticsError: the server does something else.
        StartRefusedError: the user lacks a right, or may not use the settings.
        clickhouse_connect.driver.exceptions.Error: anything else, such as an unreachable server.
    """
    from clickhouse_connect.driver.exceptions import Error

    scratch = Scratch(client, settings_of_insert, replicated=replicated)
    try:
        scratch.drop_leftovers()
        scratch.make()
        names = {case.name: _decided(case, scratch) for case in CASES}
        _judge(scratch, names)
    except Error as error:
        raise refusal(error, client) or error from error
    finally:
        with suppress(Error):  # a later preflight drops leftovers
            scratch.drop()


def _decided(case: Case, scratch: Scratch) -> str:
    """Run the case, under another name if the result of an insert is unknown; return the name."""
    from clickhouse_connect.driver.exceptions import Error

    for number in range(TRIES):
        name = f"{case.name} {number}"
        try:
            _run(case, name, scratch)
        except Error as error:
            if error_code(error) != _UNKNOWN_STATUS_OF_INSERT or number == TRIES - 1:
                raise
        else:
            break
    return name


def _run(case: Case, name: str, scratch: Scratch) -> None:
    first, last = case.tokens
    for attempt, table in enumerate(case.throwing):
        if not scratch.insert_throwing(case.raw, name, attempt, first, table):
            raise SemanticsError(case.name, "the insert to fail", "that it succeeded")
    if not case.throwing:
        scratch.insert(case.raw, name, 0, first, case.changed)
    scratch.insert(case.raw, name, len(case.throwing) + 1, last, case.changed)


def _judge(scratch: Scratch, names: Mapping[str, str]) -> None:
    rows = scratch.rows()
    for case in CASES:
        found = {table: rows.get((table, names[case.name]), 0) for table in case.expected}
        if found != case.expected:
            raise SemanticsError(case.name, _shown(case.expected), _shown(found))


def _shown(rows: Mapping[str, int]) -> str:
    """`10/20`: rows of raw, then of each rollup."""
    return "/".join(map(str, rows.values())) + " rows"


def refusal(error: Exception, client: "Client") -> StartRefusedError | None:
    """Why the worker may not start, if `error` of the preflight is a reason; None: try again later.

    A restart or a cut connection can cause each of these errors too, so the caller repeats the
    check before the worker ends.
    """
    code = error_code(error)
    if code == _ACCESS_DENIED:
        return _lacking_rights(error, client)
    if code in _FOR_GOOD:
        return StartRefusedError(f"ClickHouse {_FOR_GOOD[code]} (code {code}). {AT_OWN_RISK}")
    return None


def _lacking_rights(error: Exception, client: "Client") -> StartRefusedError:
    user = client.command("SELECT currentUser()")
    return RightMissingError(
        f"The ClickHouse user {user} may not check on scratch tables what the server does: it "
        f"lacks {lacking_right(str(error)) or 'a right'}. GRANT SELECT, INSERT, CREATE TABLE, "
        f"CREATE VIEW, DROP TABLE, DROP VIEW ON {client.database}.* TO {user}. {AT_OWN_RISK}"
    )
