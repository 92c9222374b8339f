"""The Kubernetes API as the installer uses it: apply, read, list, remove, over HTTPS, with patience.

The one home of HTTP in the function. The invariants: the server's certificate is checked against the
cluster's own authority and no other; nothing goes through a proxy; every wait is within the budget;
foreign errors end here.
"""

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from byoc.cell.incluster import MANAGER
from byoc.cell.installer.budget import Budget
from byoc.cell.installer.kinds import Kind, Manifest, collection, path, title
from byoc.errors import (
    ByocError,
    Conflict,
    Failed,
    Forbidden,
    NotAuthenticated,
    NotFound,
    Unreachable,
    UsageError,
)

Json = dict[str, Any]

_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_PLAIN: Final = "application/json"
_REQUEST_SECONDS: Final = 20.0
_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 8.0
_LONGEST_LOOK: Final = 2.0
# 401 too: EKS takes a while to know a new access entry.
_TRY_AGAIN: Final = frozenset({401, 429, 500, 502, 503, 504})
_UNKNOWN: Final = 401
_OK: Final = range(200, 300)
_ERRORS: Final[Mapping[int, type[ByocError]]] = {
    400: UsageError,
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: UsageError,
}


class Api:
    """One cluster.

    Args:
        server: ``https://host[:port]``.
        authority: PEM of the cluster's certificate authority.
        token: makes a bearer token; asked anew for each request, because they live for a minute. An
            empty one is not shown: the client's certificate says who asks.
        tls: whom to trust, and who asks; in place of ``authority``.
        refused: called where the server does not know who asks, before it is asked again.
    """

    def __init__(
        self,
        server: str,
        authority: str,
        token: Callable[[], str],
        budget: Budget,
        *,
        tls: ssl.SSLContext | None = None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self.budget = budget
        self._token = token
        self._refused = refused
        parts = urlsplit(server)
        self._below = parts.path.rstrip("/")
        context = tls or ssl.create_default_context(cadata=authority)
        # Opened by the first request, kept for the next, opened anew after a failure.
        self._connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, context=context
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def apply(self, manifest: Manifest, *, dry_run: bool = False) -> Json:
        """Make ``manifest`` so and return the whole object; fields that others set and we do not, stay.

        Raises:
            UsageError: the server refuses the object, or a field of it cannot be changed any more.
        """
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        query |= {"dryRun": "All"} if dry_run else {}
        return self._call("PATCH", path(manifest), query, manifest, _APPLY, what=title(manifest))

    def replace(self, manifest: Manifest, version: str) -> Json:
        """Make the object exactly ``manifest``, if it still has resource version ``version``."""
        whole = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}
        return self._call("PUT", path(manifest), {"fieldManager": MANAGER}, whole, what=title(manifest))

    def get(self, manifest: Manifest) -> Json | None:
        """Return the object that ``manifest`` names; None where there is none."""
        try:
            return self._call("GET", path(manifest), {}, what=title(manifest))
        except NotFound:
            return None

    def of_kind(self, kind: Kind, *, namespace: str = "", labels: str = "") -> list[Json]:
        """Return the objects of ``kind`` that ``labels`` selects; each says what it is."""
        query = {"labelSelector": labels} if labels else {}
        items = self.items(collection(kind, namespace), query)
        return [{**each, "apiVersion": kind.api, "kind": kind.name} for each in items]

    def items(self, address: str, query: Mapping[str, str]) -> list[Json]:
        """Return what a collection holds; nothing where the server knows no such collection."""
        try:
            found = self._call("GET", address, query, what=address)
        except NotFound:
            return []
        items: list[Json] = found.get("items") or []
        return items

    def remove(self, manifest: Manifest, *, orphan: bool = False) -> bool:
        """Remove an object, and what it owns unless ``orphan``; tell whether it was there."""
        policy = "Orphan" if orphan else "Background"
        try:
            self._call("DELETE", path(manifest), {"propagationPolicy": policy}, what=title(manifest))
        except NotFound:
            return False
        return True

    def read(self, address: str) -> Json:
        """Return what is at ``address``.

        Raises:
            NotFound: nothing is.
        """
        return self._call("GET", address, {}, what=address)

    def ask(self, address: str, question: Manifest) -> Json:
        """Return the answer to a question that is put as an object and stored nowhere."""
        return self._call("POST", address, {}, question, what=address)

    def change(self, address: str, patch: Manifest) -> None:
        """Change fields of an object, whatever its kind."""
        self._call("PATCH", address, {"fieldManager": MANAGER}, patch, _MERGE, what=address)

    def delete(self, address: str) -> None:
        """Remove an object, whatever its kind, with what it owns; one that is not there is no error."""
        with suppress(NotFound):
            self._call("DELETE", address, {"propagationPolicy": "Background"}, what=address)

    def wait_until_gone(self, manifest: Manifest) -> None:
        """Return once the object is gone.

        Raises:
            StillPending: it is not, at the end of the budget; what it waits for is said.
        """
        wait = _FIRST_WAIT
        while (found := self.get(manifest)) is not None:
            self.budget.wait(wait, f"{title(manifest)} is still ending{_why(found)}")
            wait = min(wait * 2, _LONGEST_LOOK)

    def _call(
        self,
        method: str,
        address: str,
        query: Mapping[str, str],
        body: Manifest | None = None,
        content_type: str = _PLAIN,
        *,
        what: str,
    ) -> Json:
        wait = _FIRST_WAIT
        while True:
            error = self._once(method, address, query, body, content_type)
            if isinstance(error, dict):
                return error
            if not (isinstance(error, _Passing) and wait < self.budget.left):
                raise error.translated(what) from None
            self.budget.wait(wait, what)
            wait = min(wait * 2, _LONGEST_WAIT)

    def _once(
        self, method: str, address: str, query: Mapping[str, str], body: Manifest | None, content_type: str
    ) -> "Json | _Refused":
        target = f"{self._below}{address}?{urlencode(query)}" if query else f"{self._below}{address}"
        headers = {"Accept": _PLAIN, "User-Agent": MANAGER, "Content-Type": content_type}
        if token := self._token():
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        self._connection.timeout = max(1.0, min(_REQUEST_SECONDS, self.budget.left))
        if self._connection.sock is not None:
            self._connection.sock.settimeout(self._connection.timeout)
        try:
            self._connection.request(method, target, data, headers)
            answer = self._connection.getresponse()
            said = _read(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return _Passing(0, str(error) or type(error).__name__)
        if answer.status == _UNKNOWN:
            # A certificate that is shown now was shown when the connection was opened.
            self._connection.close()
            self._refused()
        return said


@dataclass(frozen=True, slots=True)
class _Refused:
    status: int
    said: str

    def translated(self, what: str) -> ByocError:
        if self.status == 0:
            return Unreachable(f"the cluster's API cannot be reached: {self.said}")
        kind = _ERRORS.get(self.status, Failed)
        return kind(f"{what}: {self.said} ({self.status})")


@dataclass(frozen=True, slots=True)
class _Passing(_Refused):
    """Such a refusal passes by itself."""


def _read(status: int, content: bytes) -> "Json | _Refused":
    try:
        value = json.loads(content) if content else {}
    except ValueError:
        value = {"message": content[:200].decode("utf-8", "replace")}
    if status in _OK and isinstance(value, dict):
        return value
    said = value.get("message") if isinstance(value, dict) else ""
    text = " ".join(str(said or "no reason was given").split())[:500]
    return _Passing(status, text) if status in _TRY_AGAIN else _Refused(status, text)


def _why(found: Json) -> str:
    conditions = found.get("status", {}).get("conditions") or []
    waiting = [each["message"] for each in conditions if each.get("status") == "True" and each.get("message")]
    return f": {waiting[0]}" if waiting else ""
