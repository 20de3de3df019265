"""What README and docs say is held against the code: tables, snippets, links, commands."""

import asyncio
import re
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import httpx
import pytest
from click.testing import CliRunner
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

import usagepipe.producer
import usagepipe.query
from tests.support.installs import ROOT
from usagepipe.cli.root import root
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.producer.telemetry.metrics import ProducerMetrics
from usagepipe.producer.testing import MemoryRecorder
from usagepipe.query.answers import KeyUsage, RollUp
from usagepipe.schemas.settings import PREFIX, Settings

README = ROOT / "README.md"
DOCS = ROOT / "docs"
SETTINGS = DOCS / "settings.md"
MONITORING = DOCS / "operations" / "monitoring.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MAX_README_LINES = 120
LINK = re.compile(r"\]\((?!http)([^)#]*)(#[^)]*)?\)")
# A file or folder of ours in prose, a table or a link text: `consumer/kafka/thread.py`.
NAMED_PATH = re.compile(
    r"`((?:schemas|producer|consumer|query|local|cli|tests|benchmarks|examples|scripts|docs|src|\.ci)"
    r"/[\w./-]*)`"
)
NAMED_MODULE = re.compile(
    r"\busagepipe\.((?:schemas|producer|consumer|query|local|cli)(?:\.[A-Za-z_]\w*)*)"
)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def between(page: Path, start: str, end: str) -> str:
    return page.read_text().partition(start)[2].partition(end)[0]


def table(page: Path, name: str) -> list[str]:
    """The lines of the table that two comments enclose."""
    return between(page, f"<!-- {name}: ", f"<!-- end of {name} -->").splitlines()[1:]


def snippets(page: Path) -> list[str]:
    """The Python snippets of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def shown(default: object) -> str:
    match default:
        case SecretStr():
            text = default.get_secret_value()
        case bool():
            text = "on" if default else "off"
        case float():
            text = f"{default:g}"
        case _:
            text = str(default)
    return f"`{text}`" if text else ""


def setting_rows() -> list[str]:
    rows = [
        f"| `{PREFIX}{name.upper()}` | {shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return ["| variable | default | meaning |", "| --- | --- | --- |", *rows]


def test_the_table_of_settings_is_the_model() -> None:
    """The docs list every setting with its default and meaning, in the model's order."""
    assert setting_rows() == table(SETTINGS, "settings")


def test_the_readme_is_short() -> None:
    """A newcomer reads the README in minutes: reference belongs to docs/."""
    assert len(README.read_text().splitlines()) <= MAX_README_LINES


def metric_rows(registry: CollectorRegistry) -> list[str]:
    rows = [
        f"| `{metric.name}{'_total' * (metric.type == 'counter')}` | {metric.type} "
        f"| {metric.documentation} |"
        for metric in registry.collect()
    ]
    return ["| metric | type | meaning |", "| --- | --- | --- |", *rows]


def test_the_table_of_metrics_is_the_worker() -> None:
    """The docs list every metric of the worker."""
    assert metric_rows(WorkerMetrics().registry) == table(MONITORING, "metrics")


def test_the_table_of_metrics_is_the_producer() -> None:
    """The docs list every metric of a web process."""
    registry = CollectorRegistry()
    ProducerMetrics(registry)

    assert metric_rows(registry) == table(MONITORING, "producer metrics")


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


def test_nobody_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """T-06: a request that the README's lines find nobody for is no event, and counted."""
    answer = {"model": "m-1", "usage": {"prompt_tokens": 9, "completion_tokens": 5}}

    recorder = service(monkeypatch, answer, known=False)

    assert [] == recorder.events
    assert {"/v1/chat/completions": {"no_user": 1}} == recorder.counters.unrecorded


def test_a_stamp_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stamp of the docs is what is recorded, whatever the answer says."""
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


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every file and heading that a page names exists."""
    broken = []
    for path, anchor in LINK.findall(page.read_text()):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor[1:] not in headings(target)):
            broken.append(path + anchor)

    assert [] == broken


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_named_files_exist(page: Path) -> None:
    """Every file, folder and module of ours that a page names exists."""
    text = page.read_text()
    paths = [path for path in NAMED_PATH.findall(text) if not (ROOT / path).exists()]
    modules = [name for name in NAMED_MODULE.findall(text) if not is_named(name)]

    assert ([], []) == (paths, modules)


def is_named(name: str) -> bool:
    """Whether `producer.litellm.usage_logger` is a module, or a name inside one."""
    path = ROOT.joinpath(*name.split("."))
    inside = path.parent.with_suffix(".py")
    return (
        path.is_dir()
        or path.with_suffix(".py").is_file()
        or (inside.is_file() and path.name in inside.read_text())
    )


def headings(page: Path) -> set[str]:
    """The anchors of a page, as forges make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_and_their_options_exist(page: Path) -> None:
    """Every `usagepipe …` of a page is a command with those options."""
    for command, rest in re.findall(
        r"usagepipe ([a-z]+)((?: --?[a-z-]+(?: \w+)?)*)", page.read_text()
    ):
        if command not in root.list_commands(None):  # type: ignore[arg-type]
            continue
        help_text = CliRunner().invoke(root, [command, "--help"]).output
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in help_text, f"usagepipe {command} {option}"


def test_make_targets_exist() -> None:
    """Every `make …` of the pages is in the Makefile, and CI runs the README's tests."""
    makefile = (ROOT / "Makefile").read_text()
    named = re.compile(r"(?:^|`)make (\w+)", re.MULTILINE)
    targets = {target for page in PAGES for target in named.findall(page.read_text())}

    assert {"bench", "chaos", "demo", "lint", "requirements", "test"} == targets
    assert [] == [target for target in targets if f"\n{target}: " not in makefile]
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()


def test_make_passes_values_on_untouched(tmp_path: Path) -> None:
    """Blanks and quotes reach the command as they are written; a password is in no argument."""
    command = tmp_path / "usagepipe"
    command.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" "$USAGEPIPE_CLICKHOUSE" "$USAGEPIPE_KAFKA"\n'
    )
    command.chmod(0o755)
    values = ['TRACE=a b\'s "c".csv', "CLICKHOUSE=http://u:p'w@h", "KAFKA=h:1"]

    made = subprocess.run(
        ["make", "--silent", "demo", f"BIN={tmp_path}", f"READY={command}", *values],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    expected = ["demo", "--trace", 'a b\'s "c".csv', "http://u:p'w@h", "h:1"]
    assert expected == made.stdout.splitlines()
