"""`usagepipe explain` proves the cost of every event that a worker has stored."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import pytest

from tests.support import topics
from tests.support.commands import usagepipe
from tests.support.events import event
from tests.support.priced_events import random_events, store_priced
from tests.support.programs import Programs
from tests.support.running_worker import MakeSettings, start_worker, wait_until_committed
from tests.support.stored_events import store
from usagepipe.consumer.rows.pricing import Pricing
from usagepipe.query.explanations import ExplainedEvent, Explainer
from usagepipe.query.statements import statement
from usagepipe.query.store import Store
from usagepipe.schemas import Settings, UsageEvent, UsagePipeError, encode
from usagepipe.schemas.clickhouse.price_books import apply_book, store_book
from usagepipe.schemas.errors import UnknownEventError
from usagepipe.schemas.prices import PriceBook, Pricer, builtin_book, read_yaml
from usagepipe.schemas.settings import ClickHouseAddress
from usagepipe.schemas.settings.storage import CostRule

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# 100,000 take two minutes: EXPLAINED_EVENTS=100000 pytest tests/integration/test_explain.py
EXPLAINED_EVENTS: Final = int(os.environ.get("EXPLAINED_EVENTS", "5000"))
AT: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
OWN_PRICES: Final = """
models:
  - {model: my-free, provider: mine, prices: {input_mtok: 0, output_mtok: 0}}
  - {model: by-request, provider: mine, prices: {per_request: 0.002}}
  - model: tiered
    provider: mine
    prices:
      input_mtok: {base: 3, tiers: [{start: 200000, price: 6}]}
      output_mtok: 15
    variants: [{batch: true, prices: {input_mtok: 1.5}}]
discounts: [{customer: acme, negotiated: 0.85}]
"""


def used(provider: str, model: str, prompt: int, completion: int, **fields: Any) -> UsageEvent:
    given: dict[str, Any] = {
        "occurred_at": AT,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    return event(provider=provider, model=model, **given | fields)


def priced_elsewhere(each: UsageEvent) -> UsageEvent:
    """As in an import from an installation that has the built-in prices."""
    pricer = Pricer(builtin_book())
    amount = pricer.price(each)
    assert isinstance(amount, int)
    priced = {"cost": Decimal(amount) / 10**12, "cost_source": "priced"}
    return each.model_copy(update=priced | {"price_version": pricer.version})


def mixed_events() -> dict[str, UsageEvent]:
    """One event of each kind of cost."""
    claude, gpt = ("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-5-mini")
    own = Decimal("0.123456789012")
    return {
        "plain": used(*gpt, 1_001, 13),
        "cache": used(*claude, 9_001, 77, cached_tokens=4_000, cache_write_tokens=3_000),
        "cache for an hour": used(
            *claude, 9_001, 77, cache_write_tokens=50, units={"cache_write_1h_tokens": 20}
        ),
        "tier": used("mine", "tiered", 200_001, 10),
        "batch": used("mine", "tiered", 100, 10, batch=True),
        "discount": used("mine", "tiered", 100_003, 11, customer_id="acme"),
        "audio": used(
            "openai", "gpt-4o-audio-preview", 900, 80,
            units={"input_audio_tokens": 500, "output_audio_tokens": 60},
        ),
        "free": used("mine", "my-free", 100, 1),
        "by request": used("mine", "by-request", 100, 1),
        "reported": used(*gpt, 1_001, 13, cost=own, cost_source="reported"),
        "stamped": used(*gpt, 1_001, 13, cost=own, price_version="list-7"),
        "imported": priced_elsewhere(used(*gpt, 1_001, 13)),
        "no entry": used("mine", "nobody-knows-it", 100, 1),
        "unknown unit": used(*gpt, 100, 1, units={"bananas": 1}),
        "no usage": used(*gpt, 0, 0, usage_quality="missing"),
        "failed": used(*gpt, 0, 0, failed=True, usage_quality="missing"),
    }  # fmt: skip


WITHOUT_COST: Final = {"no entry", "unknown unit", "no usage", "failed"}
NOT_PRICED: Final = {"reported", "stamped", *WITHOUT_COST}


@pytest.fixture
def explain(settings: Callable[..., Settings], migrated: ClickHouseAddress) -> Any:
    """`usagepipe explain` on this test's tables."""
    made = settings(kafka="127.0.0.1:1", topic="t", group="g")
    return lambda *words: usagepipe(made, "explain", *words)


