"""Keys and their fingerprints."""

import pytest

from usagepipe.producer import fingerprint_key

SECRET = "0123456789abcdef"
KEY = "sk-test-9f8e7d6c5b4a3210"


def test_fingerprint_is_the_same_for_ever() -> None:
    """The id of a key is part of stored history: it must never change."""
    assert "key-355d534818fc2312374f9b84752e3d76-3210" == fingerprint_key(KEY, SECRET)


def test_fingerprint_needs_the_secret() -> None:
    """With another secret the same key has another id."""
    assert fingerprint_key(KEY, SECRET) != fingerprint_key(KEY, SECRET[::-1])


def test_secret_may_be_bytes() -> None:
    """Text and its UTF-8 bytes are the same secret."""
    assert fingerprint_key(KEY, SECRET) == fingerprint_key(KEY, SECRET.encode())


@pytest.mark.parametrize(
    "raw", ["", "short", "fifteen-chars-k", "a-long-enough-key-\n\n\n\n", "k" * 20 + "é"]
)
def test_last_characters_are_left_out_where_they_reveal_too_much(raw: str) -> None:
    """Of a short key, or one that does not print, the fingerprint shows the hash alone."""
    assert len("key-") + 32 == len(fingerprint_key(raw, SECRET))


@pytest.mark.parametrize("secret", ["", "too short"])
def test_weak_secret_is_refused_without_being_quoted(secret: str) -> None:
    """A secret that can be guessed is refused; neither it nor the key is in the text."""
    with pytest.raises(ValueError, match="needs 16 bytes or more") as caught:
        fingerprint_key(KEY, secret)

    assert "too short" not in str(caught.value)
    assert KEY not in str(caught.value)
