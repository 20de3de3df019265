"""How parked partitions are shown, and which calls of `dlq release` are wrong use."""

import json

import pytest

from tests.unit.consumer.records import parked_at
from usagepipe.cli.parked_output import print_parked, print_release
from usagepipe.cli.root import run
from usagepipe.consumer.parked_partitions import Waiting
from usagepipe.consumer.parking_table import Mode
from usagepipe.schemas.settings import Settings

Output = pytest.CaptureFixture[str]
WAITING = Waiting(parked_at(120, 139), end=150)


def test_a_card_fits_a_narrow_terminal(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what waits, why, by which limits, and what to do."""
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
    """One object a line."""
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
    assert "of offsets 120-149, what is refused becomes a dead letter" in text
    assert "10 of them are after the parked range" in text


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["3"], "Say how: --letters or --retry."),
        (["--letters"], "Name the partitions, or say --all."),
        (["3", "--all", "--letters"], "Name the partitions, or say --all."),
        (["3", "--retry", "--to-offset", "9"], "--to-offset goes with --letters."),
    ],
)
def test_an_unclear_release_is_wrong_use(
    capsys: Output, arguments: list[str], problem: str
) -> None:
    """No server is asked."""
    status = run(["dlq", "release", *arguments])

    assert (2, True) == (status, problem in capsys.readouterr().err)
