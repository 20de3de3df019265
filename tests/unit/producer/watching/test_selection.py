"""Which paths are watched, wherever the application is mounted."""

from typing import Any

import pytest

from tests.support.logs import capture_logs
from usagepipe.producer.watching.requests import paths_of
from usagepipe.producer.watching.selection import DOUBT_SECONDS, Paths, Selection

STRIPPED = {"path": "/v2/chat", "root_path": "/api"}  # FastAPI(root_path="/api") after a proxy
PREFIXED = {"path": "/api/v2/chat", "root_path": "/api"}  # uvicorn --root-path /api, or a mount
WSGI = {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/api", "PATH_INFO": "/v2/chat"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("request_", [STRIPPED, PREFIXED, STRIPPED | {"root_path": "/api/"}, WSGI])
@pytest.mark.parametrize("paths", [("/api/v2",), ("/v2",), ("/api",), ("/x", "/v2/chat")])
def test_whole_paths_and_those_below_the_root_match(
    request_: dict[str, Any], paths: tuple[str, ...]
) -> None:
    """However the server and the proxy share the prefix, both forms match, and both are skipped."""
    whole, below = paths_of(request_)

    assert ("/api/v2/chat", "/v2/chat") == (whole, below)
    assert Selection(paths, (), ()).watches("POST", whole, below)
    assert not Selection(None, paths, ()).watches("POST", whole, below)
    assert not Selection(("/v1", "/ap"), (), ()).watches("POST", whole, below)


@pytest.mark.parametrize(
    ("scope", "paths"),
    [
        ({"path": "/v1/chat"}, ("/v1/chat", "/v1/chat")),
        ({"path": "/apis/x", "root_path": "/api"}, ("/api/apis/x", "/apis/x")),
        ({"path": "/api", "root_path": "/api"}, ("/api", "")),
        ({"path": "/x", "root_path": "/"}, ("/x", "/x")),
    ],
)
def test_a_root_path_is_whole_segments(scope: dict[str, str], paths: tuple[str, str]) -> None:
    """A path that merely begins with the same letters is below the root path."""
    assert paths == paths_of(scope)


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (("/v9", "/v8"), ("/v9", "/v8")),
        (iter(["/v9"]), ("/v9",)),
        (lambda method, path: False, "a function"),
    ],
)
def test_paths_that_match_nothing_are_logged_once(paths: Paths, named: object) -> None:
    """After a minute of traffic one warning names `paths`, and nothing of a request."""
    clock = Clock()
    selection = Selection(paths, (), (), clock)
    clock.now = 500  # a process that was idle is no reason

    with capture_logs() as logs:
        for clock.now in (500, 500 + DOUBT_SECONDS - 1):
            selection.watches("POST", "/v1/chat/sk-secret")
        early = list(logs)
        for clock.now in (500 + DOUBT_SECONDS, 9_999):
            selection.watches("POST", "/v1/chat/sk-secret")

    assert [] == early
    expected = {
        "event": "paths_matched_nothing",
        "log_level": "warning",
        "paths": named,
        "requests": 3,
        "seconds": DOUBT_SECONDS,
    }
    assert [expected] == logs


def test_paths_that_match_are_not_doubted() -> None:
    """One match is enough, also one that is skipped; without `paths` there is nothing to doubt."""
    clock = Clock()
    selections = [
        Selection(("/v1",), (), (), clock),
        Selection(("/v1",), ("/v1/x",), (), clock),
        Selection(None, ("/",), (), clock),
    ]

    with capture_logs() as logs:
        for selection in selections:
            for clock.now, path in ((1, "/health"), (2, "/v1/x"), (9_999, "/health")):
                selection.watches("GET", path)

    assert [] == logs
