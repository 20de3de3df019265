"""What `faust -A usagepipe.consumer.app worker` says about wrong settings."""

import pytest

from usagepipe.consumer import app


@pytest.mark.parametrize(
    ("port", "words"), [("0", "is 0: only `usagepipe worker`"), ("x", "is 'x'")]
)
def test_a_wrong_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, port: str, words: str
) -> None:
    """Faust accepts no port 0, and its command prints a traceback for every other error."""
    monkeypatch.setenv("USAGEPIPE_WEB_PORT", port)

    with pytest.raises(SystemExit, match=f"^USAGEPIPE_WEB_PORT {words}"):
        _ = app.app
