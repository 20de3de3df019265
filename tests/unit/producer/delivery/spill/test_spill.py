"""The spill of one process: its bound, its policies, and where it cannot be had."""

import errno
import shutil
from pathlib import Path

import pytest

from tests.support.logs import capture_logs
from usagepipe.producer.delivery.spill import Record, Spill
from usagepipe.producer.delivery.spill import spill as module
from usagepipe.producer.delivery.spill.spill import spill_root
from usagepipe.schemas import Settings

EVENT_BYTES = 70_000  # more than a segment of the smallest spill: 14 of them fit into its MiB


def spill(folder: Path, policy: str = "newest", name: str = "me") -> Spill:
    made = Spill(Settings.load(spill_dir=str(folder), spill_megabytes=1, spill_policy=policy), name)
    made.open()
    return made


def event(number: int) -> Record:
    return b"k", b"%d" % number + b" " * EVENT_BYTES


def numbers(of: Spill) -> list[int]:
    """What is kept, oldest first."""
    found = []
    while segments := of.take(1):
        found += [int(value) for _, value in segments[0].read().records]
        of.remove(segments[0])
    return found


def test_full_spill_keeps_the_oldest(tmp_path: Path) -> None:
    """T-13: at its bound the spill takes no more; what it did not take is for others to hold."""
    full = spill(tmp_path)

    kept, given_up = full.write([event(number) for number in range(40)], ())

    assert (14, [], True) == (kept, given_up, full.is_full)
    assert full.bytes <= 1 << 20
    assert list(range(14)) == numbers(full)
    assert not full.is_full


def test_full_spill_keeps_the_newest(tmp_path: Path) -> None:
    """T-16: a capped store of 14, 40 events: the newest 14 are kept, 26 are counted."""
    full = spill(tmp_path, "oldest")

    kept, given_up = full.write([event(number) for number in range(40)], ())

    assert (40, 26, False) == (kept, sum(each.events for each in given_up), full.is_full)
    assert list(range(26, 40)) == numbers(full)


def test_what_is_under_way_is_not_given_up(tmp_path: Path) -> None:
    """Segments that are being sent stay; the next oldest goes instead."""
    full = spill(tmp_path, "oldest")
    full.write([event(number) for number in range(14)], ())

    kept, given_up = full.write([event(14)], full.take(2))

    assert (1, [1]) == (kept, [each.events for each in given_up])
    assert [0, 1, *range(3, 15)] == numbers(full)


def test_gap_records_come_back_from_what_is_given_up(tmp_path: Path) -> None:
    """An overwritten gap record is no lost event. It is handed back to be reported again."""
    full = spill(tmp_path, "oldest")
    gap = b"p", b'{"usage_gap":{}}'
    full.write_gap(gap)

    _, given_up = full.write([event(number) for number in range(40)], ())

    assert [gap] == [record for each in given_up for record in each.gaps]
    assert 40 == sum(each.events for each in given_up) + full.events == 26 + 14


def test_event_larger_than_a_segment_is_kept(tmp_path: Path) -> None:
    """The size of a segment is a rule for the many small ones, no bound for one."""
    kept, _ = spill(tmp_path).write([(b"k", b"x" * 500_000)], ())

    assert 1 == kept


def test_what_a_dead_process_left_comes_first(tmp_path: Path) -> None:
    """Adopted events are older than ours: they are sent before them, folder by folder."""
    for name in ("dead-1", "dead-2"):
        dead = spill(tmp_path, name=name)
        dead.write([event(len(name))], ())
        dead.close()
    mine = spill(tmp_path)
    mine.write([event(1)], ())

    adopted = [mine.adopt(), mine.adopt()]

    assert [True, False] == adopted  # one at a time
    assert [6, 1] == numbers(mine)
    assert mine.adopt()
    assert [6] == numbers(mine)
    mine.take(1)
    mine.close()
    assert [] == list(next(tmp_path.iterdir()).iterdir())


