"""The one user of a set-up without users: an id made once and kept in a file.

The file appears whole or not at all, and once: processes that start together agree on one id.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

from usagepipe.producer.watching.callers import Caller, Identify
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.settings.producer import state_path

LOCAL_USER_NAME = "local"


def local_user(path: str | Path | None = None, *, user_name: str = LOCAL_USER_NAME) -> Identify:
    """Every request is the local user's. Last in `first_of`, it catches whom nobody knows.

    The id is kept in `path`, by default `usagepipe/local_user_id` under `$XDG_STATE_HOME` or
    `~/.local/state`, readable for its owner only. Read or made at once, not at the first request.

    Raises:
        WrongUseError: the file cannot be read or made, or holds something else.
    """
    caller = Caller(user_id=local_user_id(path), user_name=user_name, source="web")
    return lambda request: caller


def local_user_id(path: str | Path | None = None) -> str:
    """The id of the local user of this machine's account, made if there is none."""
    file = Path(path) if path is not None else _default_path()
    try:
        if not file.exists():
            _make(file)
        return str(UUID(file.read_text().strip()))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WrongUseError(f"{file} cannot keep the local user's id: {reason}.") from error
    except ValueError:
        raise WrongUseError(
            f"{file} holds no id of a local user: name another file, or remove it to get a new id."
        ) from None


def _default_path() -> Path:
    try:
        return state_path() / "local_user_id"
    except RuntimeError:
        raise WrongUseError(
            "The local user's id has no place, as this user has no home directory: name a file."
        ) from None


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # 1. Write it whole under another name, which mkstemp opens with mode 0600.
    descriptor, draft = tempfile.mkstemp(prefix=".local_user_id-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(f"{uuid4()}\n")
            opened.flush()
            os.fsync(descriptor)
        # 2. Give it the name. Whoever comes second fails here and reads the first one's.
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        os.unlink(draft)
