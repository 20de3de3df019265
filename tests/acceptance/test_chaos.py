"""Exactly once in effect, under kills at exact points, zombies, cut connections, failing views and
crashes of both servers, with bad records and the same events twice among the good ones.

`make test` runs a short one, `make chaos` many long ones.
"""

import os
from pathlib import Path

import pytest

from tests.support.apache_kafka import ApacheKafka
from tests.support.chaos import Chaos
from tests.support.chaos_traffic import PARTITIONS, Mixture
from tests.support.topics import make_topics
from usagepipe.local import LocalClickHouse
from usagepipe.schemas import Settings
from usagepipe.schemas.clickhouse.migrate import migrate

SEEDS = int(os.environ.get("CHAOS_SEEDS", "0"))  # of long runs
FIRST_SEED = int(os.environ.get("CHAOS_FIRST_SEED", "1"))

SHORT = Mixture(
    events=12_000,
    seconds=45,
    bad=60,
    poison=6,
    twice=120,
    spills=1,
    strays=6,
    transactional=0.2,
)
LONG = Mixture(
    events=200_000,
    seconds=120,
    bad=400,
    poison=30,
    twice=2_000,
    spills=5,
    strays=30,
    transactional=0.2,
)


def run(
    seed: int, mixture: Mixture, kafka: ApacheKafka, clickhouse: LocalClickHouse, folder: Path
) -> None:
    """One run on servers of its own."""
    settings = Settings.load(
        kafka=kafka.bootstrap,
        topic="chaos.v1",
        group="chaos",
        clickhouse=clickhouse.clickhouse,  # the database that `usagepipe local` announces
    )
    make_topics(kafka.bootstrap, settings.topic, PARTITIONS)
    migrate(settings, wait_seconds=30)
    chaos = Chaos(seed, settings, folder, mixture, clickhouse, kafka)

    found = chaos.run()

    print(dict(chaos.done))
    assert [] == found


@pytest.mark.timeout(400)
def test_not_one_row_more_or_less(
    crashable_kafka: ApacheKafka, crashable_clickhouse: LocalClickHouse, tmp_path: Path
) -> None:
    """T-59, T-61, T-62: what was sent is what raw, every rollup and the dead letters hold."""
    run(7, SHORT, crashable_kafka, crashable_clickhouse, tmp_path)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
def test_not_one_row_more_or_less_for_long(
    seed: int,
    crashable_kafka: ApacheKafka,
    crashable_clickhouse: LocalClickHouse,
    tmp_path: Path,
) -> None:
    """The same with 200,000 events; `make chaos`."""
    run(seed, LONG, crashable_kafka, crashable_clickhouse, tmp_path)
