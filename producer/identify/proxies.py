"""Callers by the headers of a proxy that has authenticated them (oauth2-proxy, Envoy, nginx).

Anybody can send such a header. It counts only from a connection of the proxy's own address, and
the proxy must overwrite what its clients send under that name.
"""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from usagepipe.producer.watching.callers import Caller, Identify
from usagepipe.producer.watching.requests import Request, header_of, peer_of

UNIX_SOCKET = "unix"


def proxy_headers(
    *,
    trusted: Iterable[str],
    user_id: str = "x-forwarded-user",
    user_name: str = "x-forwarded-preferred-username",
    team_id: str = "",
    customer_id: str = "",
    source: str = "web",
) -> Identify:
    """The caller that the headers of these names tell of, when a proxy in `trusted` sent them.

    `trusted` are addresses or networks (`10.0.0.0/8`), and `unix` for connections over a unix
    socket. The peer is the one that the server tells: uvicorn puts the client's address in its
    place for proxies of its `--forwarded-allow-ips`, so run it with `--no-proxy-headers`. An id
    with a comma is refused: so a server joins a header that was sent twice. Under WSGI
    `X_Forwarded_User` is the same as `X-Forwarded-User`: server or proxy must drop names with
    underscores, as gunicorn and nginx do.

    Raises:
        ValueError: an entry of `trusted` is no address or network.
    """
    entries = frozenset(trusted)
    networks = [ip_network(entry) for entry in entries - {UNIX_SOCKET}]

    def is_trusted(peer: str) -> bool:
        if not peer:
            return UNIX_SOCKET in entries
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in networks)

    def identify(request: Request) -> Caller | None:
        if not is_trusted(peer_of(request)):
            return None
        ids = [header_of(request, name) if name else "" for name in (user_id, team_id, customer_id)]
        if not ids[0] or any("," in each for each in ids):
            return None
        name = header_of(request, user_name)
        return Caller(ids[0], name, source=source, team_id=ids[1], customer_id=ids[2])

    return identify
