"""Reads a request: method, path, headers, cookies, peer; from an ASGI scope or a WSGI environ.

Both are mappings, so the same functions work under both middlewares. A client or a proxy wrote the
headers: they are data and prove nothing.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

# An ASGI scope or a WSGI environ.
Request = Mapping[str, Any]


def method_of(request: Request) -> str:
    """GET, POST, …, or ""."""
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
    # Servers that know the root path, and mounts, keep it in the path (ASGI). If a proxy strips it,
    # the application sets it (`FastAPI(root_path=…)`), and the path lacks it.
    if path == root or path.startswith(f"{root}/"):
        return path, path[len(root) :]
    return root + path, path


def _wsgi_text(environ: Request, name: str) -> str:
    # PEP 3333 carries bytes in text, one in each character.
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
    """The values that were sent under `name` (lower case). WSGI servers join them into one."""
    if _is_wsgi(request):
        return [text] if (text := environ_header(request, name)) else []
    wanted = name.encode()
    # Servers write the names in lower case (ASGI, connection scope of HTTP).
    sent = [value for key, value in request.get("headers", ()) if key == wanted]
    if not sent:  # most that are asked for are not there
        return []
    return [text for value in sent if (text := _text(value).strip())]


def environ_header(environ: Request, name: str) -> str:
    """`header_of` for a WSGI environ."""
    value = environ.get(_variable(name))
    # PEP 3333 carries bytes in text, one in each character. Most headers are not there.
    return _text(str(value).encode("latin-1", "replace")).strip() if value else ""


def cookie_values(request: Request, name: str) -> list[str]:
    """All values of the cookie `name`.

    Parsed as frameworks parse them: a malformed cookie does not affect the others. The standard
    library's parser stops at it, and takes quadratic time on some (CVE-2024-7592).
    """
    # HTTP/2 may send each cookie separately (RFC 9113, section 8.2.3).
    sent = ";".join(header_values(request, "cookie")).split(";")
    pairs = (cookie.partition("=") for cookie in sent)
    return [value.strip().strip('"') for key, _, value in pairs if key.strip() == name]


def peer_of(request: Request) -> str:
    """The peer's address of the connection; "" for a unix socket."""
    if _is_wsgi(request):
        return str(request.get("REMOTE_ADDR", ""))
    client = request.get("client")
    return str(client[0]) if client else ""


def _is_wsgi(request: Request) -> bool:
    return "REQUEST_METHOD" in request


@lru_cache(maxsize=256)  # the same few names with every request
def _variable(name: str) -> str:
    variable = name.upper().replace("-", "_")
    return variable if variable in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{variable}"


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
