"""A real ClickHouse refuses inserts, and each refusal gets its kind."""

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.stored_events import rows_of
from usagepipe.consumer.clickhouse.refusals import classify
from usagepipe.consumer.clickhouse.writer import Writer
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.clickhouse.codes import TABLE, Kind
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@pytest.fixture
def client(migrated: ClickHouseAddress) -> "Iterator[Client]":
    with connect(migrated) as client:
        yield client


@pytest.fixture
def writer(migrated: ClickHouseAddress) -> Iterator[Writer]:
    writer = Writer(migrated, insert_seconds=30)
    yield writer
    writer.close()


def refusal_of(insert: Callable[[], object]) -> tuple[str, int | None, str]:
    """Kind, code and column of the error that it raises."""
    with pytest.raises(Exception, match="Code: ") as caught:
        insert()
    refusal = classify(caught.value)
    assert refusal.code is None or refusal.name == TABLE[refusal.code].name
    return refusal.kind, refusal.code, refusal.column


def token() -> str:
    return uuid.uuid4().hex


def rows(count: int = 1, **columns: Any) -> bytes:
    return rows_of([UsageEvent.new(user_id="somebody") for _ in range(count)], **columns)


def stored(client: "Client") -> int:
    return int(str(client.command("SELECT count() FROM usage_events")))


# What is wrong in a row: the code and the column of the refusal.
BAD_ROWS: list[tuple[dict[str, Any], int, str]] = [
    ({"prompt_tokens": "many"}, 27, "prompt_tokens"),
    ({"prompt_tokens": -1}, 72, "prompt_tokens"),
    ({"prompt_tokens": 1.5}, 27, ""),
    ({"occurred_at": "yesterday"}, 41, "occurred_at"),
    ({"event_id": "no id"}, 376, "event_id"),
    ({"cost": "1" + "0" * 40}, 69, "cost"),
    ({"cost": "0E+40"}, 69, "cost"),
    ({"failed": "maybe"}, 467, "failed"),
    ({"user_id": None}, 117, "user_id"),
    ({"tags": "none"}, 27, "tags"),
    ({"user_secret": "x"}, 117, ""),
]


def test_a_bad_row_is_the_contents_fault_and_leaves_nothing(
    writer: Writer, client: "Client"
) -> None:
    """T-62: also at the end of 10,000 good rows: a batch is one block, refused as a whole."""
    good = rows(10_000) + b"\n"

    def refused(**columns: Any) -> tuple[str, int | None, str]:
        return refusal_of(lambda: writer.insert(good + rows(**columns), token()))

    reported = [refused(**columns) for columns, _, _ in BAD_ROWS]

    assert [(Kind.CONTENT, code, column) for _, code, column in BAD_ROWS] == reported
    assert 0 == stored(client)


def test_a_broken_constraint_is_the_contents_fault_and_leaves_nothing(
    writer: Writer, client: "Client"
) -> None:
    """T-62: at the end of 10,000 good rows; the refusal names the constraint and no value."""
    client.command("ALTER TABLE usage_events ADD CONSTRAINT known_user CHECK user_id != 'nobody'")
    body = rows(10_000) + b"\n" + rows(user_id="nobody")

    refused = refusal_of(lambda: writer.insert(body, token()))

    assert (Kind.CONTENT, 469, "known_user") == refused
    assert 0 == stored(client)


@pytest.mark.parametrize(
    ("select", "columns"),
    [
        ("throwIf(user_id = 'boom', 'no')", {"user_id": "boom"}),
        ("toUInt64(user_id)", {"user_id": "boom"}),
        ("toDecimal32(total_tokens, 4)", {"total_tokens": 10**12}),
    ],
)
def test_a_view_that_fails_is_never_the_contents_fault(
    writer: Writer, client: "Client", select: str, columns: dict[str, Any]
) -> None:
    """The raw row has landed: to cut its batch would store rows twice."""
    client.command(
        f"CREATE MATERIALIZED VIEW failing ENGINE = Null AS SELECT {select} AS x FROM usage_events"
    )

    kind, _, column = refusal_of(lambda: writer.insert(rows(**columns), token()))

    assert kind != Kind.CONTENT
    assert "" == column
    assert 1 == stored(client)


