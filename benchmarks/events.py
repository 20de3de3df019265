"""The events that every contestant reads: real ones, of skewed keys, of this moment."""

import random
from collections.abc import Iterator
from typing import Final

from confluent_kafka import Producer

from benchmarks.pricing import priced_models
from usagepipe.schemas import UsageEvent, encode
from usagepipe.schemas.prices import builtin_book

KEYS: Final = 10_000
FLUSH_SECONDS: Final = 120


def usage_events(count: int, seed: int, shape: float) -> Iterator[UsageEvent]:
    """So many events, each of the moment it is taken.

    The key's number is Pareto distributed with the given shape, modulo `KEYS`: at 1.2 more than
    half of the events are of one key, and so of one partition. Ids are minted, not seeded. No event
    has a cost, as most providers report none: the worker prices all of them.
    """
    rng = random.Random(seed)
    models = priced_models(builtin_book(), random.Random(1))
    for number in range(1, count + 1):
        key = int(rng.paretovariate(shape)) % KEYS
        provider, model = rng.choice(models)
        prompt, completion = rng.randrange(50, 20_000), rng.randrange(1, 2_000)
        yield UsageEvent.new(
            producer_id="bench",
            sequence=number,
            user_id=f"user-{key // 3}",
            user_name=f"User {key // 3}",
            api_key_id=f"key-{key}",
            api_key_name=f"Key {key}",
            source="apikey",
            team_id=f"team-{key % 50}",
            provider=provider,
            requested_model=model,
            model=model,
            endpoint="/v1/chat/completions",
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            cached_tokens=prompt // 2,
            status_code=200,
            streaming=True,
            duration_ms=rng.randrange(200, 30_000),
            ttft_ms=rng.randrange(50, 900),
        )


def fill(bootstrap: str, topic: str, events: Iterator[UsageEvent]) -> None:
    """Write the events to the topic, keyed as the recorder keys them; all are acknowledged."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 50,
            "compression.type": "lz4",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 200_000,
        }
    )
    for event in events:
        while True:
            try:
                producer.produce(topic, encode(event), event.api_key_id.encode())
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(FLUSH_SECONDS)
    if left:
        raise RuntimeError(f"{left} events were not acknowledged within {FLUSH_SECONDS} s")
