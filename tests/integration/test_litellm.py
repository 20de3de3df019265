"""LiteLLM's real proxy, as `examples/litellm` runs it, with usagepipe's callback."""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.environments import python_of
from tests.support.installs import ROOT
from tests.support.ports import HOST, is_answered, lasting_port
from tests.support.programs import Programs
from tests.support.stub_answers import MODEL
from tests.support.topics import read
from tests.support.waiting import eventually
from usagepipe.schemas import UsageEvent, decode

CONFIG = ROOT / "examples" / "litellm" / "config.yaml"
MASTER_KEY = "sk-of-the-test"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
START_SECONDS = 150  # it imports for a minute where others are at work
SECONDS = 30

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def proxy(run_program: Programs, kafka: str, topic: str) -> Iterator[httpx.Client]:
    """A client of a proxy in front of a stub provider."""
    provider, port = lasting_port(), lasting_port()
    run_program(
        *("tests.support.stub_provider:app", "--host", HOST, "--port", str(provider)),
        program="uvicorn",
        environment={"PYTHONPATH": str(ROOT)},
    )
    litellm = python_of(ROOT / "tests" / "support" / "litellm.txt", ROOT).with_name("litellm")
    program = run_program(
        *("--config", str(CONFIG), "--host", HOST, "--port", str(port)),
        program=str(litellm),
        environment={
            "USAGEPIPE_KAFKA": kafka,
            "USAGEPIPE_TOPIC": topic,
            "LITELLM_MASTER_KEY": MASTER_KEY,
            "OPENAI_API_KEY": "sk-of-the-provider",
            "OPENAI_BASE_URL": f"http://{HOST}:{provider}/v1",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # its price list as installed
        },
    )
    eventually(lambda: is_answered(port), START_SECONDS, program.tail)
    with httpx.Client(
        base_url=f"http://{HOST}:{port}",
        headers={"Authorization": f"Bearer {MASTER_KEY}"},
        timeout=SECONDS,
    ) as client:
        yield client


def chat(said: str, **more: object) -> dict[str, object]:
    """A request's body."""
    return {"model": "small", "messages": [{"role": "user", "content": said}], **more}


def recorded(kafka: str, topic: str, events: int) -> list[UsageEvent]:
    """The events on the topic, in their order, when there are so many."""
    eventually(lambda: len(read(kafka, topic)) >= events, SECONDS, f"{events} events")
    found = (decode(record.value) for record in read(kafka, topic))
    return sorted(found, key=lambda each: each.sequence or 0)


def test_each_call_of_the_proxy_is_one_event(proxy: httpx.Client, kafka: str, topic: str) -> None:
    """Answered, streamed, failed and broken off: each is recorded once, with the provider's counts
    where it gave them and LiteLLM's price; no key and no word of the prompt is in it.
    """
    path = "/v1/chat/completions"
    traced = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    proxy.post(path, json=chat("hello"), headers=traced).raise_for_status()
    streaming = chat("hello", stream=True)
    with proxy.stream("POST", path, json=streaming, headers=traced) as answer:
        streamed = answer.read()
    failed = proxy.post(path, json=chat("fail"), headers=traced)
    with proxy.stream("POST", path, json=chat("slow", stream=True)) as answer:
        next(answer.iter_bytes())  # and away
    events = recorded(kafka, topic, 4)

    assert b"[DONE]" in streamed
    assert failed.status_code >= 500
    assert 4 == len(events)
    assert [2306, 2306, 0] == [each.total_tokens for each in events[:3]]
    assert [1920, 1920, 0] == [each.cached_tokens for each in events[:3]]
    assert [False, False, True, False] == [each.failed for each in events]
    assert [False, True, False, True] == [each.streaming for each in events]
    assert ["complete", "complete", "missing", "partial"] == [each.usage_quality for each in events]
    assert {"small"} == {each.requested_model for each in events}
    assert all(each.cost for each in events[:2])
    assert events[2].cost is None
    assert [(TRACE, SPAN)] * 3 + [(None, None)] == [
        (each.tags.get("trace_id"), each.tags.get("span_id")) for each in events
    ]
    text = "".join(each.model_dump_json() for each in events)
    assert not any(word in text for word in (MASTER_KEY, "sk-of-the-provider", "hello", MODEL))
