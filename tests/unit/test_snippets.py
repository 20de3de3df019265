"""The Python snippets of README and docs run, and do what their pages say."""

import asyncio
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import httpx
import pytest
from fastapi import FastAPI, Request
from flask import Flask

import usagepipe.producer
import usagepipe.query
from tests.support.installs import ROOT
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.query.answers import KeyUsage, RollUp

README = ROOT / "README.md"
DOCS = ROOT / "docs"


def snippets(page: Path) -> list[str]:
    """The Python snippets of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def ask(app: FastAPI) -> httpx.Response:
    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.post("/v1/chat/completions")

    return asyncio.run(request())


def service(
    monkeypatch: pytest.MonkeyPatch, answer: object, stamp: str = "", *, known: bool = True
) -> MemoryRecorder:
    """A service with authentication under the README's middleware, asked once."""
    recorder = MemoryRecorder()
    monkeypatch.setattr(usagepipe.producer, "UsageRecorder", lambda: recorder)
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> object:
        if known:
            request.state.user = SimpleNamespace(id="u-1", name="Ada", key_id="k-1")
        exec(stamp, {})
        return answer

    exec(snippets(README)[0], {"app": app})

    assert 200 == ask(app).status_code
    return recorder


def test_ten_lines_add_the_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's lines, at most ten, record a request of an application that had none of it."""
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}

    (event,) = service(monkeypatch, {"model": "m-1", "usage": usage}).events

    assert len(snippets(README)[0].strip().splitlines()) <= 10
    assert ("u-1", "Ada", "k-1", "apikey", "m-1", 9, 5, 14) == (
        event.user_id,
        event.user_name,
        event.api_key_id,
        event.source,
        event.model,
        event.prompt_tokens,
        event.completion_tokens,
        event.total_tokens,
    )


def test_the_flask_lines_record_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines for Flask record a request of an application that had none of it."""
    recorder = MemoryRecorder()
    monkeypatch.setattr(usagepipe.producer, "UsageRecorder", lambda: recorder)
    monkeypatch.setenv("KEY_SECRET", "0123456789abcdef")
    app = Flask("gateway")
    answer = {"model": "m-1", "usage": {"prompt_tokens": 9, "completion_tokens": 5}}
    app.add_url_rule("/v1/chat/completions", view_func=lambda: answer, methods=["POST"])
    find_key = {"sk-ada": usagepipe.producer.Caller("u-ada")}.get
    exec(snippets(DOCS / "integrations.md")[0], {"app": app, "find_key": find_key})

    app.test_client().post("/v1/chat/completions", headers={"x-api-key": "sk-ada"}).close()

    (event,) = recorder.events
    assert ("u-ada", "m-1", 14) == (event.user_id, event.model, event.total_tokens)


def test_nobody_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """T-06: a request that the README's lines find nobody for is no event, and counted."""
    answer = {"model": "m-1", "usage": {"prompt_tokens": 9, "completion_tokens": 5}}

    recorder = service(monkeypatch, answer, known=False)

    assert [] == recorder.events
    assert {"/v1/chat/completions": {"no_user": 1}} == recorder.counters.unrecorded


def test_a_stamp_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stamp of the docs is recorded, not the answer's usage."""
    answer = {"model": "other", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}

    (event,) = service(monkeypatch, answer, snippets(DOCS / "recording.md")[0]).events

    assert ("llama-3", 12, 34, Decimal("0.00046")) == (
        event.model,
        event.prompt_tokens,
        event.completion_tokens,
        event.cost,
    )


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ([(b"cookie", b"session=s-1")], ("u-ada", "web")),
        ([(b"x-api-key", b"sk-bob")], ("u-bob", "apikey")),
        ([(b"authorization", b"Bearer old-2")], ("legacy-api-key", "legacy")),
        ([], None),
    ],
)
def test_the_callers_of_the_docs_are_known(
    monkeypatch: pytest.MonkeyPatch,
    headers: list[tuple[bytes, bytes]],
    caller: tuple[str, str] | None,
) -> None:
    """The chain of the docs asks sessions, keys and the old list, in this order."""
    monkeypatch.setenv("KEY_SECRET", "0123456789abcdef")
    monkeypatch.setenv("OLD_KEYS", "old-1,old-2")
    names: dict[str, Any] = {
        "find_session": {"s-1": usagepipe.producer.Caller("u-ada")}.get,
        "find_key": {"sk-bob": usagepipe.producer.Caller("u-bob")}.get,
    }

    exec(snippets(DOCS / "callers.md")[0], names)

    found = names["identify"]({"type": "http", "headers": headers})
    assert caller == (found and (found.user_id, found.source))


def test_the_query_snippet_prints_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's loop reads what a roll-up by key answers."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    zeros = dict.fromkeys((n for n in KeyUsage.model_fields if n.endswith("_tokens")), 0)
    words = dict.fromkeys(("api_key_name", "user_id", "user_name"), "")
    counts = {"requests": 1, "failures": 0, "unpriced_requests": 0, "users": 1, "last_used": now}
    row = zeros | words | counts | {"api_key_id": "k-1", "total_tokens": 7, "cost": Decimal("0.5")}
    answer = {"start": now, "end": now, "truncated": False, "rows": [row]}

    class Queries:
        @classmethod
        def connect(cls) -> Self:
            return cls()

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *ended: object) -> None: ...

        def by_key(self, period: str) -> RollUp[KeyUsage]:
            assert "week" == period
            return RollUp[KeyUsage].model_validate(answer)

    assert {"connect", "by_key"} <= set(dir(usagepipe.query.UsageQueries))
    monkeypatch.setattr(usagepipe.query, "UsageQueries", Queries)

    exec(snippets(README)[1], {})

    assert "k-1 7 0.5\n" == capsys.readouterr().out
