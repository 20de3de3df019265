"""Answers that real providers gave, recorded by others: they stay outside of the repository.

Where they are not there, their tests are skipped with the variable to set; CI has them.
"""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.installs import ROOT
from tests.support.servers import skip_or_fail

FOLDER_VARIABLE: Final = "USAGEPIPE_TEST_DATA"
FILE_NAME: Final = "provider_responses.jsonl"


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """One answer, as its server sent it."""

    name: str
    url: str
    status: int
    content_type: str
    body: str


@cache
def recorded_answers() -> tuple[RecordedAnswer, ...]:
    """All of them, in the file's order; the test is skipped where the file is not there."""
    beside = ROOT.parent / "shared" / "data"
    path = Path(os.environ.get(FOLDER_VARIABLE, beside)) / FILE_NAME
    if not path.exists():
        skip_or_fail("recorded answers", FOLDER_VARIABLE, f"{path} is not there")
    with path.open(encoding="utf-8") as lines:  # its lines end at LF only, as open() reads them
        return tuple(RecordedAnswer(**json.loads(line)) for line in lines)
