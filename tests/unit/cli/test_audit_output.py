"""How an audit is printed."""

from dataclasses import replace

import pytest

from tests.unit.consumer.maintenance.test_audit_result import AUDIT, WHOLE
from usagepipe.cli.audit_output import print_audit

Output = pytest.CaptureFixture[str]


def test_a_group_without_offsets_may_be_a_wrong_name(capsys: Output) -> None:
    """Another group has stored everything."""
    print_audit(replace(AUDIT, partitions=(replace(WHOLE, committed=None),)), as_json=False)

    assert (
        "It balances, but the group g has no committed offsets. Is the group name right?"
        == capsys.readouterr().out.splitlines()[-1]
    )


def test_json_keeps_scripts_readable(capsys: Output) -> None:
    """Control characters of a terminal are escaped."""
    print_audit(replace(AUDIT, undecided="Zoë\u202e"), as_json=True)

    assert '"Zoë\\u202e"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("unconsumed", "named"), [((2,), "partition 2,"), ((2, 3, 4, 7), "partitions 2-4, 7,")]
)
def test_partitions_that_nobody_consumes_are_named(
    capsys: Output, unconsumed: tuple[int, ...], named: str
) -> None:
    """One partition is in the singular."""
    print_audit(replace(AUDIT, unconsumed=unconsumed), as_json=False)

    assert f"Nobody consumes {named} where records wait" in capsys.readouterr().out
