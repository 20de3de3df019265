"""How parked partitions are shown, and which calls of `dlq release` are wrong use."""

import json
from dataclasses import replace

import pytest

from tests.support.fake_records import parked_at
from usagepipe.cli import dlq_parked
from usagepipe.cli.parked_output import print_parked, print_release
from usagepipe.cli.root import run
from usagepipe.consumer.maintenance.dlq_parked import ParkedPartition
from usagepipe.consumer.parking.table import Mode
from usagepipe.schemas.settings import Settings

Output = pytest.CaptureFixture[str]
WAITING = ParkedPartition(parked_at(120, 139), end=150)


def test_a_card_fits_a_narrow_terminal(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the waiting range, the reasons, the limits and the cure."""
    monkeypatch.setenv("COLUMNS", "80")

    print_parked([WAITING], Settings(), as_json=False)

    shown = capsys.readouterr().out
    assert 80 >= max(map(len, shown.splitlines()))
    text = " ".join(shown.split())
    assert "Partition 3 of usage.events.v1 is parked" in text
    assert "offsets: 120-139; 10 more wait after them" in text
    assert "20 of 20 records are refused (not_json 20): 20 in a row" in text
    assert "not_json at offset 120: no JSON" in text
    assert "USAGEPIPE_DEAD_LETTER_RUN=10, USAGEPIPE_DEAD_LETTER_RATIO=0.2" in text
    assert "usagepipe dlq release 3 --letters" in text


def test_json_has_the_same_for_programs(capsys: Output) -> None:
    """Each line is one object."""
    print_parked([WAITING], Settings(), as_json=True)

    shown = json.loads(capsys.readouterr().out)
    assert (3, 120, 139, 10, None) == tuple(
        shown[name]
        for name in ("partition", "first_offset", "last_offset", "offsets_after_it", "release")
    )


def test_a_release_says_what_no_worker_has_read(capsys: Output) -> None:
    """The operator saw the reasons of the parked range only."""
    print_release(WAITING, Mode.LETTERS, 149)

    text = " ".join(capsys.readouterr().out.split())
    assert "in offsets 120-149, refused records become dead letters" in text
    assert "10 of them are after the parked range" in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["3"], "Give one of --letters and --retry."),
        (["3", "--letters", "--retry"], "Give one of --letters and --retry."),
        (["--all", "--retry", "--letters"], "Give one of --letters and --retry."),
        (["--letters"], "Name the partitions, or give --all."),
        (["3", "--all", "--letters"], "Name the partitions, or give --all."),
        (["3", "--retry", "--last-offset", "9"], "--last-offset needs --letters."),
    ],
)
def test_an_unclear_release_is_wrong_use(
    capsys: Output, arguments: list[str], problem: str
) -> None:
    """No server is asked."""
    status = run(["dlq", "release", *arguments])

    assert (2, True) == (status, problem in capsys.readouterr().err)


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Partition 3 is parked at 120-139, its log ends at 150; partition 4 is as long as its range.

    What is released: partitions with the last offset.
    """
    two = parked_at(120, 139)
    short = replace(two, partition=two.partition._replace(partition=4))
    noted: list[tuple[int, int]] = []

    def read(settings: Settings) -> list[ParkedPartition]:
        return [WAITING, ParkedPartition(short, end=140)]

    def release(
        settings: Settings, waiting: ParkedPartition, mode: Mode, last: int, author: str
    ) -> None:
        noted.append((waiting.parked.partition.partition, last))

    monkeypatch.setattr(dlq_parked, "read_parked_partitions", read)
    monkeypatch.setattr(dlq_parked, "release_partition", release)
    return noted


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["3"], [(3, 149)]),
        (["3", "--last-offset", "149"], [(3, 149)]),
        (["3", "--last-offset", "120"], [(3, 120)]),
        (["--all"], [(3, 149), (4, 139)]),
    ],
)
def test_a_release_ends_at_an_offset_of_the_log(
    released: list[tuple[int, int]], arguments: list[str], expected: list[tuple[int, int]]
) -> None:
    """The default is the last offset at this moment."""
    assert 0 == run(["dlq", "release", *arguments, "--letters"])
    assert expected == released


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["3", "--last-offset", "150"],
            "--last-offset 150 is after the end of partition 3: its last offset is 149."
            " Give an offset from 120 to 149, or leave the option out for 149.",
        ),
        (["3", "--last-offset", "9999999"], "--last-offset 9999999 is after the end"),
        (["3", "--last-offset", "119"], "--last-offset 119 is before the parked range 120-139."),
        (["--all", "--last-offset", "145"], "is after the end of partition 4: its last offset"),
    ],
)
def test_an_offset_outside_the_log_releases_nothing(
    capsys: Output, released: list[tuple[int, int]], arguments: list[str], problem: str
) -> None:
    """Future records must still count against the limits."""
    status = run(["dlq", "release", *arguments, "--letters"])

    assert (2, []) == (status, released)
    assert problem in capsys.readouterr().err
