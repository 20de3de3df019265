"""An audit balances only if nothing is missing, double or wrong."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from usagepipe.consumer.log.offset_ranges import OffsetRange, size
from usagepipe.consumer.maintenance.audit_result import Audit, PartitionAudit
from usagepipe.consumer.maintenance.audit_sequences import SequenceGap
from usagepipe.consumer.rollups.verification import Difference

WHOLE = PartitionAudit(0, 10, 100, 100, stored=90)
AUDIT = Audit("t", "id", "g", (WHOLE,), (), 0, (), (), "", None)
RANGE = (OffsetRange(20, 24),)
GAP = SequenceGap("p", (OffsetRange(3, 4),))
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def test_a_whole_audit_balances() -> None:
    """All is stored and every sum is right."""
    assert AUDIT.balances
    assert 0 == AUDIT.waiting


@pytest.mark.parametrize(
    "broken", [{"missing": RANGE}, {"doubled": RANGE}, {"expired": 3}, {"problem": "another topic"}]
)
def test_a_partition_that_is_not_whole_fails_the_audit(broken: dict[str, Any]) -> None:
    """What is lost, stored twice or not known is no balance."""
    assert not replace(AUDIT, partitions=(WHOLE, replace(WHOLE, **broken))).balances


@pytest.mark.parametrize(
    "explained",
    [
        {"dead_letters": RANGE},
        {"duplicates": RANGE},
        {"control_records": RANGE},
        {"raw_expired": RANGE},
        {"beyond": 7},
    ],
)
def test_what_is_explained_fails_nothing(explained: dict[str, Any]) -> None:
    """Dead letters, duplicates, control records and expired rows account for their offsets."""
    assert replace(AUDIT, partitions=(replace(WHOLE, **explained),)).balances


@pytest.mark.parametrize(
    "wrong",
    [
        {"extra_rows": 1},
        {"differences": (Difference("rollup_usage_1d", NOON, {}, {"requests": 1}),)},
        {"undecided": "written all the time"},
        {"gaps": (GAP,)},
    ],
)
def test_what_is_wrong_in_the_tables_fails_the_audit(wrong: dict[str, Any]) -> None:
    """Events stored twice, rollups that differ or could not be compared, lost numbers."""
    assert not replace(AUDIT, **wrong).balances


def test_gaps_fail_nothing_where_rows_have_left_raw() -> None:
    """The numbers may have been in them."""
    expired = replace(WHOLE, raw_expired=RANGE)

    assert not replace(AUDIT, gaps=(GAP,)).balances
    assert replace(AUDIT, partitions=(expired,), gaps=(GAP,)).balances


def test_gaps_fail_nothing_while_there_is_a_backlog() -> None:
    """The numbers may be in what is not stored yet."""
    lagging = PartitionAudit(0, 10, 100, 60, stored=50, pending=(OffsetRange(60, 69),))

    assert replace(AUDIT, partitions=(lagging,), gaps=(GAP,)).balances
    assert (90, 30) == (lagging.log, lagging.backlog)
    assert lagging.log == lagging.stored + size(lagging.pending) + lagging.backlog


def test_numbers_that_may_be_on_their_way_fail_nothing() -> None:
    """A producer reported losses elsewhere; one number more than it reported is a loss."""
    awaited = replace(GAP, under_way=2)

    assert replace(AUDIT, gaps=(awaited,)).balances
    assert not replace(AUDIT, gaps=(awaited, replace(awaited, under_way=1))).balances
