"""Every price can be explained, and the explanation adds up to the last digit."""

import random
from dataclasses import replace
from fractions import Fraction

from tests.support.price_usage import Usage
from tests.support.random_usage import RandomUsages, models_of
from usagepipe.schemas.prices import Pricer, Unpriced, builtin_book
from usagepipe.schemas.prices.units import Units

EVENTS = 20_000  # `make bench` takes 100,000


def test_explain_equals_price_for_random_events_of_all_models() -> None:
    """Every model, several times, also with counts that make no sense."""
    pricer = Pricer(builtin_book())
    usages = RandomUsages(Units(pricer.book.document.units), seed=100_000)
    models = models_of(pricer.book.document)
    priced = 0
    for number in range(EVENTS):
        model = models[number % len(models)]
        counts = usages.counts(sorted(model.priced))
        usage = odd(usages.usage(model.provider, model.entry.id, counts), usages.random)
        price, explained = pricer.price(usage), pricer.explain(usage)

        if isinstance(price, Unpriced):
            assert (price, None, ()) == (explained.reason, explained.total, explained.parts), usage
            continue
        priced += 1
        total = sum((part.amount for part in explained.parts), Fraction(0))
        assert (None, price, total) == (explained.reason, explained.total, explained.exact), usage
        assert price == round(total * 10**12), usage  # half to even
        assert all(part.count > 0 for part in explained.parts), usage

    assert EVENTS / 2 < priced < EVENTS


def odd(usage: Usage, rng: random.Random) -> Usage:
    """`usage`, or one time in eight something that producers do wrong."""
    match rng.randrange(40):
        case 0:
            return replace(usage, cached_tokens=usage.prompt_tokens + rng.randrange(3))
        case 1:
            return replace(usage, usage_quality="missing", failed=rng.random() < 0.5)
        case 2:
            return replace(usage, total_tokens=usage.total_tokens + rng.randrange(2))
        case 3:
            return replace(usage, units={**usage.units, "web_searches": rng.randrange(3)})
        case 4:
            return replace(usage, part=1, failed=rng.random() < 0.5)
    return usage
