"""Callers by the session that a browser keeps in a cookie, or an app sends as a bearer token."""

from dataclasses import replace

from usagepipe.producer.callers import Caller, Found, Identify
from usagepipe.producer.identify.chains import first_of, then
from usagepipe.producer.identify.keys import LookUp, bearer_of
from usagepipe.producer.requests import Request, cookie_of


def session(look_up: LookUp, *, cookie: str = "session", bearer: bool = True) -> Identify:
    """The caller whose session the cookie, or with `bearer` the bearer token, names.

    `look_up` finds whose session it is (None: nobody's); it may be async. Give it the check of the
    signature too, where cookies are signed. The source is `web` unless the caller has another.
    """

    def identify(request: Request) -> Found:
        sent = (cookie_of(request, cookie), bearer_of(request) if bearer else "")
        return first_of(*(_owner(token, look_up) for token in sent if token))(request)

    return identify


def _owner(token: str, look_up: LookUp) -> Identify:
    return lambda request: then(look_up(token), _from_web)


def _from_web(caller: Caller | None) -> Caller | None:
    return caller and replace(caller, source=caller.source or "web")
