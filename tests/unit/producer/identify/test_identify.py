"""Who calls: the ready-made ways to know a caller, under ASGI and WSGI alike."""

import asyncio
import inspect
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.support.watched import CHAT, Bench, answering
from usagepipe.producer import Caller, fingerprint_key
from usagepipe.producer.identify import (
    api_key,
    first_of,
    legacy_keys,
    local_user,
    proxy_headers,
    session,
)
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.producer.watching.callers import Identify
from usagepipe.producer.watching.requests import Request
from usagepipe.schemas.errors import WrongUseError

SECRET = "0123456789abcdef"
KEY = "sk-live-9f8e7d6c5b4a3210"
ADA = Caller("u-ada", "Ada")
ADAS_KEY = Caller("u-ada", "Ada", api_key_id="k-1", api_key_name="laptop")


def asgi(*, peer: str | None = "10.0.0.1", **headers: str) -> Request:
    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    client = None if peer is None else (peer, 5_000)
    return {"type": "http", "method": "POST", "path": "/", "headers": pairs, "client": client}


def wsgi(*, peer: str | None = "10.0.0.1", **headers: str) -> Request:
    # PEP 3333: bytes as text, one a character.
    pairs = {f"HTTP_{k.upper()}": v.encode().decode("latin-1") for k, v in headers.items()}
    return {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "REMOTE_ADDR": peer or "", **pairs}


def found(identify: Identify, request: Request) -> Caller | None:
    answer = identify(request)
    return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Any) -> Caller | None:
    caller: Caller | None = await answer
    return caller


def at_once(table: dict[str, Caller]) -> Callable[[str], Any]:
    return table.get


def later(table: dict[str, Caller]) -> Callable[[str], Any]:
    async def look_up(key: str) -> Caller | None:
        await asyncio.sleep(0)
        return table.get(key)

    return look_up


both_protocols = pytest.mark.parametrize("request_of", [asgi, wsgi])
both_look_ups = pytest.mark.parametrize("look_up", [at_once, later])


@both_protocols
@both_look_ups
@pytest.mark.parametrize(
    ("headers", "source"),
    [
        ({"authorization": f"Bearer {KEY}"}, "apikey"),
        ({"authorization": f"bearer  {KEY} "}, "apikey"),
        ({"x_api_key": KEY}, "apikey"),
        ({"api_key": KEY}, "apikey"),
        ({"x_goog_api_key": KEY}, "apikey"),
        ({"xi_api_key": KEY}, "apikey"),
        ({"cookie": f"theme=dark; token={KEY}"}, "apikey"),
        ({"authorization": "Bearer another", "x_api_key": KEY}, "apikey"),
        ({"authorization": f"Basic {KEY}"}, None),
        ({"cookie": KEY}, None),
        ({}, None),
    ],
)
def test_key_is_looked_up_wherever_clients_put_it(
    request_of: Callable[..., Request],
    look_up: Callable[[dict[str, Caller]], Any],
    headers: dict[str, str],
    source: str | None,
) -> None:
    """Bearer, each provider's own header and the token cookie; the first known key counts."""
    identify = api_key(look_up({KEY: ADAS_KEY}), secret=SECRET)

    caller = found(identify, request_of(**headers))

    assert source == (caller and caller.source)
    assert None is caller or ("u-ada", "k-1", "laptop") == (
        caller.user_id,
        caller.api_key_id,
        caller.api_key_name,
    )


def test_key_without_an_id_gets_its_fingerprint() -> None:
    """A look-up that knows the user alone: the key's id is its keyed hash."""
    caller = found(api_key({KEY: ADA}.get, secret=SECRET), asgi(x_api_key=KEY))

    assert caller is not None
    assert (fingerprint_key(KEY, SECRET), "u-ada") == (caller.api_key_id, caller.user_id)


LEAKS = ["user_id", "user_name", "api_key_id", "api_key_name", "virtual_key_id", "team_id", "tags"]