def pricing(book: PriceBook | None = None) -> Pricing:
    return Pricing(CostRule.PRICES_FIRST, Pricer(book or builtin_book()))


@pytest.mark.usefixtures("migrated")
def test_a_worker_stores_what_explain_computes(
    settings: MakeSettings, run_program: Programs, clickhouse_client: "Client"
) -> None:
    """Whatever the kind of cost; and what is not priced says why, or what the book would charge."""
    made, events = settings(), mixed_events()
    book = read_yaml(OWN_PRICES, builtin_book())
    apply_book(clickhouse_client, book, "test", "")
    topics.send(made.kafka, made.topic, [encode(each) for each in events.values()])

    worker = start_worker(run_program, made)
    wait_until_committed(made, worker)

    explainer = Explainer(Store(clickhouse_client))
    found = {name: explainer.explain(each.event_id) for name, each in events.items()}
    assert {} == {name: each for name, each in found.items() if not each.is_proven}
    assert NOT_PRICED == {name for name, each in found.items() if not each.is_priced}
    assert WITHOUT_COST == {name for name, each in found.items() if each.event.cost is None}
    assert {"failed"} == {
        name for name, each in found.items() if each.event.cost is None and not each.lacks_cost
    }
    versions = {name: each.explanation.version for name, each in found.items()}
    assert builtin_book().version == versions.pop("imported")
    assert {book.version} == set(versions.values())
    assert found["plain"].book_cost == found["reported"].book_cost
    assert Decimal("0.123456789012") == found["stamped"].own_cost
    assert 0 == found["free"].event.cost
    assert Decimal("0.002") == found["by request"].event.cost
    for name in ("audio", "reported", "no entry"):
        ended = usagepipe(made, "explain", str(events[name].event_id), "--json")
        shown = ended.json()["book"]["cost"]
        assert 0 == ended.status
        assert found[name].book_cost == (None if shown is None else Decimal(shown))


