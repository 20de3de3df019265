"""How a status is printed."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.fake_records import parked_at
from usagepipe.cli.status_output import print_status
from usagepipe.consumer.maintenance.status import Status
from usagepipe.consumer.topics.group_offsets import Member

Output = pytest.CaptureFixture[str]
STATUS = Status(datetime(2026, 1, 15, tzinfo=UTC), "t", "g", "dead", (), (), (), {}, ())


@pytest.mark.parametrize(
    ("state", "members", "sentence"),
    [
        ("dead", (), "Group g on t does not exist yet."),
        ("empty", (), "Group g on t: empty, no members."),
        ("stable", (Member("c", "", (0,)),), "Group g on t: stable, 1 member."),
    ],
)
def test_the_first_line_is_the_state_of_the_group(
    capsys: Output, state: str, members: tuple[Member, ...], sentence: str
) -> None:
    """Kafka reports a missing group as dead."""
    print_status(replace(STATUS, state=state, members=members), as_json=False)

    assert sentence == capsys.readouterr().out.splitlines()[0]


def test_a_parked_partition_fits_the_terminal(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Range, reason and cure, as `dlq parked` prints them."""
    monkeypatch.setenv("COLUMNS", "80")

    print_status(replace(STATUS, parked=(parked_at(120, 139),)), as_json=False)

    shown = capsys.readouterr().out
    assert 80 >= max(map(len, shown.splitlines()))
    text = " ".join(shown.split())
    assert "Partition 3 of usage.events.v1 is parked" in text
    assert "offsets: 120-139" in text
    assert "why: 20 of 20 records are refused" in text
    assert "what to do: Nothing is lost" in text


def test_json_keeps_scripts_readable(capsys: Output) -> None:
    """A client id comes from another program."""
    client_id = "Zoë\u202e"

    print_status(replace(STATUS, members=(Member(client_id, "", ()),)), as_json=True)

    shown = capsys.readouterr().out
    assert "Zoë\\u202e" in shown
    assert client_id == json.loads(shown)["members"][0]["client_id"]
