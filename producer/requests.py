"""What a request tells, whether it came by ASGI (a scope) or by WSGI (an environ).

Both are mappings by text, so what asks here works under either middleware. A header holds what a
client or a proxy wrote: data, and proof of nothing.
"""

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

# An ASGI scope or a WSGI environ.
Request = Mapping[str, Any]


def method_of(request: Request) -> str:
    """GET, POST, …; "" where there is none."""
    return str(request["REQUEST_METHOD"] if _is_wsgi(request) else request.get("method", ""))


def path_of(request: Request) -> str:
    """The whole path, without its query."""
    if not _is_wsgi(request):
        return str(request.get("path", ""))
    # PEP 3333 carries bytes in text, one a character.
    path = str(request.get("SCRIPT_NAME", "")) + str(request.get("PATH_INFO", ""))
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def header_of(request: Request, name: str) -> str:
    """The value of the header `name` (lower case), or "". Sent twice, it is both, with a comma."""
    if _is_wsgi(request):
        value = str(request.get(_variable(name), "")).encode("latin-1", "replace")
    else:
        wanted = name.encode()
        # Servers write the names in lower case (ASGI, connection scope of HTTP).
        sent = [value for key, value in request.get("headers", ()) if key == wanted]
        # HTTP/2 sends each cookie on its own (RFC 9113, section 8.2.3).
        value = (b"; " if name == "cookie" else b",").join(sent)
    return _text(value).strip()


def cookie_of(request: Request, name: str) -> str:
    """The value of the cookie `name`, or ""."""
    try:
        found = SimpleCookie(header_of(request, "cookie")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def peer_of(request: Request) -> str:
    """The address at the other end of the connection; "" for a unix socket."""
    if _is_wsgi(request):
        return str(request.get("REMOTE_ADDR", ""))
    client = request.get("client")
    return str(client[0]) if client else ""


def _is_wsgi(request: Request) -> bool:
    return "REQUEST_METHOD" in request


def _variable(name: str) -> str:
    variable = name.upper().replace("-", "_")
    return variable if variable in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{variable}"


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
