"""How long topic, raw rows and rollups are kept, and which periods do not fit together."""

import pytest

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import PREFIX, Settings

RAW, ROLLUP = "RAW_RETENTION_DAYS", "ROLLUP_RETENTION_DAYS"


def unfit(**days: int) -> list[str]:
    """The settings that do not fit together, by the first word of their sentences."""
    settings = Settings.load(**{f"{name}_days": number for name, number in days.items()})
    try:
        settings.check_retention()
    except SettingsError as error:
        return [text.split()[0].removeprefix(PREFIX) for text in error.problems]
    return []


@pytest.mark.parametrize(
    ("raw", "topic", "dedup", "wrong"),
    [
        (400, 7, 35, []),
        (8, 7, 8, []),
        (8, 7, 0, []),
        (7, 7, 0, [RAW]),
        (35, 7, 35, []),
        (34, 7, 35, [RAW]),
        (400, 400, 35, [RAW]),
        (0, 3_650, 36_500, []),
    ],
)
def test_raw_rows_outlive_the_log_and_the_search_for_duplicates(
    raw: int, topic: int, dedup: int, wrong: list[str]
) -> None:
    """The table keeps each row that Kafka can deliver again or that a duplicate may match."""
    assert wrong == unfit(raw_retention=raw, topic_retention=topic, dedup=dedup)


@pytest.mark.parametrize(
    ("rollup", "raw", "wrong"),
    [
        (400, 400, []),
        (399, 400, [ROLLUP]),
        (0, 400, []),
        (36_500, 0, [ROLLUP]),
        (0, 0, []),
        (20, 30, [RAW, ROLLUP]),
    ],
)
def test_rollups_outlive_the_raw_rows_they_sum(rollup: int, raw: int, wrong: list[str]) -> None:
    """Otherwise rollups would lack rows that raw holds. All mistakes are reported at once."""
    assert wrong == unfit(rollup_retention=rollup, raw_retention=raw)


def test_an_unfit_retention_is_named_with_the_cure() -> None:
    """Each sentence shows the values and says what to write."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(raw_retention_days=30, rollup_retention_days=20).check_retention()

    raw, rollup = caught.value.problems
    assert "USAGEPIPE_RAW_RETENTION_DAYS is 30: a record that Kafka still keeps" in raw
    assert "Write 35 or more (more than USAGEPIPE_TOPIC_RETENTION_DAYS, which is 7," in raw
    assert "at least USAGEPIPE_DEDUP_DAYS, which is 35), or 0 for ever." in raw
    assert rollup.startswith("USAGEPIPE_ROLLUP_RETENTION_DAYS is 20: rollups would expire before")
    assert rollup.endswith("Write 30 or more, or 0 for ever.")
