"""Answers of the Control Plane: status, headers and body in, a value or an error of our tree out.

Pure. Both dialects are read here and nowhere else: ``/v1`` says what is wrong in one line of
text with the code in a header, ``/byoc/v1`` in problem+json.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from byoc.errors import (
    ByocError,
    Conflict,
    Failed,
    Forbidden,
    NotAuthenticated,
    NotFound,
    PreconditionFailed,
    StillPending,
    TooManyRequests,
    Unreachable,
    UsageError,
)

LONGEST_MESSAGE: Final = 500
_BY_STATUS: Final[dict[int, type[ByocError]]] = {
    400: UsageError,
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    422: UsageError,
    429: TooManyRequests,
    502: Unreachable,
    503: Unreachable,
    504: StillPending,
}
_CLIENT_ERROR: Final = range(400, 500)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it is the answer of a request that was carried out."""
        return self.status == 200  # noqa: PLR2004 - the one success status of the wire rules

    @property
    def request_id(self) -> str:
        """What the Control Plane's own log calls this request; empty if it did not say."""
        return self.headers.get("byoc-request-id", "")

    @property
    def generation(self) -> int:
        """The generation that a change became; 0 if the answer does not say."""
        text = self.headers.get("byoc-generation", "")
        return int(text) if text.isdecimal() else 0

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            Failed: it is none, as when the address is not a Control Plane's.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Failed(
                "the answer is not JSON", hint="check the address: is it a control plane's?"
            ) from error

    def text(self) -> str:
        """Return the body as text, whatever bytes it holds."""
        return self.body.decode("utf-8", "replace")


def _tree(root: type[ByocError]) -> Iterator[type[ByocError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def error_classes() -> dict[str, type[ByocError]]:
    """Return every error of the tree by its code; refinements made elsewhere share their parent's code."""
    public = [each for each in _tree(ByocError) if each.__module__ == ByocError.__module__]
    return {each.code: each for each in public if each is not ByocError}


def to_error(answer: Answer) -> ByocError:
    """Say in our own tree what an unsuccessful answer says."""
    message, code, hint = _problem(answer) if _is(answer, "json") else _line(answer)
    kind = error_classes().get(code) or _BY_STATUS.get(answer.status)
    if kind is None:
        kind = UsageError if answer.status in _CLIENT_ERROR else Failed
    message = " ".join(message.split())[:LONGEST_MESSAGE]
    if not message:
        message = f"the control plane answered with status {answer.status}"
    return kind(message, hint=_hint(kind) or hint, request_id=answer.request_id)


def _is(answer: Answer, kind: str) -> bool:
    return kind in answer.headers.get("content-type", "")


def _line(answer: Answer) -> tuple[str, str, str]:
    message = answer.text() if _is(answer, "text/plain") else ""
    return message, answer.headers.get("byoc-error", ""), answer.headers.get("byoc-hint", "")


def _problem(answer: Answer) -> tuple[str, str, str]:
    try:
        body = json.loads(answer.body)
    except ValueError:
        return "", "", ""
    if not isinstance(body, Mapping):
        return "", "", ""
    message = body.get("detail") or body.get("title") or ""
    return str(message), str(body.get("code") or ""), str(body.get("hint") or "")


def _hint(kind: type[ByocError]) -> str:
    return "log in with `byoc login`, or set BYOC_TOKEN" if kind is NotAuthenticated else ""
