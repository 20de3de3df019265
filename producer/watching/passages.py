"""Passes the messages of one ASGI request on, both ways, and tells the exchange of each.

Messages are sent on first and looked at afterwards, as they are: none is copied, held or changed.
"""

from usagepipe.producer.watching.asgi import AnswerHeaders, Message, Receive, Send
from usagepipe.producer.watching.exchanges import Exchange

# The ways to send a body; those of extensions carry no bytes that could be read.
BODIES = {
    "http.response.body",
    "http.response.pathsend",
    "http.response.zerocopysend",
}


class Passage:
    """`receive` and `send` for the application, in place of the server's."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """What the client sends. The end of the connection shows here, if the application asks."""
        message = await self._receive()
        kind = message.get("type")
        if kind == "http.request":
            self._exchange.asked(message.get("body", b""))
        elif kind == "http.disconnect":
            self._exchange.client_left()
        return message

    async def send(self, message: Message) -> None:
        """Send `message` on, then look at it: what a client that has gone was sent still counts."""
        if "headers" in message and not isinstance(message["headers"], (list, tuple)):
            # A generator: the server leaves nothing of it.
            message = {**message, "headers": list(message["headers"])}
        try:
            await self._send(message)
        except OSError:  # so ASGI 2.4 tells that the client has gone
            self._exchange.client_left()
            raise
        finally:
            try:
                self._note(message)
            except Exception as error:
                self._exchange.noting_failed(error)

    def _note(self, message: Message) -> None:
        kind = message.get("type")
        if kind in BODIES:
            self._exchange.passed(message.get("body", b""))
            if not message.get("more_body", False):
                self._exchange.ended()
        elif kind == "http.response.start":
            # Copied: whoever is outside of us may change the list.
            headers = AnswerHeaders(list(message.get("headers", ())))
            self._exchange.answered(message["status"], headers)
