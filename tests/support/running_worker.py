"""A worker in its own process, and what it reports."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.support.programs import Program, Programs, as_environment
from tests.support.waiting import eventually
from tests.support.worker import committed, end_offsets, free_web_port
from usagepipe.schemas import Settings, UsageEvent

SECONDS: Final = 60
CRIPPLED: Final = Path(__file__).with_name("crippled_worker.py")
MakeSettings = Callable[..., Settings]


def event(number: int, **fields: object) -> UsageEvent:
    """The event `number`, with token counts that show in a sum which events it holds."""
    return UsageEvent.new(
        user_id=f"user-{number % 7}",
        api_key_id=f"key-{number % 13}",
        prompt_tokens=number,
        completion_tokens=1,
        total_tokens=number + 1,
        sequence=number + 1,
        **fields,
    )


def start_worker(run_program: Programs, settings: Settings, **options: object) -> Program:
    """A worker that closes its batches early, so that tests see many of them."""
    environment, web = _environment(settings, options)
    program = run_program("worker", environment=environment)
    program.web = web  # type: ignore[attr-defined]
    return program


def start_doomed_worker(
    folder: Path, settings: Settings, points: str, **options: object
) -> Program:
    """A worker that ends at one of `points` (`chaos_points`), without the guarantee `missing`.

    The caller kills it in the end.
    """
    missing = str(options.pop("missing", "nothing"))
    environment, web = _environment(settings, options)
    environment |= {
        "PYTHONPATH": str(CRIPPLED.parents[2]),
        "CHAOS_POINTS": points,
        "CHAOS_SEED": "1",
        "CHAOS_SESSION_SECONDS": "6",
    }
    program = Program([sys.executable, str(CRIPPLED), missing], environment, folder, "doomed")
    program.web = web  # type: ignore[attr-defined]
    return program


def _environment(settings: Settings, options: dict[str, object]) -> tuple[dict[str, str], str]:
    fast = {"web_port": free_web_port(), "session_seconds": 6, "batch_seconds": 0.05}
    environment = as_environment(settings) | {
        f"USAGEPIPE_{name.upper()}": str(value) for name, value in (fast | options).items()
    }
    return environment, f"http://127.0.0.1:{environment['USAGEPIPE_WEB_PORT']}"


def wait_until_committed(settings: Settings, worker: Program) -> None:
    """Everything on the topic is stored and acknowledged."""
    eventually(lambda: committed(settings) == end_offsets(settings), SECONDS, worker.tail)


def wait_until_running(worker: Program) -> None:
    """It has an assignment, and its servers answer."""
    eventually(lambda: health(worker).get("state") == "running", SECONDS, "a running worker")


def health(worker: Program) -> dict[str, object]:
    """What `/health` answers; empty while nobody does."""
    try:
        with urlopen(f"{worker.web}/health", timeout=5) as answer:  # type: ignore[attr-defined]
            report: dict[str, object] = json.load(answer)
            return report
    except HTTPError as answer:  # 503: it is not well, and says why
        with answer:
            return dict(json.load(answer))
    except OSError:
        return {}


def metric(worker: Program, name: str) -> float | None:
    """The value of one series, such as `usagepipe_rows_stored_total`; None while nobody answers."""
    try:
        with urlopen(f"{worker.web}/metrics", timeout=5) as answer:  # type: ignore[attr-defined]
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    values = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")]
    return float(values[0]) if values else None
