"""Which cost of a row counts, by each rule."""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.fake_records import PARTITION, FakeRecord
from tests.support.hostile import event_json
from usagepipe.consumer.rows.pricing import OWN_COSTS, Pricing, PricingName
from usagepipe.consumer.rows.rows import encode_rows, price_lines
from usagepipe.schemas.prices import Pricer, builtin_book
from usagepipe.schemas.settings.storage import CostRule

PRICER = Pricer(builtin_book())
CLAUDE = {
    "provider": "anthropic",
    "model": "claude-3-haiku-20240307",
    "prompt_tokens": 1_000_000,
    "total_tokens": 1_000_000,
}
UNKNOWN = CLAUDE | {"model": "no-such-model"}
REPORTED = {"cost": "0.5", "cost_source": "reported", "price_version": "p-1"}


def row_of(rule: CostRule, fields: dict[str, Any]) -> dict[str, Any]:
    pricing = Pricing(rule, PRICER)
    value = event_json(**fields)
    body = encode_rows([FakeRecord(1, value)], PARTITION, "topic-id", 0, pricing).body
    row: dict[str, Any] = json.loads(bytes(body))
    return row


def costs(row: dict[str, Any]) -> tuple[Decimal | None, str, Decimal | None, str]:
    cost, reported = row.get("cost"), row.get("reported_cost")
    return (
        None if cost is None else Decimal(cost),
        row.get("cost_source", ""),
        None if reported is None else Decimal(reported),
        row.get("price_version", ""),
    )


SOURCE_ALONE = CLAUDE | {"cost_source": "reported"}
VERSION = PRICER.version
HALF, QUARTER = Decimal("0.5"), Decimal("0.25")
CASES = [
    (CostRule.REPORTED_FIRST, CLAUDE, (QUARTER, "priced", None, VERSION)),
    (CostRule.REPORTED_FIRST, CLAUDE | REPORTED, (HALF, "reported", HALF, "p-1")),
    (CostRule.REPORTED_FIRST, CLAUDE | {"cost": "0.5"}, (HALF, "stamped", HALF, "")),
    (CostRule.REPORTED_FIRST, UNKNOWN, (None, "", None, "")),
    (CostRule.PRICES_FIRST, CLAUDE | REPORTED, (QUARTER, "priced", HALF, VERSION)),
    (CostRule.PRICES_FIRST, UNKNOWN | REPORTED, (HALF, "reported", HALF, "p-1")),
    (CostRule.PRICES_ONLY, CLAUDE | REPORTED, (QUARTER, "priced", HALF, VERSION)),
    (CostRule.PRICES_ONLY, UNKNOWN | REPORTED, (None, "", HALF, "")),
    (CostRule.REPORTED_ONLY, CLAUDE, (None, "", None, "")),
    (CostRule.REPORTED_ONLY, CLAUDE | REPORTED, (HALF, "reported", HALF, "p-1")),
    (
        CostRule.REPORTED_FIRST,
        CLAUDE | {"cost_source": "reported"},
        (QUARTER, "priced", None, VERSION),
    ),
]


