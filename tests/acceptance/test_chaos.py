"""Exactly once in effect, under kills, zombies, cut connections and server crashes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chaos import Chaos
from tests.support.topics import make_topics
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.migrate import migrate

SEEDS = int(os.environ.get("CHAOS_SEEDS", "1"))  # `make chaos` runs many

pytestmark = pytest.mark.timeout(400)


def chaos_of(
    seed: int,
    settings: Callable[..., Settings],
    topic_name: str,
    clickhouse: LocalClickHouse,
    folder: Path,
    missing: str = "nothing",
) -> Chaos:
    made = settings(topic=topic_name, clickhouse=f"{clickhouse.url}/chaos")
    make_topics(made.kafka, topic_name, 8)
    migrate(made, wait_seconds=30)
    return Chaos(
        seed,
        made,
        folder,
        missing=missing,
        kill_clickhouse=clickhouse.kill,
        start_clickhouse=clickhouse.start,
    )


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_not_one_row_more_or_less(
    seed: int,
    settings: Callable[..., Settings],
    topic_name: str,
    crashable_clickhouse: LocalClickHouse,
    tmp_path: Path,
) -> None:
    """T-59, T-61: what was sent is what raw and every rollup hold."""
    chaos = chaos_of(seed, settings, topic_name, crashable_clickhouse, tmp_path)

    sent, held = chaos.run()

    assert dict.fromkeys(held, sent) == held, chaos.done


@pytest.mark.parametrize("missing", ["token", "announcement"])
def test_the_harness_notices_what_is_missing(
    missing: str,
    settings: Callable[..., Settings],
    topic_name: str,
    crashable_clickhouse: LocalClickHouse,
    tmp_path: Path,
) -> None:
    """Without one of the guarantees the sums are wrong: the test above can fail."""
    chaos = chaos_of(7, settings, topic_name, crashable_clickhouse, tmp_path, missing)

    sent, held = chaos.run()

    assert dict.fromkeys(held, sent) != held, chaos.done
