"""The single user of an installation without users: an id that is made once and kept in a file.

The file is created atomically and once, so processes that start together agree on one id.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

from usagepipe.producer.watching.callers import Caller, Identify
from usagepipe.schemas.errors import WrongUseError
from usagepipe.schemas.settings.producer import state_path


def local_user(path: str | Path | None = None, *, user_name: str = "local") -> Identify:
    """Every request belongs to the local user. Put it last in `first_of`, for unknown callers.

    The id is in the file `path`, by default `usagepipe/local_user_id` under `$XDG_STATE_HOME` or
    `~/.local/state`. Only its owner can read the file. It is read or made now, not with the first
    request.

    Raises:
        WrongUseError: the file cannot be read or made, or holds something else.
    """
    caller = Caller(user_id=local_user_id(path), user_name=user_name, source="web")
    return lambda request: caller


def local_user_id(path: str | Path | None = None) -> str:
    """The id of the local user of this account. It is made if there is none."""
    try:
        file = Path(path) if path is not None else state_path() / "local_user_id"
    except RuntimeError:
        raise WrongUseError(
            "There is no home directory for the file of the local user's id. Name a file."
        ) from None
    try:
        if not file.exists():
            _make(file)
        return str(UUID(file.read_text().strip()))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WrongUseError(f"{file} cannot keep the local user's id: {reason}.") from error
    except ValueError:
        raise WrongUseError(
            f"{file} does not hold a local user's id. Name another file, or remove it for a new id."
        ) from None


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # 1. Write it under a temporary name. mkstemp uses mode 0600.
    descriptor, draft = tempfile.mkstemp(prefix=".local_user_id-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(f"{uuid4()}\n")
            opened.flush()
            os.fsync(descriptor)
        # 2. Link it to its name. A second process fails here and reads the file of the first.
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        os.unlink(draft)