@pytest.mark.parametrize(("rule", "fields", "expected"), CASES)
def test_the_rule_decides_which_cost_counts(
    rule: CostRule, fields: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    """The cost, its source, the event's own cost, and the price version."""
    assert expected == costs(row_of(rule, fields))


PART = {"cost": "0", "cost_source": "reported", "sequence": 8, "part": 1}
WITH_PARTS = [  # the main row, the part, and the costs of both
    (CLAUDE, CLAUDE, QUARTER, QUARTER),
    (CLAUDE, UNKNOWN, QUARTER, None),  # its 0 would be a lie
    (UNKNOWN, CLAUDE, HALF, Decimal(0)),  # the half dollar includes it
    (UNKNOWN, UNKNOWN, HALF, Decimal(0)),
]


@pytest.mark.parametrize(("main", "part", "cost", "part_cost"), WITH_PARTS)
def test_a_request_s_own_cost_covers_the_calls_inside_its_answer(
    main: dict[str, Any], part: dict[str, Any], cost: Decimal, part_cost: Decimal | None
) -> None:
    """With prices first, a part is paid by the book or by the request, and never by both."""
    values = [
        event_json(**{**main, **REPORTED, "producer_id": "p", "sequence": 7}),
        event_json(**{**part, **PART, "producer_id": "p"}),
        event_json(**{**UNKNOWN, **PART, "producer_id": "other"}),  # of a request in another batch
    ]
    records = [FakeRecord(n, value) for n, value in enumerate(values)]

    body = encode_rows(records, PARTITION, "topic-id", 0, Pricing(CostRule.PRICES_FIRST, PRICER))

    found = [costs(json.loads(line))[0] for line in bytes(body.body).splitlines()]
    assert [cost, part_cost, None] == found


@pytest.mark.parametrize("rule", CostRule)
def test_a_cost_that_was_priced_before_stays(rule: CostRule) -> None:
    """An import restores the costs of the export, whatever the prices are now."""
    fields = CLAUDE | {
        "cost": "0.125",
        "cost_source": "priced",
        "price_version": "0123456789abcdef",
        "reported_cost": "0.5",
    }

    row = row_of(rule, fields)

    assert (Decimal("0.125"), "priced", HALF, "0123456789abcdef") == costs(row)


@pytest.mark.parametrize("rule", CostRule)
def test_an_announcement_names_rule_and_book(rule: CostRule) -> None:
    """What is read is what was written; without prices nothing is written."""
    name = Pricing(rule, PRICER).name

    assert name == PricingName.decode(name.encode())
    assert "" == OWN_COSTS.name.encode()


@pytest.mark.parametrize("text", ["x", "prices-first", "prices-first:", "later:0123456789abcdef"])
def test_an_unknown_pricing_is_refused(text: str) -> None:
    """A worker never guesses the prices of an announcement."""
    with pytest.raises(ValueError, match=r"."):
        PricingName.decode(text)


def test_rows_are_priced_later_as_at_once() -> None:
    """A repair finds the missing rows first, and prices only those that it stores."""
    pricing = Pricing(CostRule.REPORTED_FIRST, PRICER)
    values = [event_json(**fields) for fields in (CLAUDE, UNKNOWN, CLAUDE | REPORTED)]
    records = [FakeRecord(offset, value) for offset, value in enumerate(values)]
    at_once = encode_rows(records, PARTITION, "topic-id", 0, pricing)
    unpriced = encode_rows(records, PARTITION, "topic-id", 0)

    later = price_lines(bytes(unpriced.body).splitlines(), pricing)

    assert bytes(at_once.body).splitlines() == later
    assert ["priced", "", "reported"] == at_once.sources
    assert ["priced", "reported"] == at_once.without({1}).sources


class BrokenPricer(Pricer):
    """A mistake in the code: it fails for one model."""

    def prices(self, usages: Iterable[Any]) -> Any:
        for usage in usages:
            if usage.model == UNKNOWN["model"]:
                raise KeyError(usage.user_id)
        return super().prices(usages)


def test_a_pricer_that_fails_leaves_its_events_unpriced() -> None:
    """The batch is stored, and the log has the place of the mistake, but no value of an event."""
    pricing = Pricing(CostRule.REPORTED_FIRST, BrokenPricer(builtin_book()))
    values = [event_json(**fields) for fields in (CLAUDE, UNKNOWN, UNKNOWN, CLAUDE)]
    records = [FakeRecord(offset, value) for offset, value in enumerate(values)]

    with capture_logs() as logs:
        rows = encode_rows(records, PARTITION, "topic-id", 0, pricing)

    (entry,) = logs
    assert ["priced", "", "", "priced"] == rows.sources
    assert ("pricing_failed", "KeyError") == (entry["event"], entry["error"])
    assert entry["place"].startswith("test_pricing.py:")
    assert "alice" not in str(entry)
