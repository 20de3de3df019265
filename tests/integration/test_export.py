"""`usagepipe export` writes all stored events, once and in order, or nothing."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.any_events import events as any_events
from tests.support.clickhouse_server import url_of
from tests.support.events import NOON, numbered_event
from tests.support.memory import forget_peak, needs_proc, peak_bytes
from tests.support.ports import lasting_port
from tests.support.short_answers import ShortAnswers
from tests.support.stored_events import store
from usagepipe.cli.root import run
from usagepipe.query import event_export
from usagepipe.query.event_export import export_events
from usagepipe.query.periods import EVER
from usagepipe.query.store import Store
from usagepipe.schemas import UsageEvent, UsagePipeError, encode
from usagepipe.schemas.clickhouse.client import connect
from usagepipe.schemas.errors import ServerUnavailableError
from usagepipe.schemas.export_file import ExportReader, place_of
from usagepipe.schemas.settings import ClickHouseAddress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

Output = pytest.CaptureFixture[str]


@pytest.fixture
def url(migrated: ClickHouseAddress, clickhouse_client: "Client") -> str:
    """A server with the tables in it."""
    return url_of(migrated)


def export(url: str, path: Path, *arguments: str) -> list[UsageEvent]:
    """The events that the command has written into `path`."""
    assert 0 == run(["export", "--clickhouse", url, "--output", str(path), *arguments])
    with path.open("rb") as file:
        return list(ExportReader(file))


@pytest.mark.parametrize("stretch_rows", [event_export.STRETCH_ROWS, 100, 1])
def test_the_events_of_a_range_come_out_in_the_order_of_time(
    url: str,
    clickhouse_client: "Client",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stretch_rows: int,
) -> None:
    """The first moment is in it, the last is not, in any order of arrival and with any number
    of rows read at once."""
    monkeypatch.setattr(event_export, "STRETCH_ROWS", stretch_rows)
    events = [numbered_event(number) for number in range(200)]
    store(clickhouse_client, *reversed(events[:90]))
    store(clickhouse_client, *events[90:])

    some = export(
        url, tmp_path / "some", "--from", "2026-03-01T12:10", "--to", "2026-03-01T15:00:00Z"
    )

    assert events[10:180] == some
    assert events == export(url, tmp_path / "all")
    assert [] == export(url, tmp_path / "none", "--to", "2026-03-01T12:00")


def test_an_event_comes_out_as_it_came_in(
    url: str, clickhouse_client: "Client", tmp_path: Path
) -> None:
    """Every field, costs to the last of twelve decimals, and text that would break a format."""
    text = "\x00\"'\\\n\r\u2028\u2029\t{}é\N{GRINNING FACE}"
    full = numbered_event(
        1,
        cost=Decimal("999999999.999999999999"),
        tags={"b": text, "a": "", text: "1"},
        user_name=text,
        prompt_tokens=10**12,
        sequence=2**63 - 1,
        pre_filter_prompt_tokens=0,
        failed=True,
        attempt=65_535,
        ttft_ms=10**10,
        usage_quality="partial",
    )
    bare = UsageEvent(event_id=UUID(int=0), occurred_at=NOON, user_id="u")
    least = numbered_event(
        2, cost=Decimal("0.000000000001"), occurred_at=datetime(2099, 12, 31, tzinfo=UTC)
    )
    free = numbered_event(3, cost=Decimal(0), occurred_at=datetime(2000, 1, 1, tzinfo=UTC))
    events = sorted([full, bare, least, free], key=place_of)
    store(clickhouse_client, *events)

    assert events == export(url, tmp_path / "file")

    lines = (tmp_path / "file").read_bytes().splitlines()
    assert [encode(each) for each in events] == lines[1:-1]


@settings(
    deadline=None,  # a server is asked
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the rows of all are one table
)
@given(some=st.lists(any_events, min_size=10, max_size=20, unique_by=place_of))
def test_any_event_comes_out_as_it_came_in(
    url: str, clickhouse_client: "Client", tmp_path: Path, some: list[UsageEvent]
) -> None:
    """ClickHouse keeps every value that the model accepts."""
    known = {place_of(each) for each in export(url, tmp_path / "before")}
    new = [each for each in some if place_of(each) not in known]
    store(clickhouse_client, *new)

    exported = {place_of(each): each for each in export(url, tmp_path / "after")}

    assert new == [exported.get(place_of(each)) for each in new]
    assert known | {place_of(each) for each in new} == exported.keys()


def test_an_event_that_is_stored_twice_comes_out_once(
    url: str, clickhouse_client: "Client", tmp_path: Path, capsys: Output
) -> None:
    """A message names the number of copies."""
    events = [numbered_event(number) for number in range(5)]
    store(clickhouse_client, *events)
    store(clickhouse_client, *events[2:4])

    assert events == export(url, tmp_path / "file")

    reported = capsys.readouterr().err
    assert reported.startswith("Exported 5 events.\n2 rows are copies of one of them")


def test_events_of_one_moment_stand_in_the_order_of_their_ids(
    url: str, clickhouse_client: "Client", tmp_path: Path
) -> None:
    """T-36: two requests with identical time and tokens are two events. As UUIDs, ClickHouse
    would order the ids by their second half."""
    ids = [UUID(int=first << 64 | second) for first in (1, 2, 3) for second in (1, 2)]
    same = [numbered_event(1).model_copy(update={"event_id": each}) for each in ids]
    store(clickhouse_client, *reversed(same))

    assert same == export(url, tmp_path / "file")


def test_two_exports_of_the_same_events_are_the_same_bytes(
    url: str, clickhouse_client: "Client", capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """It is on standard output; messages go to standard error."""
    store(clickhouse_client, *(numbered_event(number) for number in range(10)))

    outputs = []
    for _ in range(2):
        assert 0 == run(["export", "--clickhouse", url])
        outputs.append(capsysbinary.readouterr().out)

    assert outputs[0] == outputs[1]
    assert 12 == outputs[0].count(b"\n")


@pytest.fixture
def many(url: str, clickhouse_client: "Client") -> int:
    """So many events, of 1 kB each, in two hours."""
    count = 40_000
    step = timedelta(hours=2) / count
    for first in range(0, count, 10_000):
        numbers = range(first, first + 10_000)
        tags = {"padding": "x" * 800}
        store(
            clickhouse_client,
            *(numbered_event(n, occurred_at=NOON + n * step, tags=tags) for n in numbers),
        )
    return count


class Counted:
    """Written to, and forgotten."""

    written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)


@needs_proc
def test_memory_does_not_grow_with_the_events(
    many: int, migrated: ClickHouseAddress, url: str
) -> None:
    """Rows are read and written one by one."""
    out = Counted()
    with connect(migrated) as client:
        before = forget_peak()

        exported = export_events(Store(client), EVER, out)

        grown = peak_bytes() - before

    assert (many, 0) == (exported.events, exported.copies)
    assert out.written > 1_000 * many
    assert grown < 8 << 20, f"{grown:,}"


@pytest.fixture
def cut(many: int, migrated: ClickHouseAddress) -> Iterator[ClickHouseAddress]:
    """A server whose long answers break off."""
    proxy = ShortAnswers(migrated.port, most_bytes=2_000_000)
    yield replace(migrated, port=proxy.port)
    proxy.close()


def test_an_answer_that_breaks_off_leaves_no_file(
    cut: ClickHouseAddress, tmp_path: Path, capsys: Output
) -> None:
    """What was there stays; the status is that of a server that cannot be reached."""
    path = tmp_path / "export"
    path.write_bytes(b"yesterday's")

    status = run(["export", "--clickhouse", url_of(cut), "--output", str(path)])

    assert 3 == status
    assert "cannot be reached: its answer broke off." in capsys.readouterr().err
    assert b"yesterday's" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_an_answer_that_breaks_off_has_no_last_line(cut: ClickHouseAddress) -> None:
    """A cut export on standard output is not an export."""
    out = Counted()
    with connect(cut) as client, pytest.raises(ServerUnavailableError):
        export_events(Store(client), EVER, out)

    assert out.written > 0


@pytest.mark.parametrize("of_hours", [False, True])
def test_answer_that_a_profile_would_cut_is_refused(
    of_hours: bool,
    migrated: ClickHouseAddress,
    clickhouse_client: "Client",
    request: pytest.FixtureRequest,
) -> None:
    """A server may be configured to cut answers silently: an export is complete or fails. Neither
    its events nor the counts by hour may be cut."""
    if of_hours:
        store(clickhouse_client, *(numbered_event(60 * hour) for hour in range(40)))
    else:
        request.getfixturevalue("many")
    bounds = {"max_result_rows": 10, "max_block_size": 10, "result_overflow_mode": "break"}

    with (
        connect(migrated, settings=bounds) as client,
        pytest.raises(UsagePipeError, match="Limit for result exceeded"),
    ):
        export_events(Store(client), EVER, Counted())


def test_a_row_that_is_not_an_event_is_reported(
    url: str, clickhouse_client: "Client", tmp_path: Path, capsys: Output
) -> None:
    """Somebody wrote it there by hand: no export without it, since it counts in every sum."""
    clickhouse_client.command(
        f"INSERT INTO usage_events (event_id, occurred_at) VALUES ('{UUID(int=7)}', '2026-03-01')"
    )

    assert 1 == run(["export", "--clickhouse", url, "--output", str(tmp_path / "file")])

    reported = capsys.readouterr().err
    assert "A row of usage_events is no event: invalid_fields: user_id: String should" in reported
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "status", "reported"),
    [
        (["--from", "2026-03-02", "--to", "2026-03-02"], 2, "the end must lie after the start"),
        (["--from", "yesterday"], 2, "'yesterday' is not a date or time"),
        (["--output", "/nosuch/file"], 74, "/nosuch/file cannot be written: No such file"),
        (["--output", "/tmp"], 2, "'/tmp' is a directory"),
    ],
)
def test_an_impossible_export_is_refused_with_the_reason(
    url: str, capsys: Output, arguments: list[str], status: int, reported: str
) -> None:
    """Each with its status, as every command has it."""
    assert status == run(["export", "--clickhouse", url, *arguments])
    assert reported in capsys.readouterr().err


def test_missing_servers_and_tables_are_named(database: ClickHouseAddress, capsys: Output) -> None:
    """Status 1 and 3, with where it was looked for."""
    away = f"http://127.0.0.1:{lasting_port()}/usage"

    assert (1, 3) == tuple(
        run(["export", "--clickhouse", each]) for each in (url_of(database), away)
    )
    reported = capsys.readouterr().err
    assert "Run usagepipe migrate." in reported
    assert "ClickHouse at http://127.0.0.1" in reported
