"""Who may import whom, and what an import may do: nothing."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from copy import deepcopy
from pathlib import Path

import grimp
import pytest
from importlinter.contracts.layers import LayersContract

from tests.support.installs import ROOT, run

FOLDERS = ("schemas", "producer", "consumer", "query", "local", "cli")
CONSUMER = "usagepipe.consumer"
LINT = Path(sys.executable).with_name("lint-imports")

# Runs in a process of its own: asks Python to report what is done while each module is imported,
# and blames the module whose code runs at that moment. What other libraries do is theirs.
WATCH = """
import importlib, json, os, pkgutil, sys, threading

sys.dont_write_bytecode = True
import usagepipe

acts = []
watched = {"socket.connect", "socket.bind", "subprocess.Popen", "os.fork", "os.putenv",
           "os.mkdir", "os.remove", "shutil.rmtree"}

def blame(act):
    frame = sys._getframe(2)
    while frame.f_code.co_name != "<module>":
        frame = frame.f_back
    module = frame.f_globals["__name__"]
    if module.startswith("usagepipe"):
        acts.append(f"{module}: {act}")

def hook(event, arguments):
    if event in watched or event == "open" and set(arguments[1] or "") & set("wax+"):
        blame(event)

class Environment(os._Environ):
    def __getitem__(self, name):
        if name.startswith("USAGEPIPE_"):
            blame(name)
        return super().__getitem__(name)

    def __iter__(self):
        blame("environment")
        return super().__iter__()

start_thread = threading.Thread.start

def start(thread):  # before Python 3.12 a new thread is no event
    blame("thread")
    start_thread(thread)

threading.Thread.start = start
os.environ.__class__ = Environment
sys.addaudithook(hook)
elsewhere = {"usagepipe.producer.litellm"}  # LiteLLM has an environment of its own
every = [module.name for module in pkgutil.walk_packages(usagepipe.__path__, "usagepipe.")
         if module.name not in elsewhere]
for module in sys.argv[1:] or every:
    importlib.import_module(module)
print(json.dumps({"acts": acts, "threads": [t.name for t in threading.enumerate()][1:]}))
"""


def test_importing_any_module_does_nothing() -> None:
    """No import connects, starts a thread or process, writes a file or reads a setting."""
    ended = run(sys.executable, "-c", WATCH, cwd=ROOT)

    assert {"acts": [], "threads": []} == json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "act",
    [
        "import threading; threading.Thread(target=int).start()",
        "import socket; socket.create_server(('127.0.0.1', 0)).close()",
        "import os; os.environ.get('USAGEPIPE_KAFKA')",
        "from usagepipe.schemas import Settings; Settings.load()",
        "open('/dev/null', 'w').close()",
    ],
)
def test_a_module_that_acts_is_found(act: str, copy: Path) -> None:
    """The watch above really sees a thread, a socket, a setting and a file."""
    culprit = copy / "usagepipe" / "schemas" / "culprit.py"
    culprit.write_text(act + "\n")

    watch = f"import sys; sys.path.insert(0, '.')\n{WATCH}"
    ended = run(sys.executable, "-c", watch, "usagepipe.schemas.culprit", cwd=copy)
    culprit.unlink()

    acts = json.loads(ended.stdout.splitlines()[-1])["acts"]
    assert {"usagepipe.schemas.culprit"} == {act.split(":")[0] for act in acts}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a folder of its own, to be broken."""
    root = tmp_path_factory.mktemp("copy")
    package = root / "usagepipe"
    shutil.copytree(ROOT / "src" / "usagepipe", package)  # follows the links
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"}
    return subprocess.run(
        [LINT, "--no-cache"], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def test_the_import_directions_hold() -> None:
    """Schemas import no sibling, the stages never each other; local and cli stand on top."""
    ended = _lint(ROOT)

    assert 0 == ended.returncode, ended.stdout


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("schemas/event.py", "usagepipe.producer"),
        ("producer/delivery/recorder.py", "usagepipe.query"),
        ("consumer/worker/__init__.py", "usagepipe.producer"),
        ("query/periods.py", "usagepipe.consumer"),
        ("query/periods.py", "usagepipe.local"),
        ("local/ports.py", "usagepipe.cli"),
        ("producer/delivery/recorder.py", "faust"),
        ("producer/delivery/recorder.py", "clickhouse_connect"),
        ("producer/delivery/recorder.py", "starlette"),
        ("producer/process/native.py", "usagepipe.producer.telemetry"),
        ("producer/telemetry/counters.py", "usagepipe.producer.watching"),
        ("producer/delivery/recorder.py", "usagepipe.producer.reading"),
        ("producer/reading/usage.py", "usagepipe.producer.delivery"),
        ("producer/watching/wsgi.py", "usagepipe.producer.identify"),
        ("producer/reading/shapes/shape.py", "usagepipe.producer.reading.framing"),
    ],
)
def test_a_wrong_import_is_found(copy: Path, module: str, forbidden: str) -> None:
    """The contracts really refuse each direction that must not be."""
    file = copy / "usagepipe" / module
    before = file.read_text()
    file.write_text(f"{before}\nimport {forbidden}\n")

    ended = _lint(copy)
    file.write_text(before)

    assert 1 == ended.returncode, ended.stdout + ended.stderr
    assert "BROKEN" in ended.stdout


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports of the package."""
    return grimp.build_graph("usagepipe", include_external_packages=True, cache_dir=None)


def _keeps_layers(graph: grimp.ImportGraph) -> bool:
    """Whether the imports keep the contract on the consumer's folders."""
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (options,) = [each for each in written["contracts"] if each.get("containers") == [CONSUMER]]
    options["exhaustive"] = str(options["exhaustive"])  # as import-linter reads its own file
    contract = LayersContract("", {"root_packages": ["usagepipe"]}, options)
    return contract.check(deepcopy(graph), verbose=False).kept


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ("log", "rows"),
        ("rows", "protocol"),
        ("protocol", "topics"),
        ("protocol", "clickhouse"),
        ("topics", "clickhouse"),
        ("clickhouse", "topics"),
        ("clickhouse", "rollups"),
        ("rollups", "dead_letters"),
        ("dead_letters", "runtime"),
        ("runtime", "parking"),
        ("parking", "worker"),
        ("kafka", "worker"),
        ("worker", "kafka"),
        ("preflight", "worker"),
        ("maintenance", "kafka"),
        ("worker", "app"),
    ],
)
def test_an_import_against_the_layers_of_the_consumer_is_found(
    graph: grimp.ImportGraph, lower: str, upper: str
) -> None:
    """Each line of the layers bites, and folders of one line never import each other."""
    changed = deepcopy(graph)
    changed.add_import(importer=f"{CONSUMER}.{lower}", imported=f"{CONSUMER}.{upper}")

    assert _keeps_layers(graph)
    assert not _keeps_layers(changed)


def test_a_folder_of_the_consumer_without_a_layer_is_found(graph: grimp.ImportGraph) -> None:
    """A new folder of the consumer must be given its layer."""
    changed = deepcopy(graph)
    changed.add_module(f"{CONSUMER}.elsewhere")

    assert not _keeps_layers(changed)
