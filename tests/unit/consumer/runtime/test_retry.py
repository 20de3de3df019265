"""What a failed attempt to store logs, and what health shows after any end of it."""

import asyncio
from functools import partial

import pytest
from structlog.testing import capture_logs

from usagepipe.consumer.runtime.causes import brief
from usagepipe.consumer.runtime.health import Health
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.consumer.runtime.retry import ContentRefusedError, Retrier


class DatabaseError(Exception):
    """Like that of clickhouse-connect: the code is in the text only."""


REFUSED = """Received ClickHouse exception, code: 27, server response: Code: 27. DB::Exception: \
Cannot parse input: expected '"' before: ',678Z","user_id":"ada@example.org"}': (at row 1): While \
executing JSONEachRowRowInputFormat. (CANNOT_PARSE_INPUT_ASSERTION_FAILED) (version 26.9.2.1)"""


@pytest.mark.parametrize(
    ("error", "reported"),
    [
        (DatabaseError(REFUSED), "DatabaseError: code 27 CANNOT_PARSE_INPUT_ASSERTION_FAILED"),
        (DatabaseError("Code: 60. DB::Exception: cut"), "DatabaseError: code 60 UNKNOWN_TABLE"),
        (ConnectionError("away\nfor long"), "ConnectionError: away"),
    ],
)
def test_an_error_is_one_line_without_what_it_quotes(error: Exception, reported: str) -> None:
    """ClickHouse quotes the rows it refuses: ids and tags of users have no place in a log."""
    assert reported == brief(error)


def _failures(metrics: WorkerMetrics, kind: str) -> float | None:
    labels = {"server": "clickhouse", "kind": kind}
    return metrics.registry.get_sample_value("usagepipe_store_failures_total", labels)


def test_trouble_ends_with_the_partition_worker_that_had_it() -> None:
    """A batch whose partition went to another worker is no trouble of this worker any more."""
    health = Health(assigned=True)
    failed = asyncio.Event()

    async def fail() -> None:
        failed.set()
        raise TimeoutError

    async def give_up() -> tuple[str, str]:
        trying = asyncio.create_task(
            Retrier(WorkerMetrics(), health)("clickhouse", "t[0]@0-9", fail)
        )
        await failed.wait()
        await asyncio.sleep(0)
        while_trying = health.state
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        return while_trying, health.state

    assert ("degraded", "running") == asyncio.run(give_up())


def test_the_same_trouble_of_all_partitions_is_one_warning() -> None:
    """Each other cause has its own, and every attempt is counted."""
    metrics = WorkerMetrics()
    retry = Retrier(metrics, Health())
    answers = {place: [TimeoutError(), ConnectionRefusedError()] for place in ("t[0]", "t[1]")}

    async def fail(place: str) -> None:
        if answers[place]:
            raise answers[place].pop()

    async def store() -> None:
        await asyncio.gather(
            *(retry("clickhouse", place, partial(fail, place)) for place in answers)
        )

    with capture_logs() as logs:
        asyncio.run(store())

    warnings = [each["error"] for each in logs if each["log_level"] == "warning"]
    assert ["ConnectionRefusedError: ", "TimeoutError: "] == warnings
    assert 4 == _failures(metrics, "server")


def test_refused_content_is_no_trouble_of_the_server() -> None:
    """It is counted by its kind, and the caller divides the batch."""
    health = Health(assigned=True)
    metrics = WorkerMetrics()

    async def refuse() -> None:
        text = "Code: 27. DB::Exception: Cannot parse input: (at row 1)"
        raise DatabaseError(text)

    with pytest.raises(ContentRefusedError):
        asyncio.run(Retrier(metrics, health)("clickhouse", "t[0]@0-9", refuse))

    assert "running" == health.state
    assert 1 == _failures(metrics, "content")
