"""Labels are bounded in number and in length."""

from usagepipe.producer.telemetry.counters import OTHER, BoundedLabels


def test_labels_beyond_the_limit_share_one() -> None:
    """The first texts keep their labels, also after the limit is reached."""
    labels = BoundedLabels(2, 9)

    assert ["a", "b", OTHER, "a"] == [labels.of(text) for text in "abca"]


def test_labels_are_cut_and_can_be_encoded() -> None:
    """Long texts that begin alike are one label; half a character is replaced."""
    labels = BoundedLabels(9, 3)

    assert ["xxx", "xxx", "m?"] == [labels.of(text) for text in ("xxxx", "xxxxx", "m\ud800")]
