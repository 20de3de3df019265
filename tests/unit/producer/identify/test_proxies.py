"""Headers identify a caller only if a trusted proxy sent them."""

from collections.abc import Callable

import pytest

from tests.support.identifying import asgi, both_protocols, found
from usagepipe.producer import Caller
from usagepipe.producer.identify import proxy_headers
from usagepipe.producer.watching.requests import Request

PROXY = proxy_headers(trusted=["10.0.0.0/8", "::1"], team_id="x-team")


@both_protocols
def test_headers_of_a_trusted_proxy_count(request_of: Callable[..., Request]) -> None:
    """The proxy names the user, the name in any script, and the team."""
    headers = {"x_forwarded_user": "ada", "x_forwarded_preferred_username": "Ada Lövelace 阿"}

    caller = found(PROXY, request_of(**headers, x_team="t-1"))

    assert Caller("ada", "Ada Lövelace 阿", team_id="t-1", source="web") == caller


@both_protocols
@pytest.mark.parametrize(
    ("peer", "known"),
    [
        ("10.255.0.9", True),
        ("::1", True),
        ("::ffff:10.0.0.1", True),
        ("11.0.0.1", False),
        ("testclient", False),
        (None, False),
    ],
)
def test_headers_of_anybody_else_do_not(
    request_of: Callable[..., Request], peer: str | None, known: bool
) -> None:
    """From another address the same headers are a stranger's claim: nobody is known."""
    caller = found(PROXY, request_of(peer=peer, x_forwarded_user="admin"))

    assert known == (caller is not None)


def test_unix_socket_is_trusted_by_name_only() -> None:
    """Connections over a unix socket have no address: `unix` trusts them."""
    identify = proxy_headers(trusted=["unix"])

    assert found(identify, asgi(peer=None, x_forwarded_user="ada")) is not None
    assert found(identify, asgi(x_forwarded_user="ada")) is None


def test_header_that_was_sent_twice_is_nobodys() -> None:
    """A proxy that adds instead of overwriting leaves the client's claim in: it is refused."""
    ada = (b"x-forwarded-user", b"ada")
    twice = [(b"x-forwarded-user", b"admin"), ada]
    team_twice = [ada, (b"x-team", b"t-1"), (b"x-team", b"t-2")]

    assert found(PROXY, dict(asgi()) | {"headers": twice}) is None
    assert found(PROXY, dict(asgi()) | {"headers": team_twice}) is None


def test_wrong_network_is_refused_at_the_start() -> None:
    """A mistyped address would trust nobody, silently."""
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        proxy_headers(trusted=["10.0.0.0/33"])
