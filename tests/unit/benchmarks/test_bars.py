"""What is a bar, and what is reported only."""

import pytest

from benchmarks.bars import Bar


def bar(limit: float | None, *, at_most: bool = False) -> Bar:
    return Bar("what", "wanted", lambda _: None, limit, at_most=at_most)


@pytest.mark.parametrize(
    ("at_most", "reached"), [(True, [True, True, False]), (False, [False, True, True])]
)
def test_a_bar_is_reached_from_its_side(at_most: bool, reached: list[bool]) -> None:
    """A cost must not be above its bar, and a rate not below; the limit itself is good enough."""
    found = [bar(5.0, at_most=at_most).reached(value) for value in (4.9, 5.0, 5.1)]

    assert reached == found


def test_a_result_without_a_limit_is_named() -> None:
    """A row without a limit is neither reached nor missed."""
    found = bar(None, at_most=True).reached(1e9)

    assert found is None
