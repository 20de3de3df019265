"""Callers are identified by a session, with any other cookies."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.identifying import ADA, SECRET, asgi, both_look_ups, both_protocols, found
from usagepipe.producer import Caller
from usagepipe.producer.identify import api_key, session
from usagepipe.producer.watching.requests import Request


@both_protocols
@both_look_ups
@pytest.mark.parametrize("headers", [{"cookie": "session=s-1"}, {"authorization": "Bearer s-1"}])
def test_session_is_from_the_web(
    request_of: Callable[..., Request],
    look_up: Callable[[dict[str, Caller]], Any],
    headers: dict[str, str],
) -> None:
    """A session in its cookie or as a bearer token is of the source `web` and has no key."""
    caller = found(session(look_up({"s-1": ADA})), request_of(**headers))

    assert Caller("u-ada", "Ada", source="web") == caller


def test_cookies_that_came_one_by_one_are_read() -> None:
    """HTTP/2 may send each cookie as a header of its own."""
    request = dict(asgi()) | {"headers": [(b"cookie", b"a=1"), (b"cookie", b"session=s-1")]}

    assert found(session({"s-1": ADA}.get), request) is not None


@pytest.mark.parametrize(
    "sent",
    [
        "path=/; session=s-1",
        "x; session=s-1",
        "a b=1; session=s-1",
        'x="a; session=s-1',
        'session="s-1"',
        "session=old; session=s-1",
        "session=s-1; session=old",
        "; =; session = s-1 ",
    ],
)
@both_protocols
def test_odd_cookie_costs_none_of_the_others(request_of: Callable[..., Request], sent: str) -> None:
    """The session is found next to any other cookies. If it was sent twice, frameworks take the
    first or the last."""
    assert found(session({"s-1": ADA}.get), request_of(cookie=sent)) is not None


@pytest.mark.alone
def test_cookies_are_read_in_linear_time() -> None:
    """60 KB of a stranger's backslashes hold nobody up (CVE-2024-7592 of the standard library)."""
    request = asgi(cookie='token="' + "\\" * 60_000 + '"', authorization="Bearer x")
    began = time.perf_counter()

    found(api_key(lambda key: None, secret=SECRET), request)

    assert time.perf_counter() - began < 0.5
