"""Callers by the key that they send. Keys go to your look-up and nowhere else: not into events,
not even where a look-up gives the key itself for an id, which the fingerprint then replaces.
"""

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence

from usagepipe.producer.identify.chains import first_in, then
from usagepipe.producer.watching.callers import TEXTS, Caller, Found, Identify, fingerprint_key
from usagepipe.producer.watching.requests import Request, cookie_values, header_values

# Where clients of OpenAI, Anthropic, Azure, Gemini and ElevenLabs put their keys.
KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "xi-api-key")
KEY_COOKIE = "token"

LEGACY_USER_ID = "legacy-api-key"
LEGACY_USER_NAME = "API Key User"

MIN_CHARS_TO_SEEK = 8  # shorter keys may stand in a name by chance, and are no secrets

LookUp = Callable[[str], Found]


def api_key(
    look_up: LookUp | None = None,
    *,
    secret: str | bytes,
    headers: Iterable[str] = KEY_HEADERS,
    cookie: str = KEY_COOKIE,
) -> Identify:
    """Callers by a bearer token, by one of the other `headers`, or by a cookie.

    `look_up` finds whose key it is (None: nobody's; it may be async) and is asked for each key
    that a request brings until it knows one. Without it every key is a user of its own, as suits
    a gateway that passes its clients' keys on; but then anybody can be a user, by a request that is
    refused (401) too: the setting `record` without `failed` leaves those out. A caller without a
    key id gets the fingerprint of the key under `secret` (see `fingerprint_key`). The source is
    `apikey` unless the caller has another.
    """
    names = tuple(headers)
    fingerprint_key("", secret)  # a secret that is too short is told here, not at each request

    def identify(request: Request) -> Found:
        keys = _keys_in(request, names, cookie)
        return first_in(request, (_owner(key, look_up, secret) for key in keys))

    return identify


def _owner(key: str, look_up: LookUp | None, secret: str | bytes) -> Identify:
    def identify(request: Request) -> Found:
        fingerprint = fingerprint_key(key, secret)
        found = Caller(user_id=fingerprint) if look_up is None else look_up(key)
        return then(found, lambda caller: _with_key(caller, key, fingerprint))

    return identify


def _with_key(caller: Caller | None, key: str, fingerprint: str) -> Caller | None:
    if caller is None:
        return None

    def hide(text: str) -> str:
        if len(key) < MIN_CHARS_TO_SEEK:
            return fingerprint if text == key else text
        return text.replace(key, fingerprint)

    texts = {name: hide(getattr(caller, name)) for name in TEXTS}
    texts["api_key_id"] = texts["api_key_id"] or fingerprint
    texts["source"] = texts["source"] or "apikey"
    tags = {hide(name): hide(value) for name, value in caller.tags.items()}
    return Caller(**texts, tags=tags)


def legacy_keys(
    keys: Iterable[str],
    *,
    user_id: str = LEGACY_USER_ID,
    user_name: str = LEGACY_USER_NAME,
    headers: Iterable[str] = KEY_HEADERS,
    cookie: str = KEY_COOKIE,
) -> Identify:
    """One caller, of the source `legacy`, for all keys of a list that names nobody: such as a
    list in the environment from before there were users."""
    known = tuple(key.encode() for key in keys if key)
    names = tuple(headers)
    caller = Caller(user_id=user_id, user_name=user_name, source="legacy")

    def identify(request: Request) -> Caller | None:
        sent = [key.encode("utf-8", "surrogateescape") for key in _keys_in(request, names, cookie)]
        # Compared as a whole: the time that it takes tells nothing of a key.
        if any(hmac.compare_digest(key, other) for key in sent for other in known):
            return caller
        return None

    return identify


def bearers_of(request: Request) -> Iterator[str]:
    """The tokens of `Authorization: Bearer …`."""
    for value in ends(header_values(request, "authorization")):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            yield token.strip()


def _keys_in(request: Request, headers: Iterable[str], cookie: str) -> Iterator[str]:
    for name in headers:
        if name == "authorization":
            yield from bearers_of(request)
        else:
            yield from ends(header_values(request, name))
    if cookie:
        yield from ends(cookie_values(request, cookie))


def ends(values: Sequence[str]) -> list[str]:
    """Of what was sent more than once the first and the last: frameworks take the one or the
    other, and a stranger must not make us look up thousands."""
    return list(dict.fromkeys(value for value in (*values[:1], *values[-1:]) if value))
