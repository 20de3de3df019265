"""Callers are identified by their API keys, which never get into an event."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.identifying import (
    ADA,
    ADAS_KEY,
    KEY,
    SECRET,
    asgi,
    both_look_ups,
    both_protocols,
    found,
)
from tests.support.watched import CHAT, Bench, answering
from usagepipe.producer import Caller, fingerprint_key
from usagepipe.producer.identify import api_key, legacy_keys
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.requests import Request


@both_protocols
@both_look_ups
@pytest.mark.parametrize(
    ("headers", "source"),
    [
        ({"authorization": f"Bearer {KEY}"}, "apikey"),
        ({"authorization": f"bearer  {KEY} "}, "apikey"),
        ({"x_api_key": KEY}, "apikey"),
        ({"api_key": KEY}, "apikey"),
        ({"x_goog_api_key": KEY}, "apikey"),
        ({"xi_api_key": KEY}, "apikey"),
        ({"cookie": f"theme=dark; token={KEY}"}, "apikey"),
        ({"authorization": "Bearer another", "x_api_key": KEY}, "apikey"),
        ({"authorization": f"Basic {KEY}"}, None),
        ({"cookie": KEY}, None),
        ({}, None),
    ],
)
def test_key_is_looked_up_wherever_clients_put_it(
    request_of: Callable[..., Request],
    look_up: Callable[[dict[str, Caller]], Any],
    headers: dict[str, str],
    source: str | None,
) -> None:
    """Bearer, each provider's own header and the token cookie; the first known key counts."""
    identify = api_key(look_up({KEY: ADAS_KEY}), secret=SECRET)

    caller = found(identify, request_of(**headers))

    assert source == (caller and caller.source)
    assert None is caller or ("u-ada", "k-1", "laptop") == (
        caller.user_id,
        caller.api_key_id,
        caller.api_key_name,
    )


def test_key_without_an_id_gets_its_fingerprint() -> None:
    """A look-up that knows the user alone: the key's id is its keyed hash."""
    caller = found(api_key({KEY: ADA}.get, secret=SECRET), asgi(x_api_key=KEY))

    assert caller is not None
    assert (fingerprint_key(KEY, SECRET), "u-ada") == (caller.api_key_id, caller.user_id)


LEAKS = ["user_id", "user_name", "api_key_id", "api_key_name", "virtual_key_id", "team_id", "tags"]


@pytest.mark.parametrize("field", LEAKS)
def test_raw_key_is_replaced_wherever_a_look_up_put_it(field: str) -> None:
    """A look-up that gives the key itself for an id, a name or a tag does not get it into an
    event."""
    leak: Any = {"key": f"<{KEY}>"} if field == "tags" else f"<{KEY}>"
    leaking = replace(Caller("u"), **{field: leak})
    bench = Bench(answering(CHAT), identify=api_key({KEY: leaking}.get, secret=SECRET))

    bench.post(authorization=f"Bearer {KEY}")

    assert KEY not in bench.event.model_dump_json()
    assert fingerprint_key(KEY, SECRET) in str(getattr(bench.event, field))


def test_short_key_changes_no_name_that_it_stands_in_by_chance() -> None:
    """A key of a demo such as `ada` is no secret, and `u-ada` stays; as an id it is replaced."""
    identify = api_key({"ada": Caller("u-ada", api_key_id="ada")}.get, secret=SECRET)

    caller = found(identify, asgi(x_api_key="ada"))

    assert ("u-ada", fingerprint_key("ada", SECRET)) == (
        caller and (caller.user_id, caller.api_key_id)
    )


def test_without_a_look_up_each_key_is_a_user() -> None:
    """Two keys are two users, the same key the same one, and neither key shows."""
    identify = api_key(secret=SECRET)

    callers = [found(identify, asgi(x_api_key=key)) for key in (KEY, KEY, KEY[::-1])]

    assert callers[0] == callers[1] != callers[2]
    assert KEY not in str(callers)


@pytest.mark.parametrize(
    ("look_up", "record", "users"),
    [
        (None, "failed,cancelled,missing", 2),
        (None, "cancelled,missing", 0),
        ({}.get, "failed,cancelled,missing", 0),
    ],
)
def test_made_up_key_that_was_refused_is_a_user_where_nobody_looks_it_up(
    look_up: Callable[[str], Caller | None] | None, record: str, users: int
) -> None:
    """T-39: each key that anybody makes up and that is answered 401 is a failed request of its own
    user, unless a look-up knows whose keys there are or failed requests are not recorded."""
    recorder = MemoryRecorder(record=record)
    identify = api_key(look_up, secret=SECRET)
    refusing = answering({"error": "no such key"}, status=401)
    bench = Bench(refusing, recorder=recorder, identify=identify)

    for key in (KEY, KEY[::-1]):
        bench.post(authorization=f"Bearer {key}")

    made = {event.user_id for event in recorder.events}
    assert {fingerprint_key(key, SECRET) for key in (KEY, KEY[::-1])[:users]} == made
    assert {"failed": 2} == bench.unrecorded


def test_short_secret_is_refused_at_the_start() -> None:
    """A useless secret is refused when the service starts, not at each request."""
    with pytest.raises(ValueError, match="needs 16 bytes"):
        api_key(secret="short")


def test_key_that_was_sent_twice_is_found() -> None:
    """A second header hides nobody: of several, frameworks take the first or the last."""
    identify = api_key({KEY: ADAS_KEY}.get, secret=SECRET)
    other, mine = (b"authorization", b"Bearer other"), (b"authorization", f"Bearer {KEY}".encode())

    callers = [
        found(identify, dict(asgi()) | {"headers": headers})
        for headers in ([mine, other], [other, mine], [(b"x-api-key", b"other"), mine])
    ]

    assert [ADAS_KEY.user_id] * 3 == [caller and caller.user_id for caller in callers]


def test_keys_without_end_are_not_all_looked_up() -> None:
    """A request with thousands of keys costs a handful of look-ups."""
    asked: list[str] = []

    def nobody(key: str) -> None:
        asked.append(key)

    headers = [(b"x-api-key", b"k-%d" % number) for number in range(1_000)]
    cookies = [(b"cookie", b"token=t-%d" % number) for number in range(1_000)]

    found(api_key(nobody, secret=SECRET), dict(asgi()) | {"headers": headers + cookies})

    assert ["k-0", "k-999", "t-0", "t-999"] == asked


@both_protocols
def test_key_of_the_list_is_legacy(request_of: Callable[..., Request]) -> None:
    """Keys from the environment are one user of the source `legacy`, without a key's id."""
    identify = legacy_keys(["other", KEY, ""])

    assert Caller("legacy-api-key", "API Key User", source="legacy") == found(
        identify, request_of(authorization=f"Bearer {KEY}")
    )
    assert None is found(identify, request_of(authorization="Bearer "))
    assert None is found(identify, request_of(x_api_key=KEY + "0"))
