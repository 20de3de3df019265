"""What recorded answers of all families cost, checked by hand with the public prices.

A row of the table is one event: its counts as the provider means them, and the sum of counts times
rates in millionths of a US dollar, as a person wrote it down. OpenRouter's rows have the cost that
OpenRouter reported too.
"""

import csv
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.installs import ROOT
from tests.support.recorded import RecordedAnswer, recorded_answers
from usagepipe.producer import Caller
from usagepipe.producer.reading.answers import AnswerReader
from usagepipe.producer.reading.usage import Usage
from usagepipe.producer.watching.body_prefix import model_in_path
from usagepipe.producer.watching.events import event_of
from usagepipe.producer.watching.parts import parts_of
from usagepipe.schemas import UsageEvent
from usagepipe.schemas.prices import Pricer, builtin_book

AT: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)
MONEY_UNITS: Final = 10**12  # of a US dollar
MAX_BYTES: Final = 256 * 1024
Row = dict[str, str]


def table() -> list[Row]:
    with (ROOT / "tests" / "golden" / "recorded_costs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def answers() -> dict[str, RecordedAnswer]:
    return {answer.name: answer for answer in recorded_answers()}


@cache
def pricer() -> Pricer:
    return Pricer(builtin_book())


def event_of_row(row: Row) -> UsageEvent:
    """The event that a middleware makes of the answer, or of the part of it."""
    answer = answers()[row["name"]]
    reader = AnswerReader(answer.content_type, "", MAX_BYTES)
    reader.feed(answer.body.encode())
    usage = reader.read()
    assert isinstance(usage, Usage)
    path = unquote(urlsplit(answer.url).path)
    request = {
        "occurred_at": AT,
        "provider": row["provider"],
        "endpoint": path,
        "requested_model": row["asked"] or model_in_path(path),
        "model": "",
    }
    event = event_of(request, Caller("u"), {}, usage, complete=True, trace={})
    return [event, *parts_of(event, usage)][int(row["part"])]


def by_hand(row: Row) -> Decimal:
    """US dollars: the sum that the table writes out."""
    products = (term.split(" x ") for term in row["millionths"].split(" + "))
    return sum(Decimal(count) * Decimal(rate) for count, rate in products) / Decimal(10**6)


@pytest.mark.parametrize("row", table(), ids=lambda row: f"{row['name']}, part {row['part']}")
def test_recorded_answer_costs_what_a_person_computed(row: Row) -> None:
    """The reader's counts, and the built-in book's price, to the last digit."""
    event = event_of_row(row)

    assert (row["model"], *(int(row[n]) for n in ("prompt", "completion", "cached"))) == (
        event.model,
        event.prompt_tokens,
        event.completion_tokens,
        event.cached_tokens,
    )
    assert int(row["cache_write"]) == event.cache_write_tokens
    assert dict(unit.split("=") for unit in row["units"].split()) == {
        unit: str(count) for unit, count in event.units.items()
    }
    assert Decimal(row["cost"]) == by_hand(row)
    assert Decimal(row["cost"]) * MONEY_UNITS == pricer().price(event)
    if event.cost is not None:  # as the provider reports it
        assert Decimal(row["cost"]) == event.cost


@pytest.mark.parametrize("row", table(), ids=lambda row: f"{row['name']}, part {row['part']}")
def test_host_of_a_provider_names_it(row: Row) -> None:
    """The transports name a provider by the host that they call: it has the same prices."""
    host = urlsplit(answers()[row["name"]].url).hostname
    event = event_of_row(row).model_copy(update={"provider": host})

    assert Decimal(row["cost"]) * MONEY_UNITS == pricer().price(event)


def test_the_table_covers_all_families() -> None:
    """At least 30 answers, of each shape and of many providers."""
    rows = table()

    assert len({row["name"] for row in rows}) >= 30
    assert len({row["provider"] for row in rows}) >= 12
    assert {"0", "1"} == {row["part"] for row in rows}
