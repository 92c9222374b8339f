"""Kubernetes objects as they travel: read, written and followed, for whatever plays a controller here."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import httpx2

Json = dict[str, Any]

MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
_AGAIN: Final = 0.2
Serve = Callable[[str, Json], Awaitable[None]]
"""Told what became of an object (ADDED, MODIFIED, DELETED), and the object."""


class Refused(Exception):
    """The server said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """One client.

    Args:
        authority: PEM of what signed the server's certificate.
        acting_as: a user in whose stead to ask; empty for the token's own.
    """

    def __init__(self, server: str, authority: str, token: str, acting_as: str = "") -> None:
        self._client = httpx2.AsyncClient(
            base_url=server,
            headers={
                "Authorization": f"Bearer {token}",
                **({"Impersonate-User": acting_as} if acting_as else {}),
            },
            verify=ssl.create_default_context(cadata=authority),
            timeout=httpx2.Timeout(20, read=60),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, method: str, path: str, body: Json | None = None, kind: str = "") -> Json:
        """Return the answer to one request; asks again for as long as nobody answers."""
        headers = {"Content-Type": kind or "application/json"}
        content = None if body is None else json.dumps(body)
        while True:
            try:
                answer = await self._client.request(method, path, content=content, headers=headers)
            except httpx2.TransportError:
                await asyncio.sleep(_AGAIN)
                continue
            if answer.status_code in {429, 500, 503, 504}:
                await asyncio.sleep(_AGAIN)
                continue
            if answer.is_error:
                raise Refused(answer.status_code, answer.text[:500])
            found: Json = answer.json()
            return found

    async def get(self, path: str) -> Json | None:
        """Return one object; None where there is none."""
        try:
            return await self.ask("GET", path)
        except Refused as refused:
            if refused.status != 404:
                raise
            return None

    async def create(self, path: str, body: Json) -> Json | None:
        """Make an object; None where it is there already."""
        try:
            return await self.ask("POST", path, body)
        except Refused as refused:
            if refused.status != 409:
                raise
            return None

    async def patch(self, path: str, body: Json, kind: str = MERGE) -> Json | None:
        """Change an object; None where there is none, or where it is another one by now."""
        try:
            return await self.ask("PATCH", path, body, kind)
        except Refused as refused:
            if refused.status not in {404, 409}:
                raise
            return None

    async def delete(self, path: str, *, uid: str = "", at_once: bool = False) -> None:
        """Delete an object, only the one with ``uid`` where that is given."""
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        body |= {"preconditions": {"uid": uid}} if uid else {}
        body |= {"gracePeriodSeconds": 0} if at_once else {}
        try:
            await self.ask("DELETE", path, body)
        except Refused as refused:
            if refused.status not in {404, 409}:
                raise

    async def follow(self, path: str) -> AsyncIterator[tuple[str, Json]]:
        """Yield every object below ``path`` and what becomes of it, for ever: ADDED, MODIFIED, DELETED."""
        known: dict[str, Json] = {}
        while True:
            listed = await self.ask("GET", path)
            now = {each["metadata"]["uid"]: each for each in listed.get("items") or []}
            for uid in known.keys() - now.keys():
                yield "DELETED", known[uid]
            for uid, each in now.items():
                yield ("MODIFIED" if uid in known else "ADDED"), each
            known = now
            async for what, each in self._watch(path, listed["metadata"]["resourceVersion"]):
                if what == "DELETED":
                    known.pop(each["metadata"]["uid"], None)
                else:
                    known[each["metadata"]["uid"]] = each
                yield what, each
            await asyncio.sleep(_AGAIN)

    async def serve(self, path: str, serve: Serve) -> None:
        """Call ``serve`` for every event below ``path``, for ever.

        Where the server refuses what is asked of it, the object has changed meanwhile, and that is news too.
        """
        async for what, each in self.follow(path):
            with contextlib.suppress(Refused):
                await serve(what, each)

    async def _watch(self, path: str, version: str) -> AsyncIterator[tuple[str, Json]]:
        """Yield events until the stream ends, for whatever reason."""
        query = {"watch": "true", "resourceVersion": version}
        endless = httpx2.Timeout(20, read=None)
        try:
            async with self._client.stream("GET", path, params=query, timeout=endless) as answer:
                if answer.is_error:
                    return
                async for line in answer.aiter_lines():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    yield event["type"], event["object"]
        except (httpx2.TransportError, json.JSONDecodeError):
            return
