"""Asks OpenAI and Anthropic by their own clients, through the gateway of `provider_gateway.py`.

    pip install openai anthropic
    OPENAI_API_KEY=… ANTHROPIC_API_KEY=… \
        python examples/official_clients.py http://127.0.0.1:8000 "how are you"

All that a client needs is the gateway's address. It repeats a request that failed, and counts the
tries in a header, but gives it no id: with one of your own all tries have the same `request_id`.
"""

import sys
from uuid import uuid4

from anthropic import Anthropic
from openai import OpenAI


def main(gateway: str, question: str) -> None:
    """Ask both and print their answers as they come."""
    ask_openai(gateway, question)
    ask_anthropic(gateway, question)


def ask_openai(gateway: str, question: str) -> None:
    chunks = OpenAI(base_url=f"{gateway}/v1").chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": question}],
        stream=True,
        stream_options={"include_usage": True},  # else the stream tells no tokens
        extra_headers={"x-correlation-id": str(uuid4())},
    )
    for chunk in chunks:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
    print()


def ask_anthropic(gateway: str, question: str) -> None:
    with Anthropic(base_url=gateway).messages.stream(
        model="claude-sonnet-5-5",
        max_tokens=1_000,
        messages=[{"role": "user", "content": question}],
        extra_headers={"x-correlation-id": str(uuid4())},
    ) as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
