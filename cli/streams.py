"""Standard output that may be closed, full, or without a reader: one error each, no traceback.

Errors become `OutputError` at the descriptor, below click and rich, which would end the process
with status 1: "the answer is no".
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
    """Raise `OutputError` from `sys.stdout`, and open standard streams that are closed.

    Call it first: a file that is opened before would get a closed stream's descriptor, and its
    text.
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
    """The error handler for characters that the encoding cannot hold. It never raises."""
    return "backslashreplace" if errors in (None, "strict", "surrogateescape") else errors


def _open_closed_ones() -> None:
    """Reading only, so that writing to standard output fails as it does when it is closed."""
    while (number := os.open(os.devnull, os.O_RDONLY)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives


def give_up_output() -> None:
    """Discard buffered output: the interpreter would try to write it at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.close(nowhere)
