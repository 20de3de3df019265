"""Who made a request. A caller's ids go into events unchanged, so they must not hold a raw key.

A key without an id is replaced by its fingerprint. The same key always gives the same fingerprint,
and without the secret nobody can compute the key from it.
"""

import hmac
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from uuid import UUID

FINGERPRINT_HEX_DIGITS = 32  # 128 bits: two keys never share it
SHOWN_CHARS = 4
MIN_KEY_CHARS_TO_SHOW = 16  # four characters of a shorter key would reveal too much
MIN_SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a request's usage. Sums are by ids; names are snapshots, for people."""

    user_id: str
    user_name: str = ""
    api_key_id: str = ""  # the key's id or its `fingerprint_key`, never the key
    api_key_name: str = ""
    source: str = ""  # web, apikey, legacy or another word; empty: apikey with a key, else web
    virtual_key_id: str = ""
    team_id: str = ""
    customer_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Accept values of database rows: null means empty; numbers and UUIDs are ids."""
        for name in TEXTS:
            value: object = getattr(self, name)
            if isinstance(value, str):  # nearly always; this runs for each request
                continue
            if value is None:
                object.__setattr__(self, name, "")
            elif isinstance(value, int | UUID) and not isinstance(value, bool):
                object.__setattr__(self, name, str(value))


TEXTS = tuple(each.name for each in fields(Caller) if each.name != "tags")


# None: the caller is unknown, and nothing is recorded.
Found = Caller | Awaitable[Caller | None] | None

# Called with the ASGI scope or WSGI environ after the answer is complete. So an authentication
# inside the application has filled it by then, and a slow look-up delays no byte.
Identify = Callable[[Any], Found]


def at_once(identify: Callable[[Any], Found]) -> Callable[[Any], Caller | None]:
    """`identify` for callers that cannot await: an awaitable result raises a TypeError."""
    if inspect.iscoroutinefunction(identify):
        raise TypeError("an async function cannot be awaited here: give a plain function")

    def identify_now(request: Any) -> Caller | None:
        found = identify(request)
        if inspect.isawaitable(found):
            if inspect.iscoroutine(found):
                found.close()
            raise TypeError("the look-up of the caller is async, and cannot be awaited here")
        return found

    return identify_now


def fingerprint_key(raw: str, secret: str | bytes) -> str:
    """An id for the API key `raw`: a hash keyed with `secret`, and the key's last four characters.

    Never change `secret`, and use the same one in all processes: another secret gives every key
    another id. Short keys get no last four characters, which would reveal too much of them.

    Raises:
        ValueError: `secret` is shorter than 16 bytes. The message holds neither secret nor key.
    """
    key = secret.encode() if isinstance(secret, str) else secret
    if len(key) < MIN_SECRET_BYTES:
        raise ValueError(f"the secret of fingerprint_key needs {MIN_SECRET_BYTES} bytes or more")
    digest = hmac.digest(key, raw.encode("utf-8", "surrogateescape"), "sha256").hex()
    fingerprint, last = f"key-{digest[:FINGERPRINT_HEX_DIGITS]}", raw[-SHOWN_CHARS:]
    is_shown = len(raw) >= MIN_KEY_CHARS_TO_SHOW and last.isascii() and last.isprintable()
    return f"{fingerprint}-{last}" if is_shown else fingerprint
