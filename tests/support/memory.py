"""The largest memory that a process has held, as Linux reports it."""

from pathlib import Path

import pytest

_PROC = Path("/proc")
needs_proc = pytest.mark.skipif(
    not (_PROC / "self/clear_refs").exists(), reason="only Linux reports and resets a peak"
)


def peak_bytes(pid: int | str = "self") -> int:
    """The peak of the process since its start or the last reset."""
    lines = (_PROC / f"{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


def forget_peak() -> int:
    """Reset the peak to what this process holds now, and return that."""
    (_PROC / "self/clear_refs").write_text("5")  # proc(5)
    return peak_bytes()
