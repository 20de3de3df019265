"""The conservation check must be able to fail: each test takes one number away."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

from rich.console import Console

from usagepipe.local.demo.balance import Balance, balance
from usagepipe.local.demo.check import Count, Difference, Number, Sums, find_differences
from usagepipe.local.demo.gateway import GatewayCounters
from usagepipe.local.demo.replay import Sent
from usagepipe.local.demo.report import print_balance, print_usage
from usagepipe.local.demo.run import Result
from usagepipe.query.answers import KeyUsage, RollUp, SourceUsage
from usagepipe.schemas.prices import Pricer, builtin_book

WEB = Sums(2, 1, 30, 3, 33, Decimal("0.5"))
KEY = Sums(1, 0, 10, 2, 12, Decimal("0.25"))
ALL = WEB.plus(KEY)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def sent() -> Sent:
    found = Sent(Pricer(builtin_book()), seconds=1.5)
    found.by_source.update(web=WEB, apikey=KEY)
    found.by_key["k-1"] = KEY
    return found


def usage(sums: Sums) -> dict[str, object]:
    rest = ("cached_tokens", "cache_write_tokens", "reasoning_tokens", "unpriced_requests")
    return sums.numbers() | dict.fromkeys(rest, 0) | {"last_used": NOW}


def source(name: str, sums: Sums) -> SourceUsage:
    return SourceUsage.model_validate(usage(sums) | {"source": name})


def key(name: str, sums: Sums) -> KeyUsage:
    words = {"api_key_id": name, "api_key_name": "", "user_id": "u", "user_name": "", "users": 1}
    return KeyUsage.model_validate(usage(sums) | words)


def counted(
    gateway: GatewayCounters | None = None,
    events: dict[str, Number] | None = None,
    rollups: tuple[Count, ...] | None = None,
    sources: tuple[SourceUsage, ...] | None = None,
    keys: tuple[KeyUsage, ...] | None = None,
) -> Balance:
    """The balance of a run in which all is well, but for what is given."""
    return balance(
        sent(),
        gateway or GatewayCounters(3, 3, {}, {}),
        Count("usage_events", ALL.numbers() | {"event_ids": 3} | (events or {})),
        (Count("rollup_a", ALL.numbers()),) if rollups is None else rollups,
        (source("web", WEB), source("apikey", KEY)) if sources is None else sources,
        (key("k-1", KEY),) if keys is None else keys,
    )


def test_equal_numbers_balance() -> None:
    """Nothing differs when every place has counted what was sent."""
    assert () == counted().differences


def test_a_missing_row_does_not_balance() -> None:
    """The report of one missing row has both numbers."""
    (difference,) = counted(events={"requests": 2}).differences

    assert Difference("usage_events", "requests", 3, 2) == difference
    assert "usage_events: requests is 2, 3 were sent (-1)" == str(difference)


def test_an_event_stored_twice_does_not_balance() -> None:
    """The same id in two rows makes fewer ids than rows, even if the sums were right."""
    (difference,) = counted(events={"event_ids": 2}).differences

    assert "event_ids" == difference.number


def test_a_token_too_many_in_one_rollup_does_not_balance() -> None:
    """Every rollup is compared by itself."""
    wrong = Count("rollup_b", ALL.numbers() | {"prompt_tokens": 41})

    (difference,) = counted(rollups=(Count("rollup_a", ALL.numbers()), wrong)).differences

    assert ("rollup_b", "prompt_tokens", 40, 41) == (
        difference.place,
        difference.number,
        difference.sent,
        difference.found,
    )


def test_a_trillionth_of_a_dollar_does_not_balance() -> None:
    """The cost is compared exactly."""
    (difference,) = counted(events={"cost": Decimal("0.750000000001")}).differences

    assert "cost" == difference.number


def test_no_rollup_does_not_balance() -> None:
    """A database without rollups is no proof of anything."""
    missing = counted(rollups=()).differences

    assert {"rollup_*"} == {difference.place for difference in missing}
    assert {None} == {difference.found for difference in missing}


def test_a_dropped_event_does_not_balance() -> None:
    """The report names what the gateway lost, never recorded or never delivered."""
    lossy = GatewayCounters(2, 1, {"queue_full": 1}, {"no_usage": 1})

    names = {difference.number for difference in counted(gateway=lossy).differences}

    assert {"recorded", "delivered", "dropped", "unrecorded"} == names


def test_usage_under_the_wrong_source_does_not_balance() -> None:
    """Sums that are right in all may be wrong in their parts."""
    swapped = (source("web", KEY), source("apikey", WEB))

    places = {difference.place for difference in counted(sources=swapped).differences}

    assert {"usage by source: web", "usage by source: apikey"} == places


def test_a_key_that_is_not_answered_does_not_balance() -> None:
    """A key's usage that the query leaves out is missed in the sum and by name."""
    places = {difference.place for difference in counted(keys=()).differences}

    assert {"usage by key", "usage by key: k-1"} == places


def test_a_number_that_nobody_counted_is_a_difference() -> None:
    """A place without a number has not counted it right."""
    (difference,) = find_differences([Count("a", {"requests": 1})], [Count("a", {"other": 1})])

    assert "a: requests is not there, 1 were sent" == str(difference)


def printed(found: Balance, keys: tuple[KeyUsage, ...]) -> str:
    span = {"start": NOW, "end": NOW, "truncated": False}
    sources = RollUp[SourceUsage].model_validate(span | {"rows": (source("web", WEB),)})
    result = Result(
        "a_database", sources, RollUp[KeyUsage].model_validate(span | {"rows": keys}), found, None
    )
    text = StringIO()
    console = Console(file=text, width=80)
    print_usage(console, result)
    print_balance(console, result)
    return text.getvalue()


def test_the_report_says_that_it_balances() -> None:
    """Equal numbers end in a line that says so, and in no other."""
    text = printed(counted(), (key("k-1", KEY),))

    assert "Balanced: 3 requests sent" in text
    assert "Not balanced" not in text


def test_the_report_names_what_differs() -> None:
    """Unequal numbers are listed place by place; without any key the table is empty."""
    text = printed(counted(events={"requests": 2}, keys=()), ())

    assert "Not balanced:" in text
    assert "usage_events: requests is 2, 3 were sent (-1)" in text
    assert "Balanced: " not in text.replace("Not balanced:", "")


def test_the_report_is_cut_after_some_differences() -> None:
    """Of hundreds of differences the report shows the first ones and their number."""
    many = tuple(Difference(f"p{n}", "requests", 1, 0) for n in range(300))

    text = printed(replace(counted(), differences=many), ())

    assert "… and 280 more differences" in text