@pytest.mark.parametrize("field", LEAKS)
def test_raw_key_is_replaced_wherever_a_look_up_put_it(field: str) -> None:
    """A look-up that gives the key itself for an id, a name or a tag does not get it into an
    event."""
    leak: Any = {"key": f"<{KEY}>"} if field == "tags" else f"<{KEY}>"
    leaking = replace(Caller("u"), **{field: leak})
    bench = Bench(answering(CHAT), identify=api_key({KEY: leaking}.get, secret=SECRET))

    bench.post(authorization=f"Bearer {KEY}")

    assert KEY not in bench.event.model_dump_json()
    assert fingerprint_key(KEY, SECRET) in str(getattr(bench.event, field))


def test_short_key_changes_no_name_that_it_stands_in_by_chance() -> None:
    """A key of a demo such as `ada` is no secret, and `u-ada` stays; as an id it is replaced."""
    identify = api_key({"ada": Caller("u-ada", api_key_id="ada")}.get, secret=SECRET)

    caller = found(identify, asgi(x_api_key="ada"))

    assert ("u-ada", fingerprint_key("ada", SECRET)) == (
        caller and (caller.user_id, caller.api_key_id)
    )


def test_without_a_look_up_each_key_is_a_user() -> None:
    """Two keys are two users, the same key the same one, and neither key shows."""
    identify = api_key(secret=SECRET)

    callers = [found(identify, asgi(x_api_key=key)) for key in (KEY, KEY, KEY[::-1])]

    assert callers[0] == callers[1] != callers[2]
    assert KEY not in str(callers)


@pytest.mark.parametrize(
    ("look_up", "record", "users"),
    [
        (None, "failed,cancelled,missing", 2),
        (None, "cancelled,missing", 0),
        ({}.get, "failed,cancelled,missing", 0),
    ],
)
def test_made_up_key_that_was_refused_is_a_user_where_nobody_looks_it_up(
    look_up: Callable[[str], Caller | None] | None, record: str, users: int
) -> None:
    """T-39: each key that anybody makes up and that is answered 401 is a failed request of its own
    user, unless a look-up knows whose keys there are or failed requests are not recorded."""
    recorder = MemoryRecorder(record=record)
    identify = api_key(look_up, secret=SECRET)
    refusing = answering({"error": "no such key"}, status=401)
    bench = Bench(refusing, recorder=recorder, identify=identify)

    for key in (KEY, KEY[::-1]):
        bench.post(authorization=f"Bearer {key}")

    made = {event.user_id for event in recorder.events}
    assert {fingerprint_key(key, SECRET) for key in (KEY, KEY[::-1])[:users]} == made
    assert {"failed": 2} == bench.unrecorded


def test_short_secret_is_refused_at_the_start() -> None:
    """A secret that protects nothing is told when the service starts, not at each request."""
    with pytest.raises(ValueError, match="needs 16 bytes"):
        api_key(secret="short")


@both_protocols
@both_look_ups
@pytest.mark.parametrize("headers", [{"cookie": "session=s-1"}, {"authorization": "Bearer s-1"}])
def test_session_is_from_the_web(
    request_of: Callable[..., Request],
    look_up: Callable[[dict[str, Caller]], Any],
    headers: dict[str, str],
) -> None:
    """A session in its cookie or as a bearer token is of the source `web` and has no key."""
    caller = found(session(look_up({"s-1": ADA})), request_of(**headers))

    assert Caller("u-ada", "Ada", source="web") == caller


def test_cookies_that_came_one_by_one_are_read() -> None:
    """HTTP/2 may send each cookie as a header of its own."""
    request = dict(asgi()) | {"headers": [(b"cookie", b"a=1"), (b"cookie", b"session=s-1")]}

    assert found(session({"s-1": ADA}.get), request) is not None


