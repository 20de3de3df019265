"""Gap records on their way to a real Kafka: none is lost, and none is counted as an event."""

import time
from typing import Any

import pytest

from tests.support.logs import capture_logs
from tests.support.spilling import SECONDS, Away, event, once
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.producer import UsageRecorder
from usagepipe.producer.delivery import delivery_thread
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.gap import decode_gap


def unsendable() -> UsageEvent:
    """An event that cannot be encoded: made without its checks."""
    return UsageEvent.model_construct(**(event().model_dump() | {"cost": object()}))


def lost(recorder: UsageRecorder) -> int:
    return sum(recorder.snapshot().dropped.values())


@pytest.mark.parametrize("spill", [True, False], ids=["spill", "memory"])
def test_losses_just_before_a_close_are_reported(away: Away, spill: bool) -> None:
    """Losses soon after a gap record do not wait for the next one's time when the process ends."""
    away.start()
    options = {} if spill else {"spill_dir": ""}
    with away.recorder(**options) as recorder:
        recorder.record(unsendable())
        for number in range(5):
            recorder.record(event(number))
        eventually(lambda: away.lost(recorder.producer_id).total() == 1, SECONDS, "a gap record")
        for _ in range(7):
            recorder.record(unsendable())

    assert {"invalid": 8} == recorder.snapshot().dropped == away.lost(recorder.producer_id)
    assert [] == away.files()


def test_gap_record_ends_with_the_last_lost_number(away: Away) -> None:
    """Events that came later are on their way: no gap record speaks of their numbers."""
    recorder = away.recorder(close_seconds=0.1)
    for number in range(21):
        recorder.record(unsendable() if number == 10 else event(number))
    recorder.close()
    away.deliver()

    records = read(away.kafka.bootstrap, away.topic)
    (gap,) = filter(None, (decode_gap(record.value) for record in records))
    assert ({"invalid": 1}, 11) == (gap.lost, gap.last_sequence)
    assert 20 == len(once(away.numbers()[recorder.producer_id]))


def test_gap_records_are_not_counted_as_events_kept(away: Away) -> None:
    """The line of the log that ends a process in an outage counts events, and no gap record."""
    recorder = away.recorder()
    recorder.record(unsendable())
    for number in range(5):
        recorder.record(event(number))
    eventually(lambda: away.spilled() == 6, SECONDS, "five events and a gap record on disk")

    with capture_logs() as logs:
        recorder.close(0.1)
    snapshot = recorder.snapshot()

    assert [("usage_events_kept_on_disk", 5)] == endings(logs)
    assert (6, 0, 5, 5) == (
        snapshot.recorded,
        snapshot.delivered,
        snapshot.queued,
        snapshot.spilled,
    )


def test_losses_that_end_with_the_process_are_in_its_log(away: Away) -> None:
    """Without Kafka and without a folder only a line of the log reports the losses."""
    recorder = away.recorder(spill_dir="")
    recorder.record(unsendable())
    eventually(lambda: lost(recorder), SECONDS, "the loss")

    with capture_logs() as logs:
        recorder.close(0.1)

    assert [{"invalid": 1}] == [
        line["dropped"] for line in logs if line["event"] == "usage_losses_unreported"
    ]
    assert [] == endings(logs)


def endings(logs: list[Any]) -> list[tuple[str, int]]:
    """What the log says of the events that are left at the end."""
    return [(each["event"], each["events"]) for each in logs if "usage_events_" in each["event"]]


def test_overwritten_gap_records_are_sent_again(
    away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-16: files that are given up for newer events hold gap records too: the
    remaining gap records hold their losses, and each lost event is reported once."""
    monkeypatch.setattr(delivery_thread, "REPORT_SECONDS", 0.0)  # as many as there can be
    recorder = away.recorder(spill_megabytes=1, spill_policy="oldest", close_seconds=0.1)
    large = event().model_copy(update={"tags": {f"t{n}": "x" * 2_000 for n in range(3)}})

    def record_some() -> int:
        for _ in range(20):
            recorder.record(large)
        return lost(recorder)

    eventually(lambda: record_some() > 1_000, SECONDS, "six spills full of events to be dropped")
    recorder.close()
    snapshot = recorder.snapshot()
    away.deliver()

    stored = set(away.numbers()[recorder.producer_id])
    assert {"spill_overwritten": snapshot.recorded - len(stored)} == snapshot.dropped
    assert snapshot.dropped == away.lost(recorder.producer_id)
    assert len(stored) == snapshot.queued


@pytest.mark.alone
def test_end_does_not_wait_for_long_for_what_is_on_disk(away: Away) -> None:
    """With Kafka away and every event on disk, a server ends in seconds, long before its
    supervisor kills it: the next process sends them."""
    recorder = away.recorder(close_seconds=60)
    for number in range(20):
        recorder.record(event(number))
    eventually(lambda: recorder.snapshot().spilled == 20, SECONDS, "all to be on disk")
    began = time.monotonic()

    recorder.stop()
    recorder.close()

    assert time.monotonic() - began < 10
    away.deliver()
    assert 20 == len(set(away.numbers()[recorder.producer_id]))
