"""ClickHouse's exceptions, got out of what the engine's binding raises."""

import pytest

from usagepipe.local.clickhouse.exceptions import engine_error, http_status
from usagepipe.schemas.errors import ClickHouseError


def test_code_comes_after_the_message_of_the_binding() -> None:
    """The binding's own words are cut off; a client parses the text from `Code:` on."""
    error = engine_error(
        RuntimeError("Streaming insert finish failed: Code: 72. DB::Exception: No. (X)")
    )

    assert (72, "Code: 72. DB::Exception: No. (X)") == (error.code, error.text)


def test_error_without_a_code_still_has_one() -> None:
    """A client always finds a code."""
    error = engine_error(RuntimeError("broken"))

    assert 1002 == error.code
    assert "Code: 1002. DB::Exception: broken (UNKNOWN_EXCEPTION)" == error.text


@pytest.mark.parametrize(
    ("code", "status"), [(62, 400), (60, 404), (516, 403), (48, 501), (159, 408), (395, 500)]
)
def test_status_is_a_servers(code: int, status: int) -> None:
    """Clients retry by status: 503 and 504 may only stand where a server has them."""
    assert status == http_status(ClickHouseError(code, ""))
