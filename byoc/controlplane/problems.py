"""Errors as HTTP answers, in one place: the error tree in, status, headers and body out.

Called by the exception handlers of ``byoc.controlplane.app`` and by the outermost layer.
Under ``/v1`` an error is one line of text, as vendor clients expect; under ``/byoc/v1`` it
is problem+json. Both carry ``Byoc-Request-ID``, ``Byoc-Error`` and, where there is one,
``Byoc-Hint``. No answer ever carries a traceback or the text of a foreign exception.
"""

import unicodedata
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from byoc.errors import ByocError, TooManyRequests, UsageError

OWN_PREFIX: Final = "/byoc/"
_VENDOR_STATUSES: Final = frozenset({400, 401, 403, 404, 409, 429, 500})
_VENDOR_INSTEAD: Final = {405: 404, 410: 404, 412: 409, 413: 400, 415: 400, 422: 400}


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, before it is put in the shape of one of the two APIs."""

    status: int
    code: str
    message: str
    hint: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def of_exception(error: Exception) -> Problem:
    """Describe whatever a route has raised."""
    match error:
        case ByocError():
            return of_error(error)
        case HTTPException():
            return of_http(error)
        case RequestValidationError():
            return of_validation(error)
        case _:
            return INTERNAL


def of_error(error: ByocError) -> Problem:
    """Describe an error of our own tree."""
    return Problem(error.http_status, error.code, error.message, error.hint, _headers(error))


def _headers(error: ByocError) -> tuple[tuple[str, str], ...]:
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        return (("WWW-Authenticate", "Bearer"),)
    if isinstance(error, TooManyRequests) and error.retry_after:
        return (("Retry-After", str(error.retry_after)),)
    return ()


def of_http(error: HTTPException) -> Problem:
    """Describe what the router says: no such route, or not by this method."""
    headers = tuple((error.headers or {}).items())
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem(error.status_code, "method_not_allowed", "method not allowed here", headers=headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        hint = "the routes are listed at /byoc/v1/openapi.json"
        return Problem(error.status_code, "not_found", "no such route", hint, headers)
    return Problem(error.status_code, "bad_request", str(error.detail), headers=headers)


def of_validation(error: RequestValidationError) -> Problem:
    """Describe a query or path parameter that cannot be read."""
    fault = error.errors()[0]
    name = str(fault["loc"][-1])
    if fault["type"] == "missing":
        return of_error(UsageError(f"{name} is required"))
    return of_error(UsageError(f"{name}: {str(fault['msg']).replace('Input should', 'must')}"))


INTERNAL: Final = Problem(500, "internal", "internal error", "the control plane's log has the request's id")


def render(problem: Problem, path: str, request_id: str) -> Response:
    """Put ``problem`` in the shape that callers of ``path`` expect."""
    own = path.startswith(OWN_PREFIX)
    status = problem.status if own else _vendor_status(problem.status)
    headers = dict(problem.headers) | {"Byoc-Request-ID": request_id, "Byoc-Error": problem.code}
    headers["X-Content-Type-Options"] = "nosniff"
    if problem.hint:
        headers["Byoc-Hint"] = header_text(problem.hint)
    if own:
        return Response(_json(problem, request_id), status, headers, "application/problem+json")
    return Response(_one_line(problem.message), status, headers, "text/plain")


def header_text(text: str) -> str:
    """Return ``text`` as one line of printable ASCII: all that a header can hold for every client."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in plain)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _vendor_status(status: int) -> int:
    status = _VENDOR_INSTEAD.get(status, status)
    return status if status in _VENDOR_STATUSES else 500


def _json(problem: Problem, request_id: str) -> bytes:
    content = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase if problem.status in _KNOWN else "Client Closed Request",
        "status": problem.status,
        "detail": _one_line(problem.message),
        "code": problem.code,
        "requestID": request_id,
    }
    return to_json(content | ({"hint": problem.hint} if problem.hint else {}))


_KNOWN: Final = frozenset(HTTPStatus)
