"""Lost events through the whole pipe: the recorder reports them, and the audit shows them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.support.commands import usagepipe
from tests.support.programs import Programs
from tests.support.running_worker import metric, start_worker, wait_until_committed
from tests.support.topics import send
from tests.support.waiting import eventually
from usagepipe.producer import UsageRecorder
from usagepipe.schemas import Settings, UsageEvent, encode
from usagepipe.schemas.gap import UsageGap, encode_gap

if TYPE_CHECKING:
    from usagepipe.schemas.settings import ClickHouseAddress


def unsendable() -> UsageEvent:
    """An event that cannot be encoded: made without its checks."""
    fields = UsageEvent.new(user_id="u").model_dump() | {"cost": object()}
    return UsageEvent.model_construct(**fields)


def test_a_loss_after_the_last_event_is_reported_with_its_reason(
    settings: Callable[..., Settings], migrated: "ClickHouseAddress", run_program: Programs
) -> None:
    """The last event of a process is lost: no number is missing between others, yet the audit
    names it, its reason and its time, and does not balance."""
    world = settings()
    with UsageRecorder(world) as recorder:
        for number in range(10):
            recorder.record(UsageEvent.new(user_id=f"u-{number}"))
        recorder.record(unsendable())
        eventually(lambda: recorder.snapshot().dropped, 30, "the loss")
        lost = recorder.snapshot().dropped
        eventually(lambda: recorder.flush(1) == 0, 30, "the events to be delivered")
    worker = start_worker(run_program, world)
    wait_until_committed(world, worker)

    audit = usagepipe(world, "audit")
    as_json = usagepipe(world, "audit", "--json").json()

    ((reason, _),) = lost.items()
    gap: dict[str, Any] = as_json["sequence_gaps"][0]
    assert (1, [[11, 11]]) == (audit.status, gap["missing"])
    assert ({reason: 1}, 11) == (gap["told"][0]["lost"], gap["told"][0]["last_sequence"])
    assert f"no event has the numbers 11. It lost 1 at {gap['told'][0]['since'][:10]}" in audit.out
    assert f"UTC ({reason} 1)." in audit.out


def test_events_that_a_gap_record_has_overtaken_are_no_loss(
    settings: Callable[..., Settings], migrated: "ClickHouseAddress", run_program: Programs
) -> None:
    """After the last row only the reported numbers are lost; the others may still arrive."""
    world = settings()
    now = UsageEvent.new(user_id="u").occurred_at
    first = [UsageEvent.new(user_id="u", producer_id="p", sequence=n) for n in range(1, 11)]
    reported = UsageGap(
        producer_id="p", last_sequence=20, lost={"spill_full": 2}, since=now, until=now
    )
    values = [*map(encode, first), encode_gap(reported)]
    send(world.kafka, world.topic, values, partition=0)
    worker = start_worker(run_program, world)
    wait_until_committed(world, worker)

    audit = usagepipe(world, "audit")
    as_json = usagepipe(world, "audit", "--json").json()

    gap = as_json["sequence_gaps"][0]
    assert (1, [[11, 20]], 8) == (audit.status, gap["missing"], gap["under_way"])
    assert "no event has the numbers 11-20. It lost 2 at" in audit.out
    assert "8 of them may still be on their way" in audit.out


def test_gap_records_stop_no_worker_and_are_not_replayed(
    settings: Callable[..., Settings], migrated: "ClickHouseAddress", run_program: Programs
) -> None:
    """More gap records than the limits allow of bad ones: the worker goes on, makes letters of
    them, and `dlq replay` leaves them where they are."""
    world = settings()
    moment = UsageEvent.new(user_id="u").occurred_at
    gaps = [
        UsageGap(
            producer_id="p", last_sequence=n, lost={"queue_full": 1}, since=moment, until=moment
        )
        for n in range(1, 51)
    ]
    send(world.kafka, world.topic, map(encode_gap, gaps), partition=0)
    worker = start_worker(run_program, world, dead_letter_run=2, dead_letter_ratio=0.01)
    wait_until_committed(world, worker)

    replay = usagepipe(world, "dlq", "replay", "--yes")

    assert 50 == metric(worker, 'usagepipe_dead_letters_total{reason="gap"}')
    assert 0 == replay.status
    assert f"0 replayed to {world.topic}." in replay.out
