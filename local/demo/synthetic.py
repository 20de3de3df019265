"""A made-up trace for those who have none: bursts, long tails, and the same one for a seed.

The shapes follow a public trace of a chat service (half of the prompts above 1,000 tokens, half of
the answers above 130); nothing of that trace is copied here.
"""

import math
from random import Random

from usagepipe.local.demo.trace import TraceRow

DEFAULT_REQUESTS = 5_000

CALM_PER_SECOND = 4.0
BURST_PER_SECOND = 40.0
STATE_SECONDS = 20.0  # mean length of a calm or a burst

_PROMPT_MEDIAN, _PROMPT_SPREAD = 1_000, 0.9
_COMPLETION_MEDIAN, _COMPLETION_SPREAD = 130, 1.0
_LONGEST = 200_000  # a context window of today


def synthesize(requests: int, seed: int) -> list[TraceRow]:
    """A trace of `requests` rows in the order of time; equal arguments give equal rows."""
    random = Random(f"trace {seed}")
    rows = []
    at, bursting, turns_at = 0.0, False, 0.0
    for _ in range(requests):
        at += random.expovariate(BURST_PER_SECOND if bursting else CALM_PER_SECOND)
        if at >= turns_at:
            bursting = not bursting
            turns_at = at + random.expovariate(1 / STATE_SECONDS)
        prompt = _length(random, _PROMPT_MEDIAN, _PROMPT_SPREAD)
        completion = _length(random, _COMPLETION_MEDIAN, _COMPLETION_SPREAD)
        rows.append(TraceRow(at, prompt, completion))
    return rows


def _length(random: Random, median: int, spread: float) -> int:
    return min(_LONGEST, 1 + int(random.lognormvariate(math.log(median), spread)))
