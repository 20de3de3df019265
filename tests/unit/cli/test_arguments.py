"""What is refused before a command looks at it."""

import pytest

from usagepipe.cli.root import run


def test_trust_raw_without_repair_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --repair the option has no effect, so it is refused before any query."""
    status = run(["audit", "--trust-raw", "--kafka", "127.0.0.1:1"])

    assert (2, "Error: --trust-raw needs --repair.\n") == (status, capsys.readouterr().err)


def test_an_argument_that_is_no_text_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are not UTF-8 reach Python as surrogates, which no server accepts."""
    status = run(["usage", "--user", b"\xff\xfe".decode("utf-8", "surrogateescape")])

    assert 2 == status
    assert r"b'\xff\xfe' is not valid UTF-8" in capsys.readouterr().err
