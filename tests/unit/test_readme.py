"""What README and docs say is held against the code: tables, links, names, commands."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from tests.support.installs import ROOT
from usagepipe.cli.root import root
from usagepipe.consumer.runtime.metrics import WorkerMetrics
from usagepipe.producer.telemetry.counters import DropReason, UnrecordedReason
from usagepipe.producer.telemetry.metrics import ProducerMetrics
from usagepipe.schemas.settings import PREFIX, Settings

README = ROOT / "README.md"
DOCS = ROOT / "docs"
SETTINGS = DOCS / "settings.md"
BEHAVIOUR = DOCS / "behaviour.md"
MONITORING = DOCS / "operations" / "monitoring.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MAX_README_LINES = 120
LINK = re.compile(r"\]\((?!http)([^)#]*)(#[^)]*)?\)")
# A file or folder of ours in prose, a table or a link text: `consumer/kafka/thread.py`.
NAMED_PATH = re.compile(
    r"`((?:schemas|producer|consumer|query|local|cli|tests|benchmarks|examples|scripts|docs|src|\.ci)"
    r"/[\w./-]*)`"
)
NAMED_TEST = re.compile(r"(?<![\w/.(])tests/[\w/.-]*\w")  # in a command
STAGES = ("schemas", "producer", "consumer", "query", "local", "cli")
CODE_FOLDERS = (*STAGES, "benchmarks", "tests")
# A name in backticks that only code has: a_function, LOG_EVENT, AClass, f().
NAMED_CODE = re.compile(r"`(\w+(?:_\w+)+|[A-Z][a-z]+(?:[A-Z][a-z]+)+|\w+\(\))`")
# A command of ours, up to the end of the code that it stands in.
NAMED_COMMAND = re.compile(r"usagepipe ([a-z]+(?: [^\s`#|>&;]+)*)")
CASE = re.compile(r"\bT-\d\d[a-z]?\b")
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


def worker_metrics() -> list[str]:
    return metric_rows(WorkerMetrics().registry)


def producer_metrics() -> list[str]:
    registry = CollectorRegistry()
    ProducerMetrics(registry)
    return metric_rows(registry)


def test_the_table_of_metrics_is_the_worker() -> None:
    """The docs list every metric of the worker."""
    assert worker_metrics() == table(MONITORING, "metrics")


def test_the_table_of_metrics_is_the_producer() -> None:
    """The docs list every metric of a web process."""
    assert producer_metrics() == table(MONITORING, "producer metrics")


@pytest.mark.parametrize(
    ("name", "reasons"), [("drop reasons", DropReason), ("unrecorded reasons", UnrecordedReason)]
)
def test_the_tables_of_reasons_are_the_code(name: str, reasons: object) -> None:
    """The docs explain each reason for which an event or a request is counted as lost."""
    rows = table(MONITORING, name)[2:]

    assert list(get_args(reasons)) == [row.split("`")[1] for row in rows]


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
    named = [*NAMED_PATH.findall(text), *NAMED_TEST.findall(text)]
    paths = [path for path in named if not (ROOT / path).exists()]
    modules = [name for name in NAMED_MODULE.findall(text) if not is_named(name)]

    assert ([], []) == (paths, modules)


def test_the_table_of_folders_is_complete() -> None:
    """The architecture explains every folder of the packages, the tests and the tools."""
    text = (DOCS / "architecture.md").read_text()
    packages = [file.parent for name in STAGES for file in (ROOT / name).rglob("__init__.py")]
    others = ["src/usagepipe", "benchmarks", "examples", "scripts", ".ci"]
    tests = [f"tests/{name}" for name in ("unit", "integration", "acceptance", "support", "golden")]
    folders = {str(folder.relative_to(ROOT)) for folder in packages}.union(others, tests)

    assert [] == sorted(folder for folder in folders if f"[{folder}/](../{folder})" not in text)


def test_tasks_lead_to_the_functions_they_name() -> None:
    """Each function in the table of tasks is defined in a file or folder that its row links."""
    page = ROOT / "CONTRIBUTING.md"
    lost = []
    for row in re.findall(r"^\| .*\(\)`.* \|$", page.read_text(), re.MULTILINE):
        linked = [ROOT / path for path, _ in LINK.findall(row)]
        files = [file for path in linked for file in ([path] if path.is_file() else path.glob("*"))]
        code = "\n".join(file.read_text() for file in files if is_code(file))
        names = re.findall(r"`(\w+)\(\)`", row)
        lost += [name for name in names if f"def {name}(" not in code]

    assert [] == lost


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_named_code_exists(page: Path) -> None:
    """Every setting, metric, log event, function and class that a page names is in the code."""
    names = {name.removesuffix("()") for name in NAMED_CODE.findall(page.read_text())}

    assert [] == sorted(names - code_words())


@cache
def code_words() -> set[str]:
    """Every word of the code, and what is put together from several: settings and metrics."""
    files = [file for name in CODE_FOLDERS for file in (ROOT / name).rglob("*") if is_code(file)]
    text = "\n".join(file.read_text() for file in [*files, ROOT / "docker-compose.yml"])
    settings = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    metrics = {
        name.strip("`")
        for row in worker_metrics() + producer_metrics()
        for name in row.split()[1:2]
    }
    return {*re.findall(r"\w+", text), *settings, *(f"{name}_FILE" for name in settings), *metrics}


def is_code(file: Path) -> bool:
    return file.suffix in {".py", ".sql"}


def test_acceptance_cases_are_those_of_the_tests() -> None:
    """The page about behaviour has every case, and names exactly the tests that refer to it."""
    rows = re.findall(r"^\| (T-\w+) \|.*\| (.*) \|$", BEHAVIOUR.read_text(), re.MULTILINE)
    shown = {case: set(re.findall(r"`(\w+)`", tests)) for case, tests in rows}
    found: dict[str, set[str]] = {}
    for file in (ROOT / "tests").rglob("*.py"):
        for case, test in cases_in(file):
            found.setdefault(case, set()).add(test)

    assert found == {case: tests for case, tests in shown.items() if tests}


def cases_in(file: Path) -> Iterator[tuple[str, str]]:
    """The cases of a file with the tests that name them, in their docstrings or parameters."""
    text = file.read_text()
    if not CASE.search(text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for case in CASE.findall("\n".join(map(ast.unparse, [node, *node.decorator_list]))):
                yield case, node.name


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
    """Every `usagepipe …` of a page is a command with those options, also one of a group."""
    for line in NAMED_COMMAND.findall(page.read_text()):
        words = line.split()
        group, *rest = words
        if group not in root.list_commands(None):  # type: ignore[arg-type]
            continue
        command = subcommand_of(group, rest[0] if rest else "")
        help_text = CliRunner().invoke(root, [*command, "--help"]).output
        for option in rest:
            assert not option.startswith("--") or option in help_text, f"{line}: {option}"


def subcommand_of(group: str, word: str) -> list[str]:
    """The command of a group that `word` names, or the group itself."""
    commands = getattr(root.get_command(None, group), "commands", {})  # type: ignore[arg-type]
    return [group, word] if word in commands else [group]


def test_every_subcommand_is_in_the_docs() -> None:
    """A command that no page shows is found by nobody."""
    text = "\n".join(page.read_text() for page in PAGES)
    named = {
        f"{group} {word}"
        for group in root.list_commands(None)  # type: ignore[arg-type]
        for word in getattr(root.get_command(None, group), "commands", {})  # type: ignore[arg-type]
    }

    assert len(named) > 10
    assert [] == sorted(name for name in named if f"usagepipe {name}" not in text)


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
    # What `make test` was given, which the make in here would take for its own.
    inherited = {n: v for n, v in os.environ.items() if n not in {"ARGS", "MAKEFLAGS", "MAKELEVEL"}}
    values = ['TRACE=a b\'s "c".csv', "CLICKHOUSE=http://u:p'w@h", "KAFKA=h:1"]

    made = subprocess.run(
        ["make", "--silent", "demo", f"BIN={tmp_path}", f"READY={command}", *values],
        cwd=ROOT,
        env=inherited,
        capture_output=True,
        text=True,
        timeout=60,
    )

    expected = ["demo", "--trace", 'a b\'s "c".csv', "http://u:p'w@h", "h:1"]
    assert expected == made.stdout.splitlines()
