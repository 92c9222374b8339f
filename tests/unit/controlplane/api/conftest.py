"""The API on the fleet in memory, as a caller meets it: one client per organization."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from byoc.controlplane.api.service import Overview
from byoc.controlplane.app import ControlPlaneApp, build
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.model.report import Phase, Reason
from byoc.testing import ManualClock
from byoc.testing.fleet import MemoryFleet


@dataclass
class KnownInstance:
    """What the process would say of itself; a test sets it."""

    reasons: dict[str, str] = field(default_factory=dict)
    seen: Overview = field(
        default_factory=lambda: Overview(
            cells={"enrolled": 1},
            connected=1,
            groups=1,
            workspaces={"ACTIVE": 2},
        )
    )

    async def overview(self) -> Overview:
        return self.seen

    async def unready(self) -> dict[str, str]:
        return self.reasons


@dataclass
class World:
    clock: ManualClock
    fleet: MemoryFleet
    instance: KnownInstance
    app: ControlPlaneApp
    key: str
    client: httpx2.AsyncClient
    stranger: httpx2.AsyncClient

    async def ok(self, method: str, path: str, **request: Any) -> Any:
        """Return the JSON of an answer that must be a success in the one way clients accept."""
        answer = await self.client.request(method, path, **request)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    async def refused(self, status: int, method: str, path: str, **request: Any) -> str:
        """Return the text of an answer that must be an error in the one way clients read."""
        answer = await self.client.request(method, path, **request)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["byoc-error"]
        assert len(answer.text.splitlines()) == 1
        return answer.text

    async def revoke(self) -> None:
        """End the caller's key."""
        self.fleet.revoke_key(self.key)

    async def settle(self) -> None:
        """Let the cell take in every intent and carry it out."""
        self.fleet.settle()

    async def report(self, workspace: str, phase: Phase, reason: Reason, **changes: Any) -> None:
        """Let the cell say what a workspace is doing."""
        self.fleet.report(workspace, phase, reason, **changes)

    async def group(self, name: str = "sales", **fields: Any) -> str:
        body = {"name": name, "firewallRanges": [], "provider": "AWS", "regionName": "local"} | fields
        created: str = (await self.ok("POST", "/v1/workspaceGroups", json=body))["workspaceGroupID"]
        return created

    async def workspace(self, name: str = "orders", group: str = "", **fields: Any) -> str:
        body = {"name": name, "workspaceGroupID": group or await self.group()} | fields
        created: str = (await self.ok("POST", "/v1/workspaces", json=body))["workspaceID"]
        return created

    async def active(self, **fields: Any) -> str:
        created = await self.workspace(**fields)
        await self.settle()
        return created

    async def read(self, workspace: str) -> Any:
        return await self.ok("GET", f"/v1/workspaces/{workspace}")

    async def read_group(self, group: str) -> Any:
        return await self.ok("GET", f"/v1/workspaceGroups/{group}")


def client_of(app: ControlPlaneApp, key: str) -> httpx2.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app.asgi), base_url="http://api.example", headers=headers
    )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = ManualClock()
    fleet, instance = MemoryFleet(clock), KnownInstance()
    # Time stands still here, so no caller's bucket would ever fill again.
    settings = ControlPlaneSettings(calls_per_second=1e5, refusals_per_second=1e5)
    app = build(settings, fleet, instance, version="0.1.0", clock=clock)
    key = fleet.add_organization("acme")
    other = fleet.add_organization("other", cell="elsewhere")
    async with client_of(app, key) as client, client_of(app, other) as stranger:
        yield World(clock, fleet, instance, app, key, client, stranger)
