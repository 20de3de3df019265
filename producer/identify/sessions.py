"""Identifies callers by a session: in a browser's cookie, or in a bearer token of an app."""

from dataclasses import replace
from itertools import chain

from usagepipe.producer.identify.chains import first_in, then
from usagepipe.producer.identify.keys import LookUp, bearers_of, ends
from usagepipe.producer.watching.callers import Caller, Found, Identify
from usagepipe.producer.watching.requests import Request, cookie_values


def session(look_up: LookUp, *, cookie: str = "session", bearer: bool = True) -> Identify:
    """Identify the caller by the session in the cookie, or in the bearer token if `bearer` is set.

    `look_up` returns the owner of a session (None: nobody); it may be async. If cookies are signed,
    it must check the signature too. The source is `web` unless the caller has another one.
    """

    def identify(request: Request) -> Found:
        sent = chain(ends(cookie_values(request, cookie)), bearers_of(request) if bearer else ())
        return first_in(request, (_owner(token, look_up) for token in sent))

    return identify


def _owner(token: str, look_up: LookUp) -> Identify:
    return lambda request: then(look_up(token), _from_web)


def _from_web(caller: Caller | None) -> Caller | None:
    return caller and replace(caller, source=caller.source or "web")
