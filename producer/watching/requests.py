"""What a request tells, whether it came by ASGI (a scope) or by WSGI (an environ).

Both are mappings by text, so what asks here works under either middleware. A header holds what a
client or a proxy wrote: data, and proof of nothing.
"""

from collections.abc import Mapping
from typing import Any

# An ASGI scope or a WSGI environ.
Request = Mapping[str, Any]


def method_of(request: Request) -> str:
    """GET, POST, …; "" where there is none."""
    return str(request["REQUEST_METHOD"] if _is_wsgi(request) else request.get("method", ""))


def paths_of(request: Request) -> tuple[str, str]:
    """The whole path, without its query, and its part below the application's root path."""
    if _is_wsgi(request):
        root, path = _wsgi_text(request, "SCRIPT_NAME"), _wsgi_text(request, "PATH_INFO")
        return root + path, path
    path = str(request.get("path", ""))
    root = str(request.get("root_path", "")).rstrip("/")
    if not root:
        return path, path
    # A server that knows the root path and a mount leave it in the path (ASGI). A proxy that strips
    # it leaves it to the application (`FastAPI(root_path=…)`), whose path then lacks it.
    if path == root or path.startswith(f"{root}/"):
        return path, path[len(root) :]
    return root + path, path


def _wsgi_text(environ: Request, name: str) -> str:
    # PEP 3333 carries bytes in text, one a character.
    return str(environ.get(name, "")).encode("latin-1", "replace").decode("utf-8", "replace")


def header_of(request: Request, name: str) -> str:
    """The value of the header `name` (lower case), or "". Sent twice, it is both, with a comma."""
    return ",".join(header_values(request, name))


class RequestHeaders:
    """`header_of` for the headers of one ASGI request, which are gone through only once."""

    def __init__(self, scope: Request) -> None:
        self._scope = scope
        self._values: dict[bytes, bytes] | None = None  # None: no header was asked for yet
        self._is_repeated = False  # a header was sent twice

    def __call__(self, name: str) -> str:
        if self._values is None:
            sent = tuple(self._scope.get("headers", ()))
            self._values = dict(sent)
            self._is_repeated = len(self._values) < len(sent)
        if self._is_repeated:
            return header_of(self._scope, name)
        value = self._values.get(name.encode())
        return "" if value is None else _text(value).strip()


def header_values(request: Request, name: str) -> list[str]:
    """Each value that was sent under `name` (lower case). A WSGI server has joined them to one."""
    if _is_wsgi(request):
        sent = [str(request.get(_variable(name), "")).encode("latin-1", "replace")]
    else:
        wanted = name.encode()
        # Servers write the names in lower case (ASGI, connection scope of HTTP).
        sent = [value for key, value in request.get("headers", ()) if key == wanted]
        if not sent:  # most that are asked for are not there
            return []
    return [text for value in sent if (text := _text(value).strip())]


def cookie_values(request: Request, name: str) -> list[str]:
    """Each value of the cookie `name` that was sent.

    Read as frameworks read them, one cookie that is odd costing none of the others. The standard
    library's reader stops at it, and takes quadratic time on some (CVE-2024-7592).
    """
    # HTTP/2 may send each on its own (RFC 9113, section 8.2.3).
    sent = ";".join(header_values(request, "cookie")).split(";")
    pairs = (cookie.partition("=") for cookie in sent)
    return [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]


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
