"""The responses of a realtime session: each counts once, and their sum is exact."""

from decimal import Decimal
from typing import Any

import pytest

from tests.support.usages import tally_of
from usagepipe.producer.reading.extraction import Tally
from usagepipe.producer.reading.usage import Usage
from usagepipe.schemas.event import MAX_TOKENS


def done(response_id: str | None, tokens: int, **more: Any) -> dict[str, Any]:
    """The event that ends a response of a realtime session: half of its tokens were cached."""
    usage = {"input_tokens": 2 * tokens, "output_tokens": 1, "total_tokens": 2 * tokens + 1}
    usage |= {"input_token_details": {"cached_tokens": tokens}} | more
    response = {"usage": usage} | ({} if response_id is None else {"id": response_id})
    return {"type": "response.done", "response": response}


SESSION = {"type": "session.created", "session": {"model": "gpt-realtime"}}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([done("r1", 5)], (10, 1, 11, 5)),
        ([done("r1", 5), done("r2", 7), done("r3", 1)], (26, 3, 29, 13)),
        # A repeated response counts once: the current one by its last event, others by their first.
        ([done("r1", 5), done("r1", 7), done("r2", 1)], (16, 2, 18, 8)),
        ([done("r1", 5), done("r2", 7), done("r1", 5), done("r2", 7)], (24, 2, 26, 12)),
        # Without ids they cannot be distinguished.
        ([done(None, 5), done(None, 7)], (14, 1, 15, 7)),
        ([done("r1", 5), {"type": "response.done", "response": {"id": "r2"}}], (10, 1, 11, 5)),
        ([done("r1", 5), done("r2", 0, output_tokens=0, total_tokens=0)], (10, 1, 11, 5)),
    ],
)
def test_responses_of_a_realtime_session_add_up(
    events: list[dict[str, Any]], expected: tuple[int, int, int, int]
) -> None:
    """One session, many responses: each costs its own tokens, and counts once."""
    prompt, completion, total, cached = expected

    found = tally_of(SESSION, *events)

    assert Usage("gpt-realtime", prompt, completion, total, cached_tokens=cached) == found


def test_session_that_is_cut_in_a_later_response_is_partial() -> None:
    """A response that began and never ended cost tokens that were never reported."""
    tally = Tally()
    for event in (done("r1", 5), {"type": "response.created", "response": {"id": "r2"}}):
        tally.add(event)

    usage = tally.usage(complete=False)

    assert usage is not None
    assert (11, "partial") == (usage.total_tokens, usage.usage_quality)


def test_events_of_one_response_are_not_added_up() -> None:
    """Of one response the last event has the usage of all; another response is added to it."""
    one = [
        done("r1", tokens) | {"type": f"response.{word}"}
        for word, tokens in (("in_progress", 3), ("completed", 5))
    ]
    other = done("r2", 7) | {"type": "response.completed"}

    assert Usage("", 10, 1, 11, cached_tokens=5) == tally_of(*one)
    assert Usage("", 24, 2, 26, cached_tokens=12) == tally_of(*one, other)
    assert Usage("", 10, 1, 11, cached_tokens=5) == tally_of(*one, done("r1", 5))


@pytest.mark.parametrize("bad", [done("r1", -5), done("r1", 5, total_tokens=9)])
def test_contradiction_in_one_response_marks_the_sum(bad: dict[str, Any]) -> None:
    """What one response has too much another one may lack: the sum alone would not show it."""
    usage = tally_of(bad, done("r2", 5, total_tokens=13), done("r3", 5))

    assert usage is not None
    assert "inconsistent" == usage.usage_quality


@pytest.mark.parametrize(
    ("costs", "expected"),
    [(("0.1", "0.0000000000000001"), "0.1000000000000001"), (("0.1", None), None)],
)
def test_costs_of_responses_add_up(costs: tuple[str | None, ...], expected: str | None) -> None:
    """Exactly; and the sum is unknown where one of them is."""
    events = [
        done(f"r{number}", 5, **({} if cost is None else {"cost": Decimal(cost)}))
        for number, cost in enumerate(costs)
    ]

    usage = tally_of(*events)

    assert usage is not None
    assert (None if expected is None else Decimal(expected)) == usage.cost


def test_absurd_sum_of_responses_stays_within_the_contract() -> None:
    """Every count of the sum is kept at the bound, those of the cache too."""
    usage = tally_of(*(done(f"r{number}", MAX_TOKENS // 2) for number in range(9)))

    assert usage is not None
    assert {MAX_TOKENS} == {usage.prompt_tokens, usage.total_tokens, usage.cached_tokens}
    assert "inconsistent" == usage.usage_quality
