"""A token endpoint for OAUTHBEARER, which may refuse, and whose tokens are as short-lived as asked.

The tokens are unsigned, which a broker without a validator of its own takes.
"""

import base64
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

CLIENT: Final = "usage"
CLIENT_SECRET: Final = "token-secret-4"


class TokenServer:
    """Answers while it is open. `answers` is False while it refuses the client."""

    def __init__(self, life_seconds: float = 60) -> None:
        self.life_seconds = life_seconds
        self.answers = True
        self.given = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, authorization: str) -> tuple[int, dict[str, object]]:
        expected = base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode()
        if not self.answers or authorization != f"Basic {expected}":
            return 401, {"error": "invalid_client"}
        self.given += 1
        now = time.time()
        claims = {"sub": "ann", "iat": now - 1, "exp": now + self.life_seconds}
        token = f"{_part({'alg': 'none'})}.{_part(claims)}."
        return 200, {"access_token": token, "expires_in": self.life_seconds}


def _part(fields: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


def _handler(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, fields = server.answer(self.headers.get("Authorization", ""))
            content = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    return Handler
