"""The four calls that the supervisor makes to its own Management API, and nothing more.

The standard library only: the supervisor lives as long as the instance does, and the SDK's HTTP
stack would cost it more memory than all the rest of it.
"""

import asyncio
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from byoc.errors import Failed, Unreachable

_TIMEOUT: Final = 10.0
LOCAL_CELL: Final = {
    "name": "local",
    "provider": "AWS",
    "region": "US Local",
    "regionName": "local",
}


@dataclass(frozen=True, slots=True)
class LocalApi:
    """The Management API of one instance.

    Args:
        port: on loopback.
        token: the owner's key.
    """

    port: int
    token: str

    async def organization_id(self) -> str:
        """Return the owner's organization."""
        return str((await self._ask("GET", "/v1/organizations/current"))["orgID"])

    async def cell(self) -> str:
        """Return the id of the local cell, which is registered the first time."""
        for cell in await self._ask("GET", "/byoc/v1/cells"):
            if cell["name"] == LOCAL_CELL["name"] and cell["state"] != "retired":
                return str(cell["cellID"])
        return str((await self._ask("POST", "/byoc/v1/cells", LOCAL_CELL))["cellID"])

    async def enrolment(self, cell_id: str, thumbprint: str) -> dict[str, Any]:
        """Return what the cell with these keys needs to join."""
        path = f"/byoc/v1/cells/{quote(cell_id)}/enrolment"
        answer: dict[str, Any] = await self._ask("POST", path, {"thumbprint": thumbprint})
        return answer

    async def is_connected(self, cell_id: str) -> bool:
        """Return whether the cell holds a tunnel now."""
        return await asyncio.to_thread(self.is_connected_now, cell_id)

    def is_connected_now(self, cell_id: str) -> bool:
        """Return the same to a caller without an event loop."""
        answer = _call(self.port, self.token, "GET", f"/byoc/v1/cells/{quote(cell_id)}", None)
        return bool(answer.get("connected"))

    async def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        return await asyncio.to_thread(_call, self.port, self.token, method, path, body)


def _call(port: int, token: str, method: str, path: str, body: Mapping[str, object] | None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        message = f"the control plane on port {port} does not answer"
        raise Unreachable(message) from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        message = f"{method} {path}: {answer.status} {text.decode('utf-8', 'replace')[:200]}"
        raise Failed(message)
    return json.loads(text)
