"""A Flask service in front of models, with the usage middleware for WSGI, under gunicorn.

    USAGEPIPE_KAFKA=127.0.0.1:9092 gunicorn --chdir examples --workers 2 flask_gateway:app

    curl -H 'Authorization: Bearer sk-ada' -H 'Content-Type: application/json' \
        -d '{"model": "small", "messages": [], "stream": true}' \
        http://127.0.0.1:8000/v1/chat/completions

Your own service replaces `KEYS` by its store of keys and `words_of` by a model. Keep the secret of
`api_key` the same for ever: it decides which id a key has in the events.
"""

import json
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, request

from usagepipe.producer import Caller, UsageRecorder, UsageWsgiMiddleware, stamp_usage
from usagepipe.producer.identify import api_key

KEYS = {
    "sk-ada": Caller("u-ada", "Ada", api_key_name="laptop"),
    "sk-bob": Caller("u-bob", "Bob", api_key_name="server", team_id="t-1"),
}

app = Flask(__name__)
app.wsgi_app = UsageWsgiMiddleware(  # type: ignore[method-assign]
    app.wsgi_app,
    recorder=UsageRecorder(),
    identify=api_key(KEYS.get, secret="change-me-and-keep-me"),
    provider="example",
    paths=("/v1",),
)


@app.post("/v1/chat/completions")
def complete() -> Response:
    """Answer as OpenAI's API does, whole or as a stream; a real gateway asks a model here."""
    asked: dict[str, Any] = request.get_json()
    if asked.get("stream"):
        return Response(stream_of(asked), mimetype="text/event-stream")
    answer, usage = "".join(words_of(asked)), usage_of(asked, 3)
    message = {"role": "assistant", "content": answer}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return jsonify(object="chat.completion", model=asked["model"], choices=[choice], usage=usage)


def stream_of(asked: dict[str, Any]) -> Iterator[str]:
    """The answer word by word. The usage so far is stamped, so that a client that leaves in the
    middle is charged for what it got."""
    for number, word in enumerate(words_of(asked), start=1):
        usage = usage_of(asked, number)
        stamp_usage(asked["model"], usage["prompt_tokens"], usage["completion_tokens"])
        chunk = {"choices": [{"index": 0, "delta": {"content": word}}]}
        yield f"data: {json.dumps(chunk)}\n\n"
    yield "data: [DONE]\n\n"


def words_of(asked: dict[str, Any]) -> Iterator[str]:
    yield from ("Hello", ", world", "!")


def usage_of(asked: dict[str, Any], words: int) -> dict[str, int]:
    prompt = sum(len(str(message.get("content", "")).split()) for message in asked["messages"])
    return {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words}


@app.get("/health")
def health() -> dict[str, str]:
    """For load balancers and container health checks."""
    return {"status": "ok"}
