"""Carries calls of botocore to an application in this process, without a socket between.

A socket for each call is half the time of a deploy into the emulated account.
"""

import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from werkzeug.test import EnvironBuilder, run_wsgi_app


class _Raw(io.BytesIO):
    """A body as botocore reads it."""

    def stream(self, amount: int = 65536, *, decode_content: bool = False) -> Iterator[bytes]:
        """The body in pieces."""
        while piece := self.read(amount):
            yield piece


class InProcess:
    """Stands where a client of botocore keeps its HTTP session."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def send(self, request: Any) -> AWSResponse:
        """Carry one call."""
        parts = urlsplit(request.url)
        headers = [
            (name, value.decode() if isinstance(value, bytes) else str(value))
            for name, value in request.headers.items()
        ]
        environ = EnvironBuilder(
            method=request.method,
            path=parts.path,
            query_string=parts.query,
            base_url=f"{parts.scheme}://{parts.netloc}",
            headers=headers,
            input_stream=io.BytesIO(_body(request.body)),
            content_length=len(_body(request.body)),
        ).get_environ()
        # The path as it was sent: names with slashes in them are quoted there.
        environ["RAW_URI"] = environ["REQUEST_URI"] = f"{parts.path}?{parts.query}"
        pieces, status, answered = run_wsgi_app(self._app, environ, buffered=True)
        known = HTTPHeaders()
        for name, value in answered:
            known.add_header(name, value)
        return AWSResponse(request.url, int(status.split()[0]), known, _Raw(b"".join(pieces)))

    def close(self) -> None:
        """Nothing is open."""


def _body(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    body.seek(0)
    text: bytes = body.read()
    return text
