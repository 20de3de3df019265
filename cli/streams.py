"""Standard output that may be closed, full or no longer read: one error for each, no traceback.

Errors of the descriptor become `OutputError` where they arise, below click and rich, which would
end the process with status 1 on their own: "the answer is no".
"""

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Final

from usagepipe.schemas.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDOUT: Final = 1


class _Descriptor(io.FileIO):
    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error.errno or errno.EIO) from None


def guard_streams() -> None:
    """Put `OutputError` under `sys.stdout`, and something under streams that are closed.

    Call it first of all: a file opened later would get a closed stream's number, and the text
    meant for the stream.
    """
    _open_closed_ones()
    before = sys.stdout
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(_STDOUT, "w", closefd=False)),
        encoding=before.encoding if before else "utf-8",
        errors=_lenient(before.errors) if before else "replace",
        line_buffering=bool(before and before.line_buffering),
        write_through=bool(before and getattr(before, "write_through", False)),
    )


def _lenient(errors: str | None) -> str:
    """How text is written that the encoding cannot hold: never half of a report and a traceback."""
    return "backslashreplace" if errors in (None, "strict", "surrogateescape") else errors


def _open_closed_ones() -> None:
    """Reading only, so that writing to standard output fails as it does when it is closed."""
    while (number := os.open(os.devnull, os.O_RDONLY)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives


def give_up_output() -> None:
    """Let what is buffered go nowhere: at its end the interpreter would try, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.close(nowhere)
