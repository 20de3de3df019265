"""What `usagepipe prices` shows of books that need no server."""

import json
from pathlib import Path

import pytest

from tests.support.golden import golden
from usagepipe.cli.root import run
from usagepipe.schemas.prices import builtin_book

GOLDEN = Path(__file__).parent / "golden" / "prices"
PRICES = """
base: none
models:
  - model: llama-3.3-70b
    provider: my-cluster
    prices:
      - {input_mtok: 0.20, cache_read_mtok: 0.02, output_mtok: 0.80}
      - {from: 2026-07-01, input_mtok: {base: 0.1, tiers: [{start: 200000, price: 0.3}]},
         cache_read_mtok: 0.01, output_mtok: 0.7}
    variants:
      - {batch: true, service_tier: flex, prices: {output_mtok: 0.35}}
  - model: [rerank-local, "my-ocr-*"]
    prices: {per_request: 0.002}
  - model: night-1
    provider: my-cluster
    prices:
      - {input_mtok: 3}
      - {start_time: 16:30, end_time: 00:30, input_mtok: 1.5}
  - {model: chat, provider: gateway, same_as: my-cluster/llama-3.3-70b}
discounts:
  - {provider: my-cluster, negotiated: 0.92}
  - {customer: acme, negotiated: 0.85, from: 2026-03-01}
"""
OTHERS = """
base: none
models:
  - model: llama-3.3-70b
    provider: my-cluster
    prices: {input_mtok: 0.20, cache_read_mtok: 0.03, output_mtok: 0.80}
  - {model: tts, prices: {input_mchars: 15}}
discounts:
  - {customer: acme, negotiated: 0.8, from: 2026-03-01}
"""
AT = ("--at", "2026-08-01T12:00")
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two price files in the working folder, and a terminal of 100 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    Path("prices.yaml").write_text(PRICES)
    Path("others.yaml").write_text(OTHERS)


@pytest.mark.parametrize(
    ("name", "command", "status"),
    [
        ("list", ["list", "--book", "prices.yaml", *AT], 0),
        ("list_early", ["list", "llama", "--book", "prices.yaml", "--at", "2026-06-30"], 0),
        ("list_json", ["list", "--book", "prices.yaml", *AT, "--json"], 0),
        ("list_nothing", ["list", "gpt", "--book", "prices.yaml"], 1),
        ("show", ["show", "LLAMA-3.3-70b", "--provider", "my-cluster", *AT], 0),
        ("show_alias", ["show", "chat", "--provider", "gateway", *AT], 0),
        ("show_hours", ["show", "night-1", "--provider", "my-cluster", *AT], 0),
        ("show_every", ["show", "my-ocr-2", *AT], 0),
        ("show_json", ["show", "chat", "--provider", "gateway", "--json", *AT], 0),
        ("diff", ["diff", "prices.yaml", "others.yaml"], 1),
        ("diff_json", ["diff", "prices.yaml", "others.yaml", "--json"], 1),
        ("diff_same", ["diff", "prices.yaml", "prices.yaml"], 0),
    ],
)
def test_the_output_is_the_golden_one(
    name: str, command: list[str], status: int, capsys: Output
) -> None:
    """Rates are shown as they are written, with their dates, tiers, variants and discounts."""
    book = ["--book", "prices.yaml"] if command[0] == "show" else []

    found = run(["prices", *command, *book])

    shown = capsys.readouterr()
    assert (status, "") == (found, shown.err)
    assert golden(GOLDEN / f"{name}.txt", shown.out) == shown.out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["show", "lama-3.3-70b", "--book", "prices.yaml"],
            "has no entry for lama-3.3-70b. The nearest names are llama-3.3-70b.",
        ),
        (
            ["show", "llama-3.3-70b", "--book", "prices.yaml"],
            "has no entry for llama-3.3-70b. It has one for --provider my-cluster.",
        ),
        (
            ["show", "llama-3.3-70b", "--book", "prices.yaml", "--provider", "my-clutser"],
            "has no provider my-clutser. It has my-cluster.",
        ),
        (
            ["list", "--book", "prices.yaml", "--provider", "zzz"],
            "has no provider zzz. It has gateway, my-cluster.",
        ),
    ],
)
def test_what_is_not_there_has_the_nearest_names(
    command: list[str], message: str, capsys: Output
) -> None:
    """A model or provider that is mistyped gets the names that may be meant."""
    assert 1 == run(["prices", *command])
    assert message in capsys.readouterr().err


