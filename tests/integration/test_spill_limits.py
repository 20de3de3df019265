"""Where the spill ends: its bound, a full disk, a folder that takes nothing, a damaged file."""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.logs import capture_logs
from tests.support.spilling import SECONDS, Away, event, once
from tests.support.waiting import eventually
from usagepipe.producer.delivery.spill import spill


@pytest.mark.alone
def test_full_queue_goes_to_disk(away: Away) -> None:
    """T-13: Kafka away and more events than the queue holds: all are kept, and none waits."""
    slow = 0
    with away.recorder(queue_events=1_000, close_seconds=0.1) as recorder:
        for number in range(5_000):
            began = time.perf_counter()
            accepted = recorder.record(event(number))
            slow += time.perf_counter() - began > 0.1
            assert accepted
            if number % 500 == 499:
                least = number - 500
                eventually(lambda: recorder.snapshot().spilled > least, SECONDS)  # noqa: B023

    assert ({}, 5_000) == (recorder.snapshot().dropped, recorder.snapshot().spilled)
    assert slow < 5  # none waits for the disk; a busy machine may pause a few


@pytest.mark.parametrize(
    ("policy", "reason"), [("newest", "spill_full"), ("oldest", "spill_overwritten")]
)
def test_full_spill_counts_what_is_dropped(away: Away, policy: str, reason: str) -> None:
    """T-13, T-16: what the disk does not hold is counted, by policy, leaves a gap in the numbers,
    and is in gap records, which the full spill keeps."""
    recorder = away.recorder(spill_megabytes=1, spill_policy=policy, close_seconds=0.1)
    large = event().model_copy(update={"tags": {f"t{n}": "x" * 2_000 for n in range(3)}})
    attempts: list[bool] = []

    def record_some() -> int:
        attempts.extend(recorder.record(large) for _ in range(20))
        return recorder.snapshot().dropped.get(reason, 0)

    eventually(lambda: record_some() > 100, SECONDS, "100 events to be dropped")
    recorder.close()
    snapshot = recorder.snapshot()
    away.deliver()

    numbers = away.numbers()[recorder.producer_id]
    missing = set(range(1, len(attempts) + 1)) - set(numbers)
    assert sum(snapshot.dropped.values()) == len(missing)
    assert snapshot.dropped == away.lost(recorder.producer_id)
    assert (snapshot.recorded, snapshot.queued) == (sum(attempts), len(set(numbers)))
    assert sorted(set(numbers)) == once(numbers)
    assert (policy == "oldest") == (len(attempts) in numbers)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    yield from _mounted(tmp_path / "small", "size=256k,mode=0700")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that takes no writes, not even root's."""
    yield from _mounted(tmp_path / "read-only", "ro,size=256k")


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here: that takes root and the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_reported_and_memory_takes_over(away: Away, small_disk: Path) -> None:
    """The disk is full in the middle: no record() fails, and Kafka gets all when it is back."""
    world = replace(away, folder=small_disk)
    with world.recorder() as recorder, capture_logs() as logs:
        accepted = [recorder.record(event(number)) for number in range(3_000)]
        eventually(lambda: "spill_write_failed" in [e["event"] for e in logs], SECONDS, "a warning")
        away.start()
        left = recorder.flush(SECONDS)
        snapshot = recorder.snapshot()

    assert (0, {True}) == (left, set(accepted))
    assert 0 < snapshot.spilled < 3_000
    assert ({}, 3_000) == (snapshot.dropped, snapshot.delivered)
    assert list(range(1, 3_001)) == once(away.numbers()[recorder.producer_id])


def test_read_only_folder_is_reported_and_memory_takes_over(
    away: Away, read_only_disk: Path
) -> None:
    """No folder can be made: one warning, and events wait in memory as they would without one."""
    world = replace(away, folder=read_only_disk)
    with world.recorder() as recorder, capture_logs() as logs:
        accepted = [recorder.record(event(number)) for number in range(500)]
        waiting = recorder.flush(1)
        away.start()
        left = recorder.flush(SECONDS)

    assert (500, 0, {True}) == (waiting, left, set(accepted))
    assert 1 == [e["event"] for e in logs].count("spill_unavailable")
    assert {recorder.producer_id: list(range(1, 501))} == away.numbers()


def test_folder_that_comes_late_is_used(away: Away, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was not there when the process began: what waits in memory goes to it when it is,
    and outlives the process."""
    monkeypatch.setattr(spill, "AGAIN_SECONDS", 0.0)
    away.folder.write_text("a file")
    recorder = away.recorder()
    with capture_logs() as logs:
        for number in range(500):
            recorder.record(event(number))
        eventually(lambda: "spill_unavailable" in [e["event"] for e in logs], SECONDS, "a warning")
        away.folder.unlink()
        eventually(lambda: recorder.snapshot().spilled == 500, SECONDS, "all to be on disk")
    recorder.close(0.1)
    away.deliver()

    assert {} == recorder.snapshot().dropped
    assert list(range(1, 501)) == once(away.numbers()[recorder.producer_id])


def test_damaged_file_costs_what_is_damaged(away: Away) -> None:
    """A disk that got a byte wrong: that event is counted as lost, all others are sent."""
    recorder = away.recorder()
    for number in range(100):
        recorder.record(event(number))
    recorder.close(0.1)
    (path,) = away.files()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)

    following = away.deliver()

    assert {"spill_damaged": 1} == following.snapshot().dropped
    assert 99 == len(once(away.numbers()[recorder.producer_id]))


def test_file_that_cannot_be_read_for_a_while_costs_nothing(away: Away) -> None:
    """A failed read loses nothing: the file is read again each second, and then sent."""
    with away.recorder(spill_megabytes=1) as recorder, capture_logs() as logs:
        for number in range(1_000):
            recorder.record(event(number))
        eventually(lambda: recorder.snapshot().spilled == 1_000, SECONDS, "all to be on disk")
        path = away.files()[-1]  # the first one has been read, to be sent
        path.rename(path.with_suffix(".moved"))
        path.symlink_to(path.with_suffix(".moved"))  # no link is followed, not even by root
        away.start()
        eventually(lambda: "spill_not_read" in [e["event"] for e in logs], SECONDS, "a failed read")
        path.with_suffix(".moved").rename(path)
        left = recorder.flush(SECONDS)
        snapshot = recorder.snapshot()

    assert (0, {}, 1_000) == (left, snapshot.dropped, snapshot.delivered)
    assert list(range(1, 1_001)) == once(away.numbers()[recorder.producer_id])
