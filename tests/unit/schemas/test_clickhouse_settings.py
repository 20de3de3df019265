"""The settings of a secured ClickHouse: where secrets come from, and what is refused."""

from pathlib import Path

import pytest

from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import PREFIX, Settings

SECRET = "hunter2"


def problems(**options: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**options)
    assert SECRET not in str(caught.value)
    return [problem.removeprefix(f"{PREFIX}CLICKHOUSE") for problem in caught.value.problems]


def test_the_address_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file holds the whole URL or only the password; a newline at the end is ignored."""
    (tmp_path / "url").write_text(f"https://ann:{SECRET}@db:9440/usage\n")
    (tmp_path / "password").write_text("p/@:\n")

    whole = Settings.load(clickhouse_file=str(tmp_path / "url")).clickhouse_address
    monkeypatch.setenv(f"{PREFIX}CLICKHOUSE_PASSWORD_FILE", str(tmp_path / "password"))
    password = Settings.load(clickhouse="https://ann@db:9440/usage").clickhouse_address

    assert ("ann", SECRET, "db", 9440, "usage") == (
        *(whole.user, whole.password, whole.host, whole.port, whole.database),
    )
    assert ("ann", "p/@:") == (password.user, password.password)


@pytest.mark.parametrize(
    ("given", "starts"),
    [
        ({"file": "/nowhere/url"}, ["_FILE names '/nowhere/url', which cannot be read"]),
        ({"file": __file__}, ["_FILE does not begin with http"]),
        ({"password_file": "/nowhere/p"}, ["_PASSWORD_FILE names '/nowhere/p', which cannot"]),
        ({"tls_ca": __file__}, ["_TLS_CA is set and USAGEPIPE_CLICKHOUSE is http: write https"]),
        ({"tls_ca": "/nowhere/ca"}, ["_TLS_CA names '/nowhere/ca'", "_TLS_CA is set"]),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, object], starts: list[str]) -> None:
    """Each mistake is one sentence that begins with the variable to change."""
    found = problems(**{f"clickhouse_{name}": value for name, value in given.items()})

    assert len(starts) == len(found)
    for start, problem in zip(starts, found, strict=True):
        assert problem.startswith(start)


def test_two_addresses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one is meant would be a guess."""
    (tmp_path / "url").write_text(f"https://ann:{SECRET}@db:9440/usage")
    monkeypatch.setenv(f"{PREFIX}CLICKHOUSE", f"http://ann:{SECRET}@db:8123")
    monkeypatch.setenv(f"{PREFIX}CLICKHOUSE_FILE", str(tmp_path / "url"))

    (found,) = problems()

    assert found.startswith(" and USAGEPIPE_CLICKHOUSE_FILE are both set")


def test_a_certificate_is_for_https_and_must_be_one() -> None:
    """A file that is not PEM is named when the process starts, not when it first connects."""
    found = problems(clickhouse="https://db:8443", clickhouse_tls_ca=__file__)

    assert [f": the CA file {__file__!r} holds no certificate in PEM."] == found