def test_a_model_needs_a_name(capsys: Output) -> None:
    """As when a shell's variable is empty."""
    assert 2 == run(["prices", "show", " "])
    assert "Give the name of a model." in capsys.readouterr().err


def test_check_shows_the_version(capsys: Output) -> None:
    """A right file gets a summary, against the public prices, and its version."""
    assert 0 == run(["prices", "check", "prices.yaml"])

    shown = capsys.readouterr().out
    assert shown.startswith("prices.yaml is right. Compared with the built-in book: 5 added, ")
    assert "2 discounts differ." in shown
    assert "5 models." in shown


def test_check_shows_every_mistake_with_its_line(capsys: Output) -> None:
    """Editors and programs find the place by FILE:LINE."""
    Path("bad.yaml").write_text("models:\n  - model: x\n    prices: {input_mtok: -1}\n  - {}\n")

    assert 2 == run(["prices", "check", "bad.yaml"])

    expected = [
        "Error: 3 mistakes in bad.yaml:",
        "bad.yaml:3: input_mtok is -1: a rate is 0 or more",
        "bad.yaml:4: a model needs prices or same_as, and not both",
        "bad.yaml:4: the model has no name: add model",
    ]
    assert expected == capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.yaml", None, "absent.yaml cannot be read: No such file or directory."),
        ("absent", None, "A book is a file, a version of 16 digits, active or built-in."),
        (".", None, ". cannot be read: Is a directory."),
        ("latin.yaml", b"models: [\xe9]", "latin.yaml cannot be read: it is not UTF-8 text."),
        ("zero.yaml", b"\0", "zero.yaml:1: this is no YAML"),
        ("empty.yaml", b"", "empty.yaml:1: the file is empty"),
        ("/dev/zero", None, "/dev/zero is no price file: it is longer than 16,777,216 bytes."),
    ],
)
@pytest.mark.parametrize("command", [["check"], ["diff", "built-in"], ["apply", "--yes"]])
def test_a_file_that_cannot_be_used_is_wrong_use(
    command: list[str], name: str, content: bytes | None, message: str, capsys: Output
) -> None:
    """Every command says why, before it asks a server."""
    if content is not None:
        Path(name).write_bytes(content)

    assert 2 == run(["prices", *command, name, *server(command)])
    assert message in capsys.readouterr().err


def server(command: list[str]) -> list[str]:
    """An address where nothing listens, for the commands that ask a server later."""
    return [] if command == ["check"] else ["--clickhouse", "http://127.0.0.1:1"]


def test_the_difference_of_two_books_is_never_silent(capsys: Output) -> None:
    """Entries that are tried in another order are another book, with equal prices."""
    Path("one.yaml").write_text("models: [{model: x, prices: {input_mtok: 1.0}}]")
    Path("two.yaml").write_text("models: [{model: x, prices: {input_mtok: 1}}]")

    assert 0 == run(["prices", "diff", "one.yaml", "two.yaml"])
    assert "no price differs." in capsys.readouterr().out


def test_json_of_every_built_in_model_is_valid(capsys: Output) -> None:
    """One object a line, with exact rates."""
    run(["prices", "list", "--book", "built-in", "--json"])

    models = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(models) == len(list(builtin_book().document.entries()))
    assert all(isinstance(each["rates"], dict) for each in models)
