"""Errors of settings name an option or variable as it was typed."""

import click
import pytest

from usagepipe.cli.options import Moment, Number, load_settings, unknown_variables
from usagepipe.cli.root import run
from usagepipe.schemas.errors import SettingsError
from usagepipe.schemas.settings import Settings


def test_a_wrong_option_is_named_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text names the option that was typed; a variable keeps its name."""
    monkeypatch.setenv("USAGEPIPE_TOPIC", "a b")

    with pytest.raises(SettingsError) as caught:
        load_settings(Settings, kafka="localhost", web_port=70_000, group=None)

    kafka, topic, port = caught.value.problems
    assert kafka.startswith("--kafka (USAGEPIPE_KAFKA) is 'localhost': write host:port")
    assert topic.startswith("USAGEPIPE_TOPIC is 'a b'")
    assert port.startswith("--web-port (USAGEPIPE_WEB_PORT) is 70000: write a whole")


def test_a_variable_that_is_not_a_setting_is_named() -> None:
    """The error for a typo names the probable variable and no value."""
    environment = {
        "USAGEPIPE_KAFAK": "secret",
        "usagepipe_kafka": "read as well",
        "USAGEPIPE_BOGUSNESS": "1",
        "USAGEPIPE_PROOF": "off",
        "USAGEPIPE_TEST_KAFKA": "k:1",
        "USAGEPIPE_REQUIRE_SERVERS": "1",
        "USAGEPIPE_GROUP": "g",
        "HOME": "/",
    }

    assert [
        "USAGEPIPE_BOGUSNESS is not a setting.",
        "USAGEPIPE_KAFAK is not a setting: did you mean USAGEPIPE_KAFKA?",
        "USAGEPIPE_PROOF is not a setting: did you mean USAGEPIPE_PREFLIGHT?",
    ] == unknown_variables(environment)


def test_the_warning_stands_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Output that a program reads stays what it is."""
    monkeypatch.setenv("USAGEPIPE_TOPICS", "t")

    load_settings(
        Settings,
    )

    output = capsys.readouterr()
    expected = "Warning: USAGEPIPE_TOPICS is not a setting: did you mean USAGEPIPE_TOPIC?\n"
    assert ("", expected) == (output.out, output.err)


def test_a_number_that_is_none_is_refused() -> None:
    """Every comparison with NaN is false, so click's ranges do not refuse it."""
    with pytest.raises(click.BadParameter, match="'nan' is not a number"):
        Number(min=1).convert("nan", None, None)


@pytest.mark.parametrize("text", ["0001-01-01T00:00+10:00", "9999-12-31T23:59-14:00", "soon"])
def test_a_time_outside_the_calendar_in_utc_is_refused(text: str) -> None:
    """Python's own error would reach the user when the time is converted to UTC."""
    with pytest.raises(click.BadParameter, match="is not a date or time"):
        Moment().convert(text, None, None)


def test_help_warns_of_a_password_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Other users see it in the process list; the help names safer places."""
    assert 0 == run(["usage", "--help"])

    text = " ".join(capsys.readouterr().out.split())
    assert "process list" in text
    for name in ("CLICKHOUSE,", "CLICKHOUSE_FILE", "CLICKHOUSE_PASSWORD_FILE"):
        assert f"USAGEPIPE_{name}" in text