@pytest.mark.parametrize(
    "sent",
    [
        "path=/; session=s-1",
        "x; session=s-1",
        "a b=1; session=s-1",
        'x="a; session=s-1',
        'session="s-1"',
        "session=old; session=s-1",
        "session=s-1; session=old",
        "; =; session = s-1 ",
    ],
)
@both_protocols
def test_odd_cookie_costs_none_of_the_others(request_of: Callable[..., Request], sent: str) -> None:
    """Whatever else a client puts into its cookies, the session that its request came in by is
    found; of one that was sent twice, frameworks take the first or the last."""
    assert found(session({"s-1": ADA}.get), request_of(cookie=sent)) is not None


@pytest.mark.alone
def test_cookies_are_read_in_linear_time() -> None:
    """60 KB of a stranger's backslashes hold nobody up (CVE-2024-7592 of the standard library)."""
    request = asgi(cookie='token="' + "\\" * 60_000 + '"', authorization="Bearer x")
    began = time.perf_counter()

    found(api_key(lambda key: None, secret=SECRET), request)

    assert time.perf_counter() - began < 0.5


def test_key_that_was_sent_twice_is_found() -> None:
    """A second header hides nobody: of several, frameworks take the first or the last."""
    identify = api_key({KEY: ADAS_KEY}.get, secret=SECRET)
    other, mine = (b"authorization", b"Bearer other"), (b"authorization", f"Bearer {KEY}".encode())

    callers = [
        found(identify, dict(asgi()) | {"headers": headers})
        for headers in ([mine, other], [other, mine], [(b"x-api-key", b"other"), mine])
    ]

    assert [ADAS_KEY.user_id] * 3 == [caller and caller.user_id for caller in callers]


def test_keys_without_end_are_not_all_looked_up() -> None:
    """A request with thousands of keys costs a handful of look-ups."""
    asked: list[str] = []

    def nobody(key: str) -> None:
        asked.append(key)

    headers = [(b"x-api-key", b"k-%d" % number) for number in range(1_000)]
    cookies = [(b"cookie", b"token=t-%d" % number) for number in range(1_000)]

    found(api_key(nobody, secret=SECRET), dict(asgi()) | {"headers": headers + cookies})

    assert ["k-0", "k-999", "t-0", "t-999"] == asked


@both_protocols
def test_key_of_the_list_is_legacy(request_of: Callable[..., Request]) -> None:
    """Keys from the environment are one user of the source `legacy`, without a key's id."""
    identify = legacy_keys(["other", KEY, ""])

    assert Caller("legacy-api-key", "API Key User", source="legacy") == found(
        identify, request_of(authorization=f"Bearer {KEY}")
    )
    assert None is found(identify, request_of(authorization="Bearer "))
    assert None is found(identify, request_of(x_api_key=KEY + "0"))


PROXY = proxy_headers(trusted=["10.0.0.0/8", "::1"], team_id="x-team")


@both_protocols
def test_headers_of_a_trusted_proxy_count(request_of: Callable[..., Request]) -> None:
    """The proxy tells the user, the name in any script, and the team."""
    headers = {"x_forwarded_user": "ada", "x_forwarded_preferred_username": "Ada Lövelace 阿"}

    caller = found(PROXY, request_of(**headers, x_team="t-1"))

    assert Caller("ada", "Ada Lövelace 阿", team_id="t-1", source="web") == caller


@both_protocols
@pytest.mark.parametrize(
    ("peer", "known"),
    [
        ("10.255.0.9", True),
        ("::1", True),
        ("::ffff:10.0.0.1", True),
        ("11.0.0.1", False),
        ("testclient", False),
        (None, False),
    ],
)
def test_headers_of_anybody_else_do_not(
    request_of: Callable[..., Request], peer: str | None, known: bool
) -> None:
    """From another address the same headers are a stranger's claim: nobody is known."""
    caller = found(PROXY, request_of(peer=peer, x_forwarded_user="admin"))

    assert known == (caller is not None)


def test_unix_socket_is_trusted_by_name_only() -> None:
    """Connections over a unix socket have no address: `unix` trusts them."""
    identify = proxy_headers(trusted=["unix"])

    assert found(identify, asgi(peer=None, x_forwarded_user="ada")) is not None
    assert found(identify, asgi(x_forwarded_user="ada")) is None


