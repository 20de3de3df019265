"""Identifies callers by headers of an authenticating proxy (oauth2-proxy, Envoy, nginx).

Anybody can send such a header. It counts only on connections from the proxy's own address, and the
proxy must overwrite the header if a client sends it.
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
    """Identify the caller by the headers of these names, if a proxy in `trusted` sent them.

    `trusted` has addresses or networks (`10.0.0.0/8`), and `unix` for connections over a unix
    socket. The peer address comes from the server. uvicorn replaces it with the client's address
    for proxies in its `--forwarded-allow-ips`, so run it with `--no-proxy-headers`. An id with a
    comma is refused, because servers join a header that was sent twice with a comma. Under WSGI
    `X_Forwarded_User` equals `X-Forwarded-User`: the server or the proxy must drop names with
    underscores, as gunicorn and nginx do.

    Raises:
        ValueError: an entry of `trusted` is not an address or a network.
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
