"""The made-up part of the demo: the same for a seed, of many people, with a heavy head."""

from collections import Counter
from itertools import islice
from statistics import median

from usagepipe.local.demo.catalogue import MODELS, UNPRICED
from usagepipe.local.demo.plan import BROKEN, OK, REFUSED, PlannedRequest, plan
from usagepipe.local.demo.population import Population
from usagepipe.local.demo.trace import TraceRow, synthesize
from usagepipe.schemas.prices import Pricer, builtin_book

REQUESTS = 5_000


def planned(seed: int = 1, *, refusals: bool = True) -> list[PlannedRequest]:
    return list(plan(synthesize(REQUESTS, seed), seed, refusals=refusals))


def test_equal_seeds_give_equal_requests() -> None:
    """The seed decides everything, and another seed decides otherwise."""
    assert planned(7) == planned(7)
    assert planned(7) != planned(8)


def test_many_people_call_in_every_way() -> None:
    """Every source, model and customer occurs, and hundreds of users and keys."""
    callers = [request.credential.caller for request in planned()]

    assert {"web", "apikey", "legacy"} == {caller.source for caller in callers}
    assert {model.name for model in MODELS} == {request.model.name for request in planned()}
    assert len({caller.user_id for caller in callers}) > 200
    assert len({caller.api_key_id for caller in callers}) > 200
    assert 7 == len({caller.customer_id for caller in callers})  # six, and none of the legacy key


def test_a_few_keys_make_most_requests() -> None:
    """Popularity is Zipf's: the busiest tenth of the keys has over half of their requests."""
    keys = Counter(request.credential.caller.api_key_id for request in planned())
    del keys[""]

    busiest = sum(count for _, count in keys.most_common(len(keys) // 10))

    assert busiest > keys.total() / 2


def test_the_made_up_trace_has_bursts_and_long_tails() -> None:
    """Some second is far above the mean, and the longest prompt far above the median."""
    rows = synthesize(REQUESTS, 1)

    seconds = Counter(int(row.at_seconds) for row in rows)
    prompts = [row.prompt_tokens for row in rows]

    assert max(seconds.values()) > 2 * REQUESTS / rows[-1].at_seconds
    assert max(prompts) > 10 * median(prompts)
    assert sorted(row.at_seconds for row in rows) == [row.at_seconds for row in rows]


def test_a_refused_request_has_no_tokens() -> None:
    """T-39: refused is before anything was used; broken is after, and keeps its tokens."""
    by_status = {status: [r for r in planned() if r.status == status] for status in (OK, 429, 500)}

    assert REQUESTS == sum(map(len, by_status.values()))
    assert {0} == {r.prompt_tokens + r.completion_tokens for r in by_status[REFUSED]}
    assert all(r.prompt_tokens for r in by_status[BROKEN])
    assert all(by_status.values())


def test_every_token_of_a_real_trace_arrives() -> None:
    """Without refusals the sums are those of the trace."""
    rows = synthesize(REQUESTS, 3)

    requests = planned(3, refusals=False)

    assert sum(r.prompt_tokens for r in rows) == sum(r.prompt_tokens for r in requests)
    assert sum(r.completion_tokens for r in rows) == sum(r.completion_tokens for r in requests)
    assert REFUSED not in {r.status for r in requests}


def test_cached_tokens_are_a_part_of_the_prompt() -> None:
    """No planned answer contradicts itself, an empty one included."""
    (empty,) = plan([TraceRow(0.0, 0, 0)], 1, refusals=False)

    assert all(0 <= r.cached_tokens <= r.prompt_tokens for r in planned())
    assert (0, 0, 0) == (empty.prompt_tokens, empty.completion_tokens, empty.cached_tokens)


def test_the_gateway_knows_everybody_whom_the_replay_presents() -> None:
    """Both processes make the population from the seed, and mean the same people."""
    directory = Population(5).directory

    for request in islice(plan(synthesize(REQUESTS, 5), 5, refusals=True), 500):
        credential = request.credential
        assert credential.caller == directory[credential.header, credential.value]


def test_a_key_is_never_its_id() -> None:
    """What a request presents occurs nowhere in what is recorded of it."""
    for key in Population(1).keys:
        assert key.value.removeprefix("Bearer ") not in repr(key.caller)


def test_every_model_but_one_has_a_price_at_any_hour() -> None:
    """The built-in book has an entry for it, and no rate that depends on the hour."""
    pricer = Pricer(builtin_book())

    found = {model: pricer.find(model.provider, model.name) for model in MODELS}

    assert [UNPRICED] == [model for model, entry in found.items() if entry is None]
    entries = [each.entry for each in found.values() if each is not None]
    rules = [rule for entry in entries for rule in (*entry.periods, *entry.variants)]
    assert not any(rule.daily for rule in rules)
