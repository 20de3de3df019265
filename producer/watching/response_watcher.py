"""Watches the messages of one ASGI request in both directions.

A message is forwarded first and looked at afterwards. None is copied, delayed or changed.
"""

from usagepipe.producer.watching.asgi import AnswerHeaders, Message, Receive, Send
from usagepipe.producer.watching.watched_request import WatchedRequest

# The messages that send a body. Those of ASGI extensions carry no bytes that we could read.
BODIES = {"http.response.body", "http.response.pathsend", "http.response.zerocopysend"}


class ResponseWatcher:
    """The `receive` and `send` that the application gets instead of the server's."""

    def __init__(self, watched: WatchedRequest, receive: Receive, send: Send) -> None:
        self._watched = watched
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """A message of the client. A disconnect is seen here, if the application calls this."""
        message = await self._receive()
        kind = message.get("type")
        if kind == "http.request":
            self._watched.body_piece(message.get("body", b""))
        elif kind == "http.disconnect":
            self._watched.client_left()
        return message

    async def send(self, message: Message) -> None:
        """Forward `message`, then look at it. It counts even if the client has disconnected."""
        if "headers" in message and not isinstance(message["headers"], (list, tuple)):
            # A generator: the server leaves nothing of it.
            message = {**message, "headers": list(message["headers"])}
        try:
            await self._send(message)
        except OSError:  # ASGI 2.4: the client has disconnected
            self._watched.client_left()
            raise
        finally:
            try:
                self._note(message)
            except Exception as error:
                self._watched.watching_failed(error)

    def _note(self, message: Message) -> None:
        kind = message.get("type")
        if kind in BODIES:
            self._watched.answer_chunk(message.get("body", b""))
            if not message.get("more_body", False):
                self._watched.answer_ended()
        elif kind == "http.response.start":
            # Copied: middlewares around us may change the list.
            headers = AnswerHeaders(list(message.get("headers", ())))
            self._watched.answer_began(message["status"], headers)