def test_folder_that_cannot_be_emptied_is_sent_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead process' files that cannot be deleted: they are sent, and not over and over."""
    dead = spill(tmp_path, name="dead")
    dead.write([event(number) for number in range(3)], ())
    dead.close()
    mine = spill(tmp_path)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with capture_logs() as logs:
        adopted = mine.adopt()
        sent = numbers(mine)
        again = mine.adopt()

    assert (True, [0, 1, 2], False) == (adopted, sent, again)
    assert {"spill_adopted", "spill_not_removed"} == {entry["event"] for entry in logs}


def test_folder_that_cannot_be_created_is_reported_once(tmp_path: Path) -> None:
    """A file stands in the folder's place: the spill is not to be had, and nothing raises."""
    (tmp_path / "taken").write_text("a file")

    with capture_logs() as logs:
        without = spill(tmp_path / "taken")
        kept = without.write([event(1)], ())

    assert ["spill_unavailable"] == [entry["event"] for entry in logs]
    assert ((0, []), False, False) == (kept, without.takes_events, without.adopt())
    without.close()


def test_folder_that_cannot_be_made_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was full when the process began need not keep it without a spill for life."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)
    (tmp_path / "taken").write_text("a file")

    with capture_logs() as logs:
        later = spill(tmp_path / "taken")
        later.open()
        (tmp_path / "taken").unlink()
        later.open()
        later.open()

    assert ["spill_unavailable", "spill_available"] == [entry["event"] for entry in logs]
    assert 1 == later.write([event(1)], ()).records


@pytest.mark.parametrize("what", ["folder", "root"])
def test_folder_that_somebody_deletes_is_made_again(tmp_path: Path, what: str) -> None:
    """The process goes on in a new one, which it holds; what is gone is counted, to the event."""
    mine = spill(tmp_path)
    mine.write([event(1), event(2)], ())
    folder = next(next(tmp_path.iterdir()).iterdir())
    shutil.rmtree(folder if what == "folder" else folder.parent)

    kept, _ = mine.write([event(3)], ())

    found = [segment.read() for segment in mine.take(10)]
    assert (1, 2, [3]) == (
        kept,
        sum(each.lost for each in found),
        [int(value) for each in found for _, value in each.records],
    )
    assert folder.exists()
    assert not spill(tmp_path, name="other").adopt()
    mine.close()
    assert spill(tmp_path, name="another").adopt()


def test_no_folder_is_touched_where_none_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty setting switches the spill off, without a word."""
    monkeypatch.chdir(tmp_path)

    with capture_logs() as logs:
        off = Spill(Settings.load(spill_dir=""), "me")
        off.open()

    assert ([], [], False) == (logs, list(tmp_path.iterdir()), off.takes_events)


def test_failed_write_is_reported_once_and_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's place is taken: what was not written is the caller's, until a later attempt."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)
    broken = spill(tmp_path / "spill")
    (tmp_path / "spill").rename(tmp_path / "away")
    (tmp_path / "spill").write_text("a file")

    with capture_logs() as logs:
        kept, _ = broken.write([event(1)], ())
    (tmp_path / "spill").unlink()
    (tmp_path / "away").rename(tmp_path / "spill")
    again, _ = broken.write([event(1)], ())

    assert ["spill_write_failed"] == [entry["event"] for entry in logs]
    assert (0, 1) == (kept, again)


def test_each_topic_and_each_cluster_has_its_own_files(tmp_path: Path) -> None:
    """Events are never sent to another topic or cluster than they were recorded for."""
    given = [("a:1,b:2", "t1"), ("b:2,a:1", "t1"), ("c:3", "t1"), ("a:1,b:2", "t2")]

    roots = [
        spill_root(Settings.load(spill_dir=str(tmp_path), kafka=kafka, topic=topic))
        for kafka, topic in given
    ]

    assert roots[0] == roots[1]
    assert 3 == len(set(roots))


def test_default_folder_is_the_users_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` follows the XDG convention."""
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    with_variable = Settings.load().spill_path
    monkeypatch.delenv("XDG_STATE_HOME")

    assert Path("/xdg/usagepipe") == with_variable
    assert Path("~/.local/state/usagepipe").expanduser() == Settings.load().spill_path
