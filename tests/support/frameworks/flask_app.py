"""Flask."""

from typing import Any

from flask import Flask, Response, request

from tests.support.frameworks import answers

app = Flask(__name__)


@app.post("/chat")
def chat() -> dict[str, Any]:
    request.get_json()
    return answers.CHAT


@app.post("/stream")
def stream() -> Response:
    return Response(answers.stream(), mimetype="text/event-stream")


@app.post("/fails")
def fails() -> str:
    answers.fail()
    return ""
