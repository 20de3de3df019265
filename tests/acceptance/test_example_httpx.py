"""The example in `examples/httpx_calls.py`, calling the example gateway."""

from tests.support.installs import ROOT
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import Programs
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.schemas import decode


def test_a_call_becomes_an_event_of_the_program(
    kafka: str, topic: str, run_program: Programs
) -> None:
    """The program prints the answer, and its call is one event when it has ended."""
    port = lasting_port()
    gateway = run_program(
        *("--app-dir", str(ROOT / "examples"), "gateway:app", "--port", str(port)),
        program="uvicorn",
        environment={"USAGEPIPE_ENABLED": "false"},
    )
    eventually(lambda: is_answered(port), 60, gateway.tail)

    program = run_program(
        str(ROOT / "examples" / "httpx_calls.py"),
        f"http://{HOST}:{port}/v1/chat/completions",
        "how are you",
        program="python",
        environment={"USAGEPIPE_KAFKA": kafka, "USAGEPIPE_TOPIC": topic},
    )

    assert 0 == program.wait(), program.tail()
    assert "Hello!\n" == program.stdout
    (event,) = (decode(record.value) for record in read(kafka, topic))
    assert ("u-reports", "batch", HOST, "small", 5) == (
        event.user_id,
        event.source,
        event.provider,
        event.model,
        event.total_tokens,
    )
