"""Callers by the session that a browser keeps in a cookie, or an app sends as a bearer token."""

from dataclasses import replace
from itertools import chain

from usagepipe.producer.identify.chains import first_in, then
from usagepipe.producer.identify.keys import LookUp, bearers_of, ends
from usagepipe.producer.watching.callers import Caller, Found, Identify
from usagepipe.producer.watching.requests import Request, cookie_values


def session(look_up: LookUp, *, cookie: str = "session", bearer: bool = True) -> Identify:
    """The caller whose session the cookie, or with `bearer` the bearer token, names.

    `look_up` finds whose session it is (None: nobody's); it may be async. Give it the check of the
    signature too, where cookies are signed. The source is `web` unless the caller has another.
    """

    def identify(request: Request) -> Found:
        sent = chain(ends(cookie_values(request, cookie)), bearers_of(request) if bearer else ())
        return first_in(request, (_owner(token, look_up) for token in sent))

    return identify


def _owner(token: str, look_up: LookUp) -> Identify:
    return lambda request: then(look_up(token), _from_web)


def _from_web(caller: Caller | None) -> Caller | None:
    return caller and replace(caller, source=caller.source or "web")