def test_a_constraint_of_a_views_table_is_never_the_contents_fault(
    writer: Writer, client: "Client"
) -> None:
    """For a constraint of a rollup, the error ends with the view's name."""
    client.command("CREATE TABLE few (x UInt64, CONSTRAINT f CHECK x < 5) ENGINE = Null")
    client.command(
        "CREATE MATERIALIZED VIEW mv TO few AS SELECT total_tokens AS x FROM usage_events"
    )

    refused = refusal_of(lambda: writer.insert(rows(total_tokens=10), token()))

    assert (Kind.OPERATOR, 469, "") == refused
    assert 1 == stored(client)


def test_what_a_setting_forbids(client: "Client") -> None:
    """Limits of the user's profile, and settings that the server does not have."""
    body = rows(10_000)

    def refused(**settings: object) -> tuple[str, int | None, str]:
        return refusal_of(
            lambda: client.raw_insert(
                "usage_events", insert_block=body, fmt="JSONEachRow", settings=settings
            )
        )

    assert (Kind.SERVER, 241, "") == refused(max_memory_usage=100_000)
    assert (Kind.SERVER, 159, "") == refused(max_execution_time=0.001)
    assert (Kind.OPERATOR, 164, "") == refused(readonly=1)
    assert (Kind.OPERATOR, 115, "") == refused(no_such_setting=1)
    assert (Kind.SERVER, 27, "") == refused(max_threads="many")  # no row is to blame


def test_what_the_tables_forbid(writer: Writer, client: "Client") -> None:
    """Read-only, no space, and tables that somebody has changed."""

    def refused(*statements: str) -> tuple[str, int | None, str]:
        for statement in statements:
            client.command(statement)
        return refusal_of(lambda: writer.insert(rows(), token()))

    events = "ALTER TABLE usage_events"
    full = "MODIFY SETTING min_free_disk_bytes_to_perform_insert"
    read_only = "MODIFY SETTING table_readonly"
    assert (Kind.SERVER, 243, "") == refused(f"{events} {full} = {1 << 60}")
    assert (Kind.OPERATOR, 774, "") == refused(f"{events} {full} = 0", f"{events} {read_only} = 1")
    assert (Kind.OPERATOR, 60, "") == refused(
        f"{events} {read_only} = 0", "DROP TABLE rollup_usage_1d SYNC"
    )
    assert (Kind.OPERATOR, 16, "") == refused(f"{events} DROP COLUMN price_version")
    assert (Kind.OPERATOR, 60, "") == refused("DROP TABLE usage_events SYNC")


def test_too_many_parts_is_the_servers_trouble(writer: Writer, client: "Client") -> None:
    """Merges do not keep up."""
    client.command(
        "ALTER TABLE usage_events MODIFY SETTING"
        " parts_to_throw_insert = 2, parts_to_delay_insert = 1, max_delay_to_insert = 0"
    )
    client.command("SYSTEM STOP MERGES usage_events")
    for _ in range(2):
        writer.insert(rows(), token())

    refused = refusal_of(lambda: writer.insert(rows(), token()))

    assert (Kind.SERVER, 252, "") == refused


def test_the_tables_codes_are_the_servers(client: "Client") -> None:
    """Each code of the table has that name in ClickHouse, if it knows the code."""
    answer = client.query(
        "SELECT code, name FROM system.errors", settings={"system_events_show_zero_values": 1}
    )

    servers = {code: name for code, name in answer.result_rows}

    expected = {code: servers.get(code, known.name) for code, known in TABLE.items()}
    assert expected == {code: known.name for code, known in TABLE.items()}
    assert len(servers) > len(TABLE)
