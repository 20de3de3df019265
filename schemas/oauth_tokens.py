"""Access tokens for OAUTHBEARER, from an OIDC provider with client credentials (RFC 6749, 4.4).

Both Kafka clients share them. A token is used for most of its lifetime and then fetched again, in
the calling thread, which never serves requests. After a failure, the pause between attempts grows.
"""

import base64
import json
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from _thread import RLock  # not a greenlet lock: threads of librdkafka and of web servers share it
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import quote, urlencode

from usagepipe.schemas.errors import AccessError
from usagepipe.schemas.settings.kafka import KafkaSettings
from usagepipe.schemas.settings.secret_files import Tls

REQUEST_SECONDS: Final = 5.0
DEFAULT_LIFE_SECONDS: Final = 300.0  # if the provider sends no valid `expires_in`
MOST_LIFE_SECONDS: Final = 10.0 * 366 * 86_400  # longer ones are not valid: inf, NaN
USED_SHARE: Final = 0.8  # of a token's life; librdkafka renews at the same moment
FIRST_PAUSE_SECONDS: Final = 0.5
MOST_PAUSE_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 1 << 20
_CODE = re.compile(r"[a-z_]{1,40}")  # of RFC 6749, 5.2: nothing else of an answer is quoted


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """An access token. `expires_at` is in seconds since 1970."""

    value: str
    expires_at: float
    renew_at: float  # monotonic seconds


class OauthTokens:
    """The tokens of one client. Thread-safe."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._lock = RLock()
        self._token: Token | None = None
        self._failure: AccessError | None = None
        self._failed_at = 0.0
        self._pause = 0.0

    def token(self) -> Token:
        """A valid token. May block for `REQUEST_SECONDS`.

        Raises:
            AccessError: the provider gives none. The message holds no secret.
        """
        with self._lock:
            now = time.monotonic()
            if self._token is not None and now < self._token.renew_at:
                return self._token
            if self._failure is not None and now < self._failed_at + self._pause:
                raise self._failure
            try:
                self._token = _fetch(self._kafka)
            except AccessError as error:
                self._note_failure(error)
                raise
            self._failure, self._pause = None, 0.0
            return self._token

    def _note_failure(self, error: AccessError) -> None:
        self._failure, self._failed_at = error, time.monotonic()
        most = min(MOST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, self._pause * 2))
        self._pause = most * random.uniform(0.5, 1.0)  # processes must not ask in step


@lru_cache(maxsize=8)
def oauth_tokens(kafka: KafkaSettings) -> OauthTokens:
    """The tokens of these settings: one for all clients of a process."""
    return OauthTokens(kafka)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the client secret to another place."""

    def redirect_request(self, *request: Any) -> None:
        return None


def _fetch(kafka: KafkaSettings) -> Token:
    asked_at = time.monotonic()
    try:
        context = Tls(kafka.kafka_oauth_ca).context()
        opener = urllib.request.build_opener(
            _NoRedirect, urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(_request(kafka), timeout=REQUEST_SECONDS) as answer:
            fields = json.loads(answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            raise _failure(_refusal(error)) from None
    except (OSError, HTTPException, ValueError) as error:
        raise _failure(_reason(error)) from None
    value = fields.get("access_token") if isinstance(fields, dict) else None
    if not isinstance(value, str) or not value:
        raise _failure("its answer has no access_token")
    seconds = _lifetime(fields.get("expires_in"))
    return Token(value, time.time() + seconds, asked_at + seconds * USED_SHARE)


def _lifetime(expires_in: Any) -> float:
    """A token's lifetime in seconds. It is bounded: a token without an end is never renewed."""
    try:
        seconds = float(expires_in)
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_LIFE_SECONDS
    return seconds if 0 < seconds < MOST_LIFE_SECONDS else DEFAULT_LIFE_SECONDS


def _request(kafka: KafkaSettings) -> urllib.request.Request:
    form = {"grant_type": "client_credentials"}
    if kafka.kafka_oauth_scope:
        form["scope"] = kafka.kafka_oauth_scope
    # Both parts are encoded as in a form first (RFC 6749, 2.3.1).
    user, password = (
        quote(part, safe="") for part in (kafka.kafka_oauth_client_id, kafka.kafka_client_secret)
    )
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Accept": "application/json"}
    return urllib.request.Request(
        kafka.kafka_oauth_token_url, urlencode(form).encode(), headers, method="POST"
    )


def _failure(reason: str) -> AccessError:
    return AccessError(
        f"The token endpoint of USAGEPIPE_KAFKA_OAUTH_TOKEN_URL gives no token: {reason}"
    )


def _refusal(error: urllib.error.HTTPError) -> str:
    try:
        fields: Any = json.loads(error.read(MAX_ANSWER_BYTES))
        code = fields["error"]
    except (OSError, HTTPException, ValueError, TypeError, KeyError):
        code = None
    named = f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
    cure = (
        ". Check USAGEPIPE_KAFKA_OAUTH_CLIENT_ID, _CLIENT_SECRET and _SCOPE"
        if error.code in (400, 401, 403)
        else ""
    )
    return f"it answers HTTP {error.code}{named}{cure}"


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {cause.verify_message}"
    if isinstance(cause, TimeoutError):
        return f"no answer within {REQUEST_SECONDS:g} s"
    if isinstance(cause, OSError):
        return cause.strerror or type(cause).__name__
    return "its answer is not JSON" if isinstance(cause, ValueError) else type(cause).__name__
