"""What is refused before a command looks at it."""

import pytest

from usagepipe.cli.root import run


def test_an_argument_that_is_no_text_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are no UTF-8 reach Python as surrogates, which no server takes."""
    status = run(["usage", "--user", b"\xff\xfe".decode("utf-8", "surrogateescape")])

    assert 2 == status
    assert r"b'\xff\xfe' is not valid UTF-8" in capsys.readouterr().err