def test_header_that_was_sent_twice_is_nobodys() -> None:
    """A proxy that adds instead of overwriting leaves the client's claim in: it is refused."""
    ada = (b"x-forwarded-user", b"ada")
    twice = [(b"x-forwarded-user", b"admin"), ada]
    team_twice = [ada, (b"x-team", b"t-1"), (b"x-team", b"t-2")]

    assert found(PROXY, dict(asgi()) | {"headers": twice}) is None
    assert found(PROXY, dict(asgi()) | {"headers": team_twice}) is None


def test_wrong_network_is_refused_at_the_start() -> None:
    """A mistyped address would trust nobody, silently."""
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        proxy_headers(trusted=["10.0.0.0/33"])


@both_look_ups
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"cookie": "session=s-1", "x_api_key": KEY}, ("u-ada", "web")),
        ({"x_api_key": KEY}, ("u-bob", "apikey")),
        ({"authorization": "Bearer old"}, ("legacy-api-key", "legacy")),
        ({"authorization": "Bearer nobody's"}, ("u-guest", "guest")),
    ],
)
def test_first_way_that_knows_the_caller_counts(
    look_up: Callable[[dict[str, Caller]], Any],
    headers: dict[str, str],
    expected: tuple[str, str],
) -> None:
    """Session, key, list, and a source of the user's own, in this order; look-ups of any kind."""
    identify = first_of(
        session(look_up({"s-1": ADA})),
        api_key(look_up({KEY: Caller("u-bob", api_key_id="k-2")}), secret=SECRET),
        legacy_keys(["old"]),
        lambda request: Caller("u-guest", source="guest"),
    )

    caller = found(identify, asgi(**headers))

    assert expected == (caller and (caller.user_id, caller.source))


def test_look_up_that_fails_never_makes_somebody_else() -> None:
    """When the sessions' store is down the request is counted, not given to the guest."""

    def down(token: str) -> Caller | None:
        raise ConnectionError(token)

    guest = Caller("u-guest")
    bench = Bench(answering(CHAT), identify=first_of(session(down), lambda request: guest))

    bench.post(cookie="session=s-1")

    assert [] == bench.recorder.events
    assert {"identify_failed": 1} == bench.unrecorded


def test_local_user_keeps_its_id(tmp_path: Path) -> None:
    """The id is a UUID in a file for its owner only, made once."""
    file = tmp_path / "state" / "local_user_id"

    callers = [found(local_user(file), asgi()) for _ in range(2)]

    assert callers[0] == callers[1]
    assert Caller(str(UUID(file.read_text().strip())), "local", source="web") == callers[0]
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert [file] == list(file.parent.iterdir())


def test_local_user_is_kept_with_other_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a path the file lies where the XDG base directories say."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    local_user()

    assert (tmp_path / "usagepipe" / "local_user_id").is_file()


RACE = """
import sys
from usagepipe.producer.identify.local_user import local_user_id
print("ready", flush=True)
sys.stdin.read()
for number in range(100):
    print(local_user_id(f"{sys.argv[1]}/{number}"))
"""


def test_processes_that_start_together_agree_on_the_local_user(tmp_path: Path) -> None:
    """Four processes that find no file end up with one id, a hundred times over."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert "ready\n" == racer.stdout.readline()
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None

    told = {racer.communicate(timeout=60)[0] for racer in racers}

    assert 1 == len(told)
    assert 100 == len(set(told.pop().split()))


def test_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    """A wrong path is told with its cure, and what stands there stays."""
    file = tmp_path / "notes"
    file.write_text("mine")

    with pytest.raises(WrongUseError, match="does not hold a local user's id"):
        local_user(file)
    assert "mine" == file.read_text()


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The start tells that the id cannot be kept; later would be too late."""
    (tmp_path / "file").write_text("")

    with pytest.raises(WrongUseError, match="cannot keep the local user's id"):
        local_user(tmp_path / "file" / "id")
