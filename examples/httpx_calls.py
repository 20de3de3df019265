"""A program that calls a provider by httpx and records what it used, with no gateway between.

    USAGEPIPE_KAFKA=127.0.0.1:9092 python examples/httpx_calls.py \
        http://127.0.0.1:8000/v1/chat/completions "how are you"

The address may be any that answers as OpenAI does; the key is taken from OPENAI_API_KEY. The
providers' own clients are made with httpx2 and take the transport of `usagepipe.producer.httpx2`:
`Anthropic(http_client=httpx2.Client(transport=UsageTransport(httpx2.HTTPTransport(), …)))`.
"""

import os
import sys

import httpx

from usagepipe.producer import Caller, UsageRecorder
from usagepipe.producer.httpx import UsageTransport


def main(url: str, question: str) -> None:
    """Ask once and print the answer. What was queued is delivered before the program ends."""
    body = {"model": "small", "messages": [{"role": "user", "content": question}]}
    headers = {"authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"}
    with UsageRecorder() as recorder:
        transport = UsageTransport(
            httpx.HTTPTransport(retries=2),
            recorder=recorder,
            caller=Caller("u-reports", "Nightly reports", source="batch"),
        )
        with httpx.Client(transport=transport, timeout=60) as client:
            answer = client.post(url, json=body, headers=headers).raise_for_status()
            print(answer.json()["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main(*sys.argv[1:])
