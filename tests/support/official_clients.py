"""OpenAI's and Anthropic's own Python clients, sync and async, asked in one way.

It yields the pieces of text as they come, one for an answer that is no stream. Close
it (`aclosing`) to leave in the middle.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

ASKED_MODEL = "small"
Pieces = AsyncGenerator[str]


class OfficialClients:
    """Both clients, pointed at `url`."""

    def __init__(self, url: str, key: str, *, is_async: bool, **options: Any) -> None:
        """The options are the clients'."""
        openai, anthropic = (AsyncOpenAI, AsyncAnthropic) if is_async else (OpenAI, Anthropic)
        self._openai: Any = openai(base_url=f"{url}/v1", api_key=key, **options)
        self._anthropic: Any = anthropic(base_url=url, api_key=key, **options)

    def ask(self, api: str, said: str, stream: bool, **options: Any) -> Pieces:
        """By `chat`, `responses` or `messages`; the options are the client's."""
        ways = {"chat": self._chat, "responses": self._responses, "messages": self._messages}
        return ways[api](said, stream, **options)

    async def _chat(self, said: str, stream: bool, **options: Any) -> Pieces:
        if stream:
            options.setdefault("stream_options", {"include_usage": True})
        asking = self._openai.chat.completions.create(
            model=ASKED_MODEL, messages=_messages(said), stream=stream, **options
        )
        async for part in _parts(asking, stream):
            for choice in part.choices:
                yield (choice.delta if stream else choice.message).content or ""

    async def _responses(self, said: str, stream: bool, **options: Any) -> Pieces:
        asking = self._openai.responses.create(
            model=ASKED_MODEL, input=said, stream=stream, **options
        )
        async for part in _parts(asking, stream):
            if not stream:
                yield part.output_text
            elif part.type == "response.output_text.delta":
                yield part.delta

    async def _messages(self, said: str, stream: bool, **options: Any) -> Pieces:
        asking = self._anthropic.messages.create(
            model=ASKED_MODEL, max_tokens=99, messages=_messages(said), stream=stream, **options
        )
        async for part in _parts(asking, stream):
            if not stream:
                yield part.content[0].text
            elif part.type == "content_block_delta":
                yield part.delta.text

    async def close(self) -> None:
        for client in (self._openai, self._anthropic):
            await _now(client.close())


def _messages(said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": said}]


async def _parts(asking: Any, stream: bool) -> AsyncIterator[Any]:
    """The events of a stream, which is closed when nobody wants more, or the one answer."""
    answer = await _now(asking)
    if not stream:
        yield answer
        return
    try:
        if isinstance(answer, AsyncIterator):
            async for part in answer:
                yield part
        else:
            for part in answer:
                yield part
    finally:
        await _now(answer.close())


async def _now(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
