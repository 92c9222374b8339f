"""The outermost layer of the app: ids, counts, logs, and the last answer to an unforeseen error.

Plain ASGI around everything. Each HTTP request gets an id that stands on its answer and in
the log; whatever escapes the routes becomes a 500 without detail, its traceback goes to the
log. A caller who goes away in the middle is no error.
"""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from byoc import log
from byoc.clock import Clock
from byoc.controlplane import problems
from byoc.controlplane.metrics import Metrics
from byoc.ids import NewID
from byoc.wire.management import MAXIMUM_BODY


class Edge:
    """Wraps the app. ``scope["state"]["request_id"]`` is the id for everything inside."""

    def __init__(self, app: ASGIApp, *, clock: Clock, new_id: NewID, metrics: Metrics) -> None:
        self._app = app
        self._clock = clock
        self._new_id = new_id
        self._metrics = metrics
        self._log = log.get(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(self._new_id(), scope, receive, send)
        scope.setdefault("state", {})["request_id"] = answer.request_id
        began = self._clock.monotonic()
        try:
            await self._app(scope, answer.receive, answer.send)
        except ClientDisconnect:
            answer.code = "client_gone"
        except Exception:  # noqa: BLE001 - the last line of defence: a caller never sees a traceback
            self._log.exception("unforeseen", request_id=answer.request_id, method=scope["method"])
            if not answer.status:
                await problems.render(problems.INTERNAL, scope["path"], answer.request_id)(
                    scope, receive, answer.send
                )
        finally:
            self._count(scope, answer, self._clock.monotonic() - began)

    def _count(self, scope: Scope, answer: "_Answer", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.answered(scope["method"], route, answer.status, seconds, answer.code)
        record = self._log.debug if scope["method"] in {"GET", "HEAD"} and not answer.code else self._log.info
        record(
            "answered",
            method=scope["method"],
            route=route,
            status=answer.status,
            code=answer.code,
            milliseconds=round(seconds * 1000, 1),
            request_id=answer.request_id,
        )


class _Answer:
    """Watches one answer go out and puts the request's id on it."""

    def __init__(self, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        self.request_id = request_id
        self.status = 0
        self.code = ""
        self._unbounded = _unbounded(scope)
        self._read = False
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        self._read = self._read or not message.get("more_body")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [pair for pair in message.get("headers", ()) if pair[0] != b"byoc-request-id"]
            self.code = next((v.decode() for k, v in headers if k == b"byoc-error"), "")
            headers.append((b"byoc-request-id", self.request_id.encode()))
            if self._unbounded and not self._read:
                # Or the rest of a body that we refused would be read to its end, which may never come.
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        try:
            await self._send(message)
        except Exception as error:
            # Whatever breaks while writing is the connection's end; our own code is not in there.
            raise ClientDisconnect from error


def _unbounded(scope: Scope) -> bool:
    """Whether a request may have more body than any route reads."""
    headers = dict(scope.get("headers", ()))
    declared = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not declared.isdigit() or int(declared) > MAXIMUM_BODY
