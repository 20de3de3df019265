"""The losses of a process: counted from any thread, reported once, and never forgotten."""

from datetime import UTC, datetime
from itertools import chain, repeat

import pytest

from usagepipe.producer.delivery import losses as module
from usagepipe.producer.delivery.losses import GapReporter
from usagepipe.producer.delivery.spill import Record
from usagepipe.schemas.gap import UsageGap, decode_gap


def reported(record: Record | None) -> UsageGap:
    """What a gap record says."""
    assert record is not None
    gap = decode_gap(record[1])
    assert gap is not None
    return gap


def test_losses_are_reported_once() -> None:
    """One record sums up what was lost since the last, with the greatest of the lost numbers."""
    reporter = GapReporter("p")
    began = datetime.now(UTC).replace(microsecond=0)
    reporter.lost("queue_full", 2, 7)
    reporter.lost("too_large", 1, 5)

    gap, nothing = reported(reporter.next_record(0)), reporter.next_record(0)

    assert ("p", {"queue_full": 2, "too_large": 1}, 7) == (
        gap.producer_id,
        gap.lost,
        gap.last_sequence,
    )
    assert began <= gap.since <= gap.until <= datetime.now(UTC)
    assert nothing is None


def test_the_first_loss_is_reported_at_once_and_later_ones_at_intervals() -> None:
    """Losses that go on make a record at their beginning and one a pause, not one each."""
    reporter = GapReporter("p")
    reporter.lost("queue_full", 1, 1)
    first = reporter.next_record(30)
    reporter.lost("queue_full", 1, 2)

    assert 1 == reported(first).last_sequence
    assert reporter.next_record(30) is None
    assert 2 == reported(reporter.next_record(0)).last_sequence


def test_gap_record_that_does_not_arrive_is_sent_again() -> None:
    """The next one has its losses and times, at once; events are not sent again."""
    reporter = GapReporter("p")
    reporter.lost("queue_full", 2, 7)
    record = reporter.next_record(30)
    assert record is not None
    reporter.lost("too_large", 1, 3)

    reporter.report_again([(b"k", b'{"schema_version":1}'), record])
    again = reported(reporter.next_record(30))

    assert ({"queue_full": 2, "too_large": 1}, 7) == (again.lost, again.last_sequence)
    assert reported(record).since == again.since


def test_losses_are_pending_until_kafka_has_all_records() -> None:
    """A waiter also waits for the delivery of the record, and for losses meanwhile."""
    reporter = GapReporter("p")
    states = [reporter.is_pending]
    reporter.lost("queue_full", 1, 1)
    reporter.arrived()
    states.append(reporter.is_pending)
    reporter.next_record(0)
    states.append(reporter.is_pending)
    reporter.arrived()
    states.append(reporter.is_pending)

    assert [False, True, True, False] == states


@pytest.mark.parametrize("year", [1970, 2200])
def test_clock_that_is_wrong_by_decades_hides_no_loss(
    monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    """A machine that boots in 1970 reports its losses with the nearest valid time of a record,
    and with the right time once it knows it."""
    now = datetime.now(UTC)
    moments = chain([now.replace(year=year, month=1, day=1)], repeat(now))

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Clock":
            return next(moments)  # type: ignore[return-value]

    monkeypatch.setattr(module, "datetime", Clock)
    reporter = GapReporter("p")
    reporter.lost("queue_full", 1, 1)
    reporter.lost("queue_full", 1, 2)

    gap = reported(reporter.next_record(0))

    years = (2000, now.year) if year < now.year else (now.year, 2099)
    assert ({"queue_full": 2}, years) == (gap.lost, (gap.since.year, gap.until.year))
