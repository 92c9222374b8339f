"""Schemathesis on the API's own description: what it generates gets documented answers, never a 5xx."""

import asyncio
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis import checks

from byoc.controlplane.api import document
from byoc.controlplane.api.service import Overview
from byoc.controlplane.app import build
from byoc.controlplane.settings import ControlPlaneSettings
from byoc.model.records import CellState, NewGroup, NewWorkspace
from byoc.testing import ManualClock
from byoc.testing.fleet import MemoryFleet

checks.load_all_checks()
# Not among them: a wrong method on a vendor's route is 404 here, as for the rest out of scope; and
# the rules for names, passwords and ids are finer than a schema tells.
CHECKS: Final = [
    checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "ignored_auth",
    )
]


class ReadyInstance:
    async def overview(self) -> Overview:
        return Overview()

    async def unready(self) -> dict[str, str]:
        return {}


class Target:
    """An app with a cell, a group and a workspace whose ids can be put into generated requests."""

    def __init__(self) -> None:
        self.fleet = MemoryFleet(ManualClock())
        self.key = self.fleet.add_organization("acme")
        # Time stands still here, so no caller's bucket would ever fill again.
        settings = ControlPlaneSettings(calls_per_second=1e5, refusals_per_second=1e5)
        self.app = build(settings, self.fleet, ReadyInstance(), version="0.1.0", clock=ManualClock())
        # Followed streams end at once, as a client that reads to the end needs it.
        self.app.close()

    async def live(self) -> dict[str, str]:
        """Return ids of what is there; made anew if a generated request has removed it."""
        by = await self.fleet.authenticate(self.key)
        cells = [cell for cell in await self.fleet.cells(by) if cell.state is not CellState.RETIRED]
        number = len(self.fleet._groups) + len(self.fleet._cells)
        cell = (
            cells[0] if cells else await self.fleet.register_cell(by, f"c{number}", "AWS", "r", f"r{number}")
        )
        group = (await self.fleet.create_group(by, NewGroup(f"g{number}", cell.id, ()))).id
        workspace = await self.fleet.create_workspace(by, NewWorkspace("w", group))
        self.fleet.settle()
        return {"cellID": cell.id, "workspaceGroupID": group, "workspaceID": workspace}


@pytest.fixture(scope="module")
def target() -> Target:
    return Target()


@pytest.fixture(scope="module")
def described(target: Target) -> Any:
    return schemathesis.openapi.from_asgi(document.PATH, target.app.asgi)


def test_a_generated_request_gets_a_documented_answer(described: Any, target: Target) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 30
    for operation in operations:
        _check(operation, target)


def _check(operation: Any, target: Target) -> None:
    headers = {"Authorization": f"Bearer {target.key}"}

    @examples(max_examples=30, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        # It makes answers smaller than the description requires, and has tests of its own.
        (case.query or {}).pop("fields", None)
        case.call_and_validate(headers=headers, checks=CHECKS)
        ids = asyncio.run(target.live())
        for name in set(case.path_parameters or {}) & set(ids):
            case.path_parameters[name] = ids[name]
        if "workspaceGroupID" in (case.query or {}):
            case.query["workspaceGroupID"] = ids["workspaceGroupID"]
        case.call_and_validate(headers=headers, checks=CHECKS)

    check()
