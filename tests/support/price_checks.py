"""Compares prices with their explanations, for random events over every model of a book."""

import random
from dataclasses import replace
from fractions import Fraction

from tests.support.price_usage import Usage
from tests.support.random_usage import RandomUsages, models_of
from usagepipe.schemas.prices import Explanation, Pricer, Unpriced
from usagepipe.schemas.prices.units import Units


def compare_explanations(pricer: Pricer, events: int, seed: int) -> tuple[int, list[Usage]]:
    """How many events have a price, and those whose explanation differs from their price."""
    usages = RandomUsages(Units(pricer.book.document.units), seed)
    models = models_of(pricer.book.document)
    priced, wrong = 0, []
    for number in range(events):
        model = models[number % len(models)]
        counts = usages.counts(sorted(model.priced))
        usage = odd_usage(usages.usage(model, model.entry.id, counts), usages.random)
        price, explained = pricer.price(usage), pricer.explain(usage)
        priced += not isinstance(price, Unpriced)
        if not _adds_up(price, explained):
            wrong.append(usage)
    return priced, wrong


def _adds_up(price: int | Unpriced, explained: Explanation) -> bool:
    if isinstance(price, Unpriced):
        return (price, None, ()) == (explained.reason, explained.total, explained.parts)
    total = sum((part.amount for part in explained.parts), Fraction(0))
    return (
        (None, price, total) == (explained.reason, explained.total, explained.exact)
        and price == round(total * 10**12)  # half to even
        and all(part.count > 0 for part in explained.parts)
    )


def odd_usage(usage: Usage, rng: random.Random) -> Usage:
    """`usage`, or one time in eight something that not every producer does."""
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
