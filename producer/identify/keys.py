"""Identifies callers by their API keys, or by a session in a cookie or a bearer token.

Both go to your look-up function only. A key never goes into events: even if the look-up returns the
key itself as an id, its fingerprint replaces it.
"""

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from usagepipe.producer.identify.chains import first_found, then
from usagepipe.producer.watching.callers import TEXTS, Caller, Found, Identify, fingerprint_key
from usagepipe.producer.watching.requests import Request, cookie_values, header_values

# Where the clients of OpenAI, Anthropic, Azure, Gemini and ElevenLabs send their keys.
KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "xi-api-key")
KEY_COOKIE = "token"

MIN_CHARS_TO_SEEK = 8  # a shorter key may be part of a name by chance, and is no secret

LookUp = Callable[[str], Found]


def api_key(
    look_up: LookUp | None = None,
    *,
    secret: str | bytes,
    headers: Iterable[str] = KEY_HEADERS,
    cookie: str = KEY_COOKIE,
) -> Identify:
    """Identify callers by a bearer token, by one of the other `headers`, or by a cookie.

    `look_up` returns the owner of a key (None: nobody; it may be async). It is called for each key
    in a request until it knows one. Without `look_up`, every key is a user of its own. That suits a
    gateway that forwards its clients' keys. But then anybody can appear as a user, even with a
    refused request (401): the setting `record` without `failed` skips those. A caller without a key
    id gets the key's fingerprint under `secret` (see `fingerprint_key`). The source is `apikey`
    unless the caller has another one.
    """
    names = tuple(headers)
    fingerprint_key("", secret)  # a short secret raises here, not with each request

    def identify(request: Request) -> Found:
        keys = _keys_in(request, names, cookie)
        return first_found(_owner(key, look_up, secret) for key in keys)

    return identify


def _owner(key: str, look_up: LookUp | None, secret: str | bytes) -> Found:
    fingerprint = fingerprint_key(key, secret)
    found = Caller(user_id=fingerprint) if look_up is None else look_up(key)
    return then(found, lambda caller: _with_key(caller, key, fingerprint))


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
    user_id: str = "legacy-api-key",
    user_name: str = "API Key User",
    headers: Iterable[str] = KEY_HEADERS,
    cookie: str = KEY_COOKIE,
) -> Identify:
    """One caller, with the source `legacy`, for all keys of a list without owners: for example a
    list in the environment, from a time before there were users."""
    known = tuple(key.encode() for key in keys if key)
    names = tuple(headers)
    caller = Caller(user_id=user_id, user_name=user_name, source="legacy")

    def identify(request: Request) -> Caller | None:
        sent = [key.encode("utf-8", "surrogateescape") for key in _keys_in(request, names, cookie)]
        # In constant time: the duration must not reveal a key.
        if any(hmac.compare_digest(key, other) for key in sent for other in known):
            return caller
        return None

    return identify


def session(look_up: LookUp, *, cookie: str = "session", bearer: bool = True) -> Identify:
    """Identify the caller by the session in the cookie, or in the bearer token if `bearer` is set.

    `look_up` returns the owner of a session (None: nobody); it may be async. If cookies are signed,
    it must check the signature too. The source is `web` unless the caller has another one.
    """

    def identify(request: Request) -> Found:
        sent = chain(_ends(cookie_values(request, cookie)), _bearers(request) if bearer else ())
        return first_found(then(look_up(token), _from_web) for token in sent)

    return identify


def _from_web(caller: Caller | None) -> Caller | None:
    return caller and replace(caller, source=caller.source or "web")


def _bearers(request: Request) -> Iterator[str]:
    """The tokens of `Authorization: Bearer …`."""
    for value in _ends(header_values(request, "authorization")):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            yield token.strip()


def _keys_in(request: Request, headers: Iterable[str], cookie: str) -> Iterator[str]:
    for name in headers:
        if name == "authorization":
            yield from _bearers(request)
        else:
            yield from _ends(header_values(request, name))
    if cookie:
        yield from _ends(cookie_values(request, cookie))


def _ends(values: Sequence[str]) -> list[str]:
    """The first and the last of the values. Frameworks use one of the two, and a client that sends
    thousands must not cause thousands of look-ups."""
    return list(dict.fromkeys(value for value in (*values[:1], *values[-1:]) if value))