def test_every_stored_cost_is_explained_to_the_last_digit(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """Random events over all models of the built-in book, as ClickHouse returns them."""
    pricer = Pricer(builtin_book())
    events = random_events(pricer, EXPLAINED_EVENTS, seed=1)
    store_priced(clickhouse_client, events, Pricing(CostRule.PRICES_FIRST, pricer))

    sql = statement("export_events")
    everything = {"from_ms": 0, "to_ms": 4_000_000_000_000}
    stored = list(Store(clickhouse_client).events(sql, everything))
    found = [ExplainedEvent(each, pricer.explain(each)) for each in stored]

    assert len(events) == len(found)
    priced = sum(each.is_priced for each in found)
    assert priced > len(found) / 2
    assert [] == [each for each in found if not each.is_proven]
    assert priced == sum(each.explanation.reason is None for each in found)


def test_the_newest_of_several_rows_is_explained(explain: Any, clickhouse_client: "Client") -> None:
    """Without deduplication an event is stored more than once."""
    twice = used("openai", "gpt-5-mini", 1_001, 13)
    for _ in range(2):
        store_priced(clickhouse_client, [twice], pricing())

    ended = explain(str(twice.event_id))

    assert 0 == ended.status
    assert "stored 2 times" in ended.out
    assert "It equals the stored cost, to the last digit." in ended.out


def test_all_parts_of_a_request_are_listed(explain: Any, clickhouse_client: "Client") -> None:
    """Whichever part is asked for; not those of another attempt, user or time."""
    same: dict[str, Any] = {"request_id": "r-1"}
    main, second = (
        used("openai", "gpt-5-mini", 1_000_000, 0, **same),
        used("openai", "gpt-5", 1_000_000, 0, part=1, **same),
    )
    third = used("openai", "no-price", 1_000, 0, part=2, **same)
    others = [
        used("openai", "gpt-5", 9, 0, part=1, attempt=2, **same),
        used("openai", "gpt-5", 9, 0, part=1, user_id="u-2", **same),
        used("openai", "gpt-5", 9, 0, part=3, occurred_at=AT.replace(day=29), **same),
        used("openai", "gpt-5", 9, 0, occurred_at=AT.replace(minute=5), **same),
    ]
    store_priced(clickhouse_client, [main, second, third, *others], pricing())

    ids = [str(each.event_id) for each in (main, second, third)]
    for each in ids:
        shown = explain(each, "--json").json()["request"]
        assert ids == [part["event_id"] for part in shown["parts"]]
    assert ("1.500000000000", 1) == (shown["cost"], shown["without_cost"])
    assert "Total of the request: 1.500000000000 USD" in explain(str(main.event_id)).out


def test_parts_without_a_request_id_are_those_that_follow(
    explain: Any, clickhouse_client: "Client"
) -> None:
    """A producer numbers the parts of a request right after it."""
    same: dict[str, Any] = {"producer_id": "p-1"}
    main = used("openai", "gpt-5", 1_000, 0, sequence=7, **same)
    second = used("openai", "gpt-5", 1_000, 0, sequence=8, part=1, **same)
    others = [
        used("openai", "gpt-5", 1_000, 0, sequence=9, **same),
        used("openai", "gpt-5", 1_000, 0, sequence=10, part=1, **same),
        used("openai", "gpt-5", 1_000, 0, sequence=8, part=1, producer_id="p-2"),
    ]
    store_priced(clickhouse_client, [main, second, *others], pricing())

    for each in (main, second):
        parts = explain(str(each.event_id), "--json").json()["request"]["parts"]
        assert [str(main.event_id), str(second.event_id)] == [part["event_id"] for part in parts]


def test_a_changed_cost_is_reported_loudly(explain: Any, clickhouse_client: "Client") -> None:
    """The exit status is 1."""
    forged = used(
        "openai", "gpt-5-mini", 1_001, 13,
        cost=Decimal(1), cost_source="priced", price_version=builtin_book().version,
    )  # fmt: skip
    store_book(clickhouse_client, builtin_book())
    store(clickhouse_client, forged)

    ended = explain(str(forged.event_id))

    assert 1 == ended.status
    assert "WRONG: the stored cost is 1.000000000000 USD" in ended.out
    assert json.loads(explain(str(forged.event_id), "--json").out)["proven"] is False


@pytest.mark.usefixtures("clickhouse_client")
def test_an_event_that_is_not_stored_has_an_answer(explain: Any) -> None:
    """It says where the event may be."""
    missing = str(uuid4())

    with pytest.raises(UnknownEventError, match=f"{missing} is not stored") as raised:
        explain(missing)

    assert 1 == raised.value.exit_status


def test_a_book_that_is_not_stored_is_named(explain: Any, clickhouse_client: "Client") -> None:
    """As for events that another installation has priced."""
    found = used("openai", "gpt-5-mini", 1, 1)
    version = "0123456789abcdef"
    own = {"cost": Decimal(1), "cost_source": "priced", "price_version": version}
    store(clickhouse_client, found.model_copy(update=own))

    with pytest.raises(UsagePipeError, match=f"{version} is not stored") as raised:
        explain(str(found.event_id))

    assert 1 == raised.value.exit_status
    assert f"cost 1 USD from the price book {version}, and that cannot" in str(raised.value)


def test_a_damaged_book_is_named(explain: Any, clickhouse_client: "Client") -> None:
    """Nothing is computed from it."""
    found = used("openai", "gpt-5-mini", 1, 1)
    version = "0123456789abcdef"
    own = {"cost": Decimal(1), "cost_source": "priced", "price_version": version}
    store(clickhouse_client, found.model_copy(update=own))
    row = [version, builtin_book().to_json()[:1000]]
    clickhouse_client.insert("price_books", [row], column_names=("version", "book"))

    with pytest.raises(UsagePipeError, match=f"{version} is damaged"):
        explain(str(found.event_id))


def test_the_index_of_the_id_is_used(
    migrated: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """A look-up reads few granules of a large table."""
    sql = f"EXPLAIN indexes = 1 {statement('event_rows')}"
    store_priced(clickhouse_client, [used("openai", "gpt-5-mini", 1, 1)], pricing())

    plan = clickhouse_client.query(sql, parameters={"event_id": str(UUID(int=0))}).result_rows

    text = "\n".join(str(row[0]) for row in plan)
    assert "event_id_span" in text
    assert "Granules: 0/1" in text


def test_tables_that_are_missing_are_an_error_of_ours(
    database: ClickHouseAddress, clickhouse_client: "Client"
) -> None:
    """It names the cure."""
    with pytest.raises(UsagePipeError, match="migrate"):
        Explainer(Store(clickhouse_client)).explain(uuid4())
