"""A look at the first bytes of a request's body: what it asks for, in bounded memory."""

import json

import pytest

from usagepipe.producer.watching.body_prefix import (
    PREFIX_BYTES,
    BodyPrefix,
    Requested,
    model_in_path,
)


def read(body: bytes, step: int = 1_000) -> Requested:
    prefix = BodyPrefix("application/json")
    for start in range(0, len(body), step):
        prefix.note(body[start : start + step])
    return prefix.read()


@pytest.mark.parametrize("step", [1, 7, 1_000])
def test_top_level_model_and_stream_are_read(step: int) -> None:
    """Model and stream count at the top only, in pieces of any size."""
    body = {"messages": [{"model": "no", "stream": False}], "model": "yes", "stream": True}

    assert Requested("yes", True) == read(json.dumps(body).encode(), step)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"model"', b"model=a", b"\xff\xfe", b'{"model": 7}', b"[" * 100_000],
)
def test_body_without_a_model_has_no_model(body: bytes) -> None:
    """Broken, empty and other bodies raise nothing and have no model."""
    assert Requested() == read(body)


def test_model_before_the_bound_is_read_of_a_body_of_any_size() -> None:
    """Complete values before the cut are read, and no more than the bound is kept."""
    prefix = BodyPrefix("application/json")
    prefix.note(b'{"model": "first", "messages": "')
    for _ in range(1_000):
        prefix.note(b"x" * 1_000)

    held = len(prefix.kept)

    assert PREFIX_BYTES == held
    assert Requested("first") == prefix.read()


def test_model_after_the_bound_is_not_known() -> None:
    """A model after the kept prefix is not found; nothing is guessed."""
    body = {"messages": "x" * PREFIX_BYTES, "model": "late"}

    assert Requested() == read(json.dumps(body).encode())


def test_other_bodies_are_not_held() -> None:
    """No byte of an upload is kept."""
    prefix = BodyPrefix("multipart/form-data; boundary=x")

    prefix.note(b'{"model": "m"}')

    assert not prefix.kept
    assert Requested() == prefix.read()


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("/v1/projects/p/locations/l/publishers/google/models/g-1:streamGenerateContent", "g-1"),
        (
            "/model/anthropic.claude-3-5-sonnet-20240620-v1%3A0/converse",
            "anthropic.claude-3-5-sonnet-20240620-v1:0",
        ),
        ("/openai/deployments/gpt-4o-eu/chat/completions", "gpt-4o-eu"),
        ("/v1/models/gpt-4o", ""),
        ("/v1/chat/completions", ""),
    ],
)
def test_model_of_a_path_is_the_providers(path: str, model: str) -> None:
    """Gemini, Vertex, Bedrock and Azure name the model in the path."""
    assert model == model_in_path(path)
