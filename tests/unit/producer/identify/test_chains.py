"""The first of several ways that knows the caller counts."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.identifying import ADA, KEY, SECRET, asgi, both_look_ups, found
from tests.support.watched import CHAT, Bench, answering
from usagepipe.producer import Caller
from usagepipe.producer.identify import api_key, first_of, legacy_keys, session


@both_look_ups
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"cookie": "session=s-1", "x_api_key": KEY}, ("u-ada", "web")),
        ({"x_api_key": KEY}, ("u-bob", "apikey")),
        ({"authorization": "Bearer old"}, ("legacy-api-key", "legacy")),
        ({"authorization": "Bearer nobody's"}, ("u-guest", "guest")),
    ],
)
def test_first_way_that_knows_the_caller_counts(
    look_up: Callable[[dict[str, Caller]], Any],
    headers: dict[str, str],
    expected: tuple[str, str],
) -> None:
    """Session, key, list, and a source of the user's own, in this order; look-ups of any kind."""
    identify = first_of(
        session(look_up({"s-1": ADA})),
        api_key(look_up({KEY: Caller("u-bob", api_key_id="k-2")}), secret=SECRET),
        legacy_keys(["old"]),
        lambda request: Caller("u-guest", source="guest"),
    )

    caller = found(identify, asgi(**headers))

    assert expected == (caller and (caller.user_id, caller.source))


def test_look_up_that_fails_never_makes_somebody_else() -> None:
    """When the sessions' store is down the request is counted, not given to the guest."""

    def down(token: str) -> Caller | None:
        raise ConnectionError(token)

    guest = Caller("u-guest")
    bench = Bench(answering(CHAT), identify=first_of(session(down), lambda request: guest))

    bench.post(cookie="session=s-1")

    assert [] == bench.recorder.events
    assert {"identify_failed": 1} == bench.unrecorded
