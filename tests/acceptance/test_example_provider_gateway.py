"""The examples `provider_gateway.py` and `official_clients.py`, run as their own texts say."""

from tests.support import stub_provider
from tests.support.installs import ROOT
from tests.support.loopback import serving
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import Program, Programs
from tests.support.stub_answers import CLAUDE, MODEL, TEXT
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.schemas import UsageEvent, decode

OPENAI_KEY, ANTHROPIC_KEY = "sk-openai-of-the-test", "sk-anthropic-of-the-test"


def start_gateway(
    run_program: Programs, provider: str, kafka: str, topic: str, port: int
) -> Program:
    return run_program(
        *("--app-dir", str(ROOT / "examples"), "--factory", "provider_gateway:gateway"),
        *("--port", str(port)),
        program="uvicorn",
        environment={
            "USAGEPIPE_KAFKA": kafka,
            "USAGEPIPE_TOPIC": topic,
            "KEY_SECRET": "change-me-and-keep-me",
            "OPENAI_UPSTREAM": provider,
            "ANTHROPIC_UPSTREAM": provider,
        },
    )


def test_two_official_clients_are_two_events_on_kafka(
    kafka: str, topic: str, run_program: Programs
) -> None:
    """The program prints both answers; each request is one event with its tokens and its id, and
    neither key is in it."""
    port = lasting_port()
    with serving(stub_provider.app) as provider:
        gateway = start_gateway(run_program, provider, kafka, topic, port)
        eventually(lambda: is_answered(port), 60, gateway.tail)

        program = run_program(
            *(str(ROOT / "examples" / "official_clients.py"), f"http://{HOST}:{port}", "hello"),
            program="python",
            environment={"OPENAI_API_KEY": OPENAI_KEY, "ANTHROPIC_API_KEY": ANTHROPIC_KEY},
        )
        status = program.wait()
        gateway.stop()

    assert (0, f"{TEXT}\n" * 2) == (status, program.stdout), program.tail()
    records = read(kafka, topic)
    openai, anthropic = sorted((decode(r.value) for r in records), key=lambda e: e.sequence or 0)
    assert ("openai", "gpt-4o-mini", MODEL, 2306, True, 1) == _facts(openai)
    assert ("anthropic", "claude-sonnet-5-5", CLAUDE, 150, True, 1) == _facts(anthropic)
    assert "" not in {openai.request_id, anthropic.request_id}
    assert not [key for key in (OPENAI_KEY, ANTHROPIC_KEY) if key in str(records)]


def _facts(event: UsageEvent) -> tuple[object, ...]:
    asked, served = event.requested_model, event.model
    return event.provider, asked, served, event.total_tokens, event.streaming, event.attempt
