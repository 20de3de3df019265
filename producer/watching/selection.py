"""Which requests are watched, and which of those without tokens become events.

Tokens are money: a watched request whose tokens are known is always an event. The choice concerns
the rest, and paths that have nothing to do with AI (a health check, a web page).
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from posixpath import normpath

from usagepipe.producer.process.safe_log import describe, log
from usagepipe.producer.watching.body_prefix import asks_no_model
from usagepipe.producer.watching.watched_request import WatchedRequest

# Prefixes (`/v1` matches `/v1` and all paths below it), or a function of method and path.
Paths = Iterable[str] | Callable[[str, str], bool]

DOUBT_SECONDS = 60  # within this time some request should have matched

# Answers of models: JSON of any kind, event streams, images, audio and video.
_MODEL_ANSWER = re.compile(r"json|event-?stream|^(?:audio|image|video)/", re.IGNORECASE)

_DETOUR = re.compile(r"/\.|//")


class Selection:
    """The selection of one middleware. `kinds` are those of the setting `record`."""

    def __init__(
        self,
        paths: Paths | None,
        skip: Paths,
        kinds: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if paths is not None and not callable(paths) and not isinstance(paths, str):
            paths = tuple(paths)
        self._paths = "a function" if callable(paths) else paths  # for the log
        self._wanted = None if paths is None else _test_of(paths)
        self._skipped = _test_of(skip)
        self._kinds = frozenset(kinds)
        self._has_logged = False
        self._clock = clock
        self._since: float | None = None  # when the first request came that `paths` did not match
        self._unmatched = 0
        self._is_proven = paths is None  # `paths` have matched a request, or it was logged

    def watches(self, method: str, path: str, below_root: str = "") -> bool:
        """Whether to watch a request. If a given function raises, the answer is yes.

        `path` is the whole path, `below_root` its part below the application's root path.
        """
        try:
            forms = (path, below_root) if below_root and below_root != path else (path,)
            if self._wanted is None and len(forms) == 1 and not self._skipped(method, path):
                return True  # the usual case, without a loop
            if self._chooses(method, forms):
                return True
            # The application's upstream may read `/v1/files/../chat` as `/v1/chat`.
            return bool(_DETOUR.search(path)) and self._chooses(method, [*map(_straight, forms)])
        except Exception as error:
            if not self._has_logged:
                self._has_logged = True
                log.error("selection_failed", error=describe(error))
            return True

    def _chooses(self, method: str, forms: Sequence[str]) -> bool:
        if self._wanted is not None:
            if not any(self._wanted(method, form) for form in forms):
                if not self._is_proven:
                    self._doubt()
                return False
            self._is_proven = True
        return not any(self._skipped(method, form) for form in forms)

    def _doubt(self) -> None:
        """Log once that `paths` match nothing, after a minute of requests. The requests' own paths
        are not logged: they may contain an id or a key."""
        self._unmatched += 1
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since >= DOUBT_SECONDS:
            self._is_proven = True
            log.warning(
                "paths_matched_nothing",
                paths=self._paths,
                requests=self._unmatched,
                seconds=DOUBT_SECONDS,
            )

    def keeps(self, watched: WatchedRequest) -> bool:
        """Whether a request without tokens is an event: its kind is recorded, and it looks like a
        request to a model. That is any request with a stamp, or a POST that named a model, failed,
        or got an answer of a model's type. Requests that only count tokens do not qualify."""
        kind = kind_of(watched)
        if kind not in self._kinds:
            return False
        if watched.stamp:
            return True
        if watched.method != "POST" or watched.redirects or asks_no_model(watched.endpoint):
            return False
        is_models = _MODEL_ANSWER.search(watched.answer_header("content-type"))
        return kind != "missing" or bool(is_models or watched.requested_model)


def kind_of(watched: WatchedRequest) -> str:
    """How a request without tokens ended, as one of the kinds of the setting `record`."""
    if watched.cancelled:
        return "cancelled"
    return "failed" if watched.failed else "missing"


def _straight(path: str) -> str:
    return normpath("/" + path.lstrip("/"))


def _test_of(paths: Paths) -> Callable[[str, str], bool]:
    if callable(paths):
        return paths
    if isinstance(paths, str):
        raise TypeError(f"paths and skip are collections of prefixes: write ({paths!r},)")
    exact = frozenset(prefix.rstrip("/") for prefix in paths)
    below = tuple(f"{prefix}/" for prefix in exact)
    return lambda method, path: path in exact or path.startswith(below)
