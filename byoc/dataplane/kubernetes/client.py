"""The one place that talks to a cluster's API server; plain objects in, plain objects out.

Used by the runtime, and by whatever else of the agent keeps something in the cluster. The library stays
inside, its types and its exceptions too: what goes wrong is one of byoc's errors. Whatever may be
repeated (everything here but a creation) is repeated when the server is busy, restarts or was changed
under our hands. The invariant: all we write we write under one field manager, by server-side apply.
"""

import asyncio
import socket
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import httpx2
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.core.resource import ApiInfo, ResourceDef
from lightkube.generic_resource import GenericGlobalResource, GenericNamespacedResource
from lightkube.types import CascadeType, PatchType

from byoc.clock import Clock, SystemClock
from byoc.dataplane.kubernetes.connect import MANAGER, current
from byoc.dataplane.kubernetes.kinds import POD_SIZE, Json, Kind, kind_of
from byoc.errors import (
    ByocError,
    Conflict,
    Failed,
    Forbidden,
    IllegalState,
    NotAuthenticated,
    NotFound,
    TooManyRequests,
    Unreachable,
)

T = TypeVar("T")

Labels = dict[str, str | None]
"""What objects are asked for: label to value, or to None for any value."""

EVERYWHERE: Final = "*"
_SECONDS: Final = 15.0
_AT_ONCE: Final = 24
"""Requests under way together: more would only make each other wait, and everybody else."""
_TRIES: Final = 6
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_SILENCE_SECONDS: Final = 300.0
"""A watch that has said nothing for so long is asked for again: its connection may be dead."""
_VERBS: Final = ("delete", "get", "list", "global_list", "watch", "global_watch", "patch", "post", "put")
_PATIENT: Final = (TooManyRequests, Unreachable)
_MEANINGS: Final[dict[int, tuple[type[ByocError], str]]] = {
    401: (NotAuthenticated, "the cluster does not know us"),
    403: (Forbidden, "the cluster does not let us"),
    404: (NotFound, "not in the cluster"),
    409: (Conflict, "changed meanwhile in the cluster"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One piece of news: ``ADDED``, ``MODIFIED`` or ``DELETED``, and the object as it is or last was."""

    what: str
    object: Json


@dataclass
class Traffic:
    """How much was asked of the API server since the client was opened."""

    reads: int = 0
    writes: int = 0
    watches: int = 0


class Cluster:
    """A cluster's API, as whoever the configuration says we are.

    Args:
        valid: asked before each write; where it says no, nothing is written.
        transport: carries the requests, where not the network does.
    """

    def __init__(
        self,
        config: KubeConfig,
        clock: Clock | None = None,
        *,
        valid: Callable[[], bool] = lambda: True,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        chosen = current(config)
        self._clock = clock or SystemClock()
        self._client = AsyncClient(
            chosen,
            field_manager=MANAGER,
            trust_env=False,
            timeout=httpx2.Timeout(_SECONDS),
            transport=transport,
        )
        self._server = urllib.parse.urlsplit(chosen.cluster.server)
        self._valid = valid
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.traffic = Traffic()

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.close()

    async def api_addresses(self) -> set[tuple[str, int]]:
        """Return where the API server itself answers, as far as this process knows."""
        port = self._server.port or (443 if self._server.scheme == "https" else 80)
        try:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(self._server.hostname, port, type=socket.SOCK_STREAM)
        except OSError:
            return set()
        return {(str(each[4][0]), port) for each in found}

    # --- reading -------------------------------------------------------------------------

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Json | None:
        """Return one object; None where there is none.

        Raises:
            Unreachable, Forbidden, NotAuthenticated, TooManyRequests, Failed: it could not be read.
        """
        self.traffic.reads += 1
        place = _place(kind, namespace)
        try:
            return await self._patiently(lambda: self._client.get(_resource(kind), name, **place))
        except NotFound:
            return None

    async def list(
        self,
        kind: Kind,
        namespace: str = EVERYWHERE,
        *,
        labels: Labels | None = None,
        fields: dict[str, str] | None = None,
    ) -> tuple[list[Json], str]:
        """Return the objects of a kind, and the version from which a watch goes on.

        Raises:
            Unreachable, Forbidden, NotAuthenticated, TooManyRequests, Failed: it could not be read.
        """
        self.traffic.reads += 1

        async def read() -> tuple[list[Json], str]:
            found = self._client.list(
                _resource(kind),
                labels=cast("Any", labels),
                fields=cast("Any", fields),
                chunk_size=500,
                **_place(kind, namespace),
            )
            objects = [dict(each) async for each in found]
            return objects, found.resourceVersion

        return await self._patiently(read)

    async def watch(
        self,
        kind: Kind,
        version: str,
        namespace: str = EVERYWHERE,
        *,
        labels: Labels | None = None,
        fields: dict[str, str] | None = None,
    ) -> AsyncIterator[Change]:
        """Yield what changes after ``version``; ends when the server has said nothing for minutes.

        Raises:
            Unreachable, Forbidden, Failed, …: the watch broke, or ``version`` is too old: list again.
        """
        self.traffic.watches += 1
        stream = cast(
            "AsyncGenerator[tuple[str, Json]]",
            self._client.watch(
                _resource(kind),
                labels=cast("Any", labels),
                fields=cast("Any", fields),
                resource_version=version,
                **_place(kind, namespace),
            ),
        )
        try:
            while True:
                try:
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        what, found = await anext(stream)
                except TimeoutError:
                    return
                yield Change(what, dict(found))
        except (ApiError, httpx2.HTTPError) as error:
            raise _translated(error) from error
        finally:
            await stream.aclose()

    async def log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Return the end of what a container said; empty where it said nothing or is not there.

        Raises:
            Unreachable, Forbidden, Failed: it could not be read.
        """
        self.traffic.reads += 1

        async def read() -> str:
            said = self._client.log(pod, namespace=namespace, container=container, tail_lines=lines)
            return "".join([line async for line in said])

        try:
            return await self._patiently(read)
        except NotFound:
            return ""

    # --- writing -------------------------------------------------------------------------

    async def apply(self, manifest: Json) -> Json:
        """Make an object as ``manifest`` says, whoever owned its fields before; returns it as it is.

        Raises:
            Unreachable, Forbidden, NotAuthenticated, Conflict, TooManyRequests, Failed: not done.
        """
        kind, metadata = kind_of(manifest), manifest["metadata"]

        async def send() -> Any:
            return await self._client.patch(
                _resource(kind),
                metadata["name"],
                manifest,
                patch_type=PatchType.APPLY,
                force=True,
                **_place(kind, metadata.get("namespace", "")),
            )

        return dict(await self._write(send, conflicts=True))

    async def create(self, manifest: Json) -> Json:
        """Make an object that is not there.

        Raises:
            Conflict: it is there.
            Unreachable: nobody knows whether it was made.
            Forbidden, NotAuthenticated, TooManyRequests, Failed: it was not made.
        """
        kind, metadata = kind_of(manifest), manifest["metadata"]
        place = _place(kind, metadata.get("namespace", ""))
        self._count_write()
        made = _resource(kind)(manifest)
        return dict(await self._once(lambda: self._client.create(made, **place)))

    async def replace(self, manifest: Json) -> Json:
        """Put an object in an older one's place: the one whose ``resourceVersion`` it names.

        Raises:
            Conflict: somebody changed it since.
            Unreachable: nobody knows whether it was done.
            NotFound, Forbidden, NotAuthenticated, TooManyRequests, Failed: it was not done.
        """
        kind = kind_of(manifest)
        self._count_write()
        made = _resource(kind)(manifest)
        place = _place(kind, manifest["metadata"].get("namespace", ""))
        return dict(await self._once(lambda: self._client.replace(made, **place)))

    async def merge(self, kind: Kind, name: str, change: Json, namespace: str = "") -> Json:
        """Change some fields of an object.

        Raises:
            NotFound: there is none.
            Unreachable, Forbidden, NotAuthenticated, Conflict, TooManyRequests, Failed: not done.
        """
        place = _place(kind, namespace)

        async def send() -> Any:
            return await self._client.patch(
                _resource(kind), name, change, patch_type=PatchType.MERGE, **place
            )

        return dict(await self._write(send, conflicts=True))

    async def resize(self, pod: str, change: Json, namespace: str) -> Json:
        """Change what the containers of a running pod may take.

        Raises:
            NotFound: there is none.
            Unreachable, Forbidden, NotAuthenticated, Conflict, TooManyRequests, Failed: not done.
        """
        place = _place(POD_SIZE, namespace)

        async def send() -> Any:
            return await self._client.patch(
                _resource(POD_SIZE), pod, change, patch_type=PatchType.STRATEGIC, **place
            )

        return dict(await self._write(send, conflicts=True))

    async def delete(self, kind: Kind, name: str, namespace: str = "", *, grace: int | None = None) -> None:
        """Have an object removed, and what it owns; one that is not there is no error.

        Raises:
            Unreachable, Forbidden, NotAuthenticated, TooManyRequests, Failed: not done.
        """
        place = _place(kind, namespace)

        async def send() -> Any:
            return await self._client.delete(
                _resource(kind), name, grace_period=grace, cascade=CascadeType.BACKGROUND, **place
            )

        try:
            await self._write(send, conflicts=True)
        except NotFound:
            return

    # --- patience ------------------------------------------------------------------------

    async def _write(self, send: Callable[[], Awaitable[T]], *, conflicts: bool) -> T:
        self._count_write()
        return await self._patiently(send, conflicts=conflicts)

    def _count_write(self) -> None:
        if not self._valid():
            raise IllegalState("this agent leads no longer: it changes nothing in the cluster")
        self.traffic.writes += 1

    async def _patiently(self, send: Callable[[], Awaitable[T]], *, conflicts: bool = False) -> T:
        again = (*_PATIENT, Conflict) if conflicts else _PATIENT
        for attempt in range(_TRIES - 1):
            try:
                return await self._once(send)
            except again as error:
                await self._clock.sleep(_pause(error, attempt))
        return await self._once(send)

    async def _once(self, send: Callable[[], Awaitable[T]]) -> T:
        async with self._turns:
            try:
                return await send()
            except (ApiError, httpx2.HTTPError) as error:
                raise _translated(error) from error


def _pause(error: ByocError, attempt: int) -> float:
    asked = float(error.retry_after) if isinstance(error, TooManyRequests) else 0.0
    return min(_LONGEST_PAUSE, max(asked, _FIRST_PAUSE * 2.0**attempt))


@cache
def _resource(kind: Kind) -> Any:
    """Return the library's class for a kind: one that keeps objects as they come.

    Made here and entered in no registry of the library's, where it would meet the typed ones.
    """
    itself = ResourceDef(kind.group, kind.version, kind.name)
    parent = itself if kind.part else None
    info = ApiInfo(itself, kind.plural, list(_VERBS), parent=parent, action=kind.part or None)
    base = GenericNamespacedResource if kind.namespaced else GenericGlobalResource
    return type(kind.name, (base,), {"_api_info": info})


def _place(kind: Kind, namespace: str) -> dict[str, Any]:
    return {"namespace": namespace} if kind.namespaced else {}


def _translated(error: httpx2.HTTPError) -> ByocError:
    if not isinstance(error, httpx2.HTTPStatusError):
        return Unreachable("the cluster's API server does not answer")
    status = error.status if isinstance(error, ApiError) else None
    code = (status.code if status is not None else None) or _code(error)
    said = " ".join(str(status.message if status is not None else error).split())[:500]
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        details = status.details if status is not None else None
        asked = details.retryAfterSeconds if details is not None else None
        return TooManyRequests("the cluster's API server is busy", retry_after=asked or 0)
    if code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unreachable(f"the cluster's API server failed: {said}")
    kind, words = _MEANINGS.get(code, (Failed, "the cluster's API server refused"))
    return kind(f"{words}: {said}")


def _code(error: httpx2.HTTPStatusError) -> int:
    return error.response.status_code if error.response is not None else 0
