"""What the price of an event costs the worker, and whether each price can be explained."""

import json
import random
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from tests.support.price_checks import compare_explanations
from usagepipe.schemas.prices import PriceBook, Pricer, builtin_book, cost_text

EVENTS: Final = 30_000
MODELS: Final = 60
TRIES: Final = 15
EXPLAINED: Final = 100_000


class Row(msgspec.Struct, gc=False):
    """The fields of a worker's row that decide its price."""

    provider: str
    model: str
    occurred_at: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    units: dict[str, int]
    service_tier: str = ""
    batch: bool = False
    customer_id: str = ""
    part: int = 0
    failed: bool = False
    usage_quality: str = "complete"


def measure_pricing() -> dict[str, Any]:
    """Microseconds of processor time an event, its cost as text included."""
    pricer = Pricer(builtin_book())
    some = _events(pricer, random.Random(1))
    us = _microseconds(partial(_price, pricer), some)
    priced, wrong = compare_explanations(pricer, EXPLAINED, seed=1)
    began = time.process_time()
    Pricer(PriceBook.from_json(pricer.book.to_json(), pricer.version))
    return {
        "us": us,
        "events": EVENTS,
        "models": MODELS,
        "read_ms": (time.process_time() - began) * 1e3,
        "explained": EXPLAINED,
        "priced": priced,
        "wrong": len(wrong),
    }


def _events(pricer: Pricer, rng: random.Random) -> list[bytes]:
    """Events of known models as JSON, since a worker sees each text for the first time."""
    models = priced_models(pricer.book, rng)
    return [_event(*rng.choice(models), rng) for _ in range(EVENTS)]


def priced_models(book: PriceBook, rng: random.Random) -> list[tuple[str, str]]:
    """`MODELS` providers and models that are paid by input and output tokens."""
    providers = [each for each in book.document.providers if each.models]
    models: list[tuple[str, str]] = []
    while len(models) < MODELS:
        provider = rng.choice(providers)
        entry = rng.choice(provider.models)
        if {"input_tokens", "output_tokens"} <= entry.periods[0].rates.keys():
            models.append((provider.id, entry.id))
    return models


def _event(provider: str, model: str, rng: random.Random) -> bytes:
    prompt, completion = rng.randrange(1, 20_000), rng.randrange(1, 2_000)
    fields = {
        "provider": provider,
        "model": model,
        "occurred_at": f"2026-11-{rng.randrange(1, 31):02d}T12:00:00.000Z",
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "cached_tokens": rng.choice((0, prompt // 2)),
        "cache_write_tokens": rng.choice((0, 0, 0, prompt // 4)),
        "reasoning_tokens": rng.choice((0, completion // 2)),
        "units": {},
    }
    return json.dumps(fields).encode()


def _microseconds(price: Callable[[list[Row]], object], events: list[bytes]) -> float:
    tries = []
    for _ in range(TRIES):
        rows = [msgspec.json.decode(event, type=Row) for event in events]
        began = time.process_time()
        price(rows)
        tries.append((time.process_time() - began) / len(rows) * 1e6)
    return statistics.median(tries)


def _price(pricer: Pricer, rows: list[Row]) -> None:
    for amount in pricer.prices(rows):
        if type(amount) is int:
            cost_text(amount)


if __name__ == "__main__":
    print(json.dumps(measure_pricing(), indent=1))
