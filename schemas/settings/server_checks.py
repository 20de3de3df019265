"""Checks of the settings that Kafka and ClickHouse both have: TLS, and secrets in files.

A check yields one sentence for each mistake. It names the variable to change and the cure, and
never quotes a secret or a file's content.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from pydantic_settings import BaseSettings

from usagepipe.schemas.settings.checks import PREFIX
from usagepipe.schemas.settings.secret_files import check_file, read_secret

_TLS_PARTS: Final = ("ca", "certificate", "key", "key_password")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def is_set(settings: BaseSettings, name: str) -> bool:
    """Whether there is a setting of this name that differs from its default."""
    field = type(settings).model_fields.get(name)
    return field is not None and getattr(settings, name) != field.default


def variables_set(settings: BaseSettings, *names: str) -> Iterator[str]:
    """The variables of `names`, and of their files, that are set."""
    for name in names:
        yield from (variable(each) for each in (name, f"{name}_file") if is_set(settings, each))


def unfit_tls(settings: BaseSettings, server: str, off: str) -> Iterator[str]:
    """TLS settings of a `server` without effect. `off` says that TLS is off; empty: it is on."""
    prefix = f"{server}_tls_"
    if off:
        for name in variables_set(settings, *(prefix + part for part in _TLS_PARTS)):
            yield f"{name} is set and {off}"
    elif not is_set(settings, f"{prefix}certificate"):
        for name in variables_set(settings, f"{prefix}key", f"{prefix}key_password"):
            yield f"{name} is set and {variable(prefix)}CERTIFICATE is not: set both."


def unfit_files(
    settings: BaseSettings, *names: str, check: Callable[[str], object] = check_file
) -> Iterator[str]:
    """The files that these settings name and that `check` refuses."""
    for name in names:
        if path := getattr(settings, name):
            yield from problem(partial(check, path), f"{variable(name)} ")


def unfit_secrets(
    settings: BaseSettings, *names: str, check: Callable[[str], object] = read_secret
) -> Iterator[str]:
    """Secrets that are set and also have a file, or whose file `check` refuses."""
    for name in names:
        if is_set(settings, name) and is_set(settings, f"{name}_file"):
            yield f"{variable(name)} and {variable(name)}_FILE are both set: set one of them."
        yield from unfit_files(settings, f"{name}_file", check=check)


def problem(check: Callable[[], object], prefix: str) -> Iterator[str]:
    """Yield the message of a `check` that raises ValueError."""
    try:
        check()
    except ValueError as error:
        yield f"{prefix}{error}."
