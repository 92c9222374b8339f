"""An agent that is killed at every step of a suspension without volumes, and of the resume after it.

The usual run has the same as a table of steps over the record alone (``test_inventory``); here each agent is
a new one, on a real API server.
"""

import asyncio
import json
from dataclasses import replace

import httpx2
import pytest

from byoc.clock import SystemClock
from byoc.dataplane.kubernetes import names
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.inventory import Stage
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.plan import Step
from byoc.model.report import Phase, Reason
from byoc.model.spec import WorkspaceSpec
from byoc.testing.walking import walk
from tests.emulated.singlestore.operator import Operator
from tests.kubernetes.cell import Cell
from tests.kubernetes.conftest import operator, plane, runtime, world
from tests.kubernetes.test_detached import (
    ROWS,
    annotations,
    cell,
    record,
    rows,
    running,
    suspended,
    volumes,
)
from tests.kubernetes.test_singlestore import SECRETS

_SECONDS = 1200
__all__ = ("cell", "operator", "plane", "running", "runtime", "world")


class Killed(BaseException):
    """The agent is no more."""


class Killer:
    """Kills an agent before and after each record, and before each thing that is removed, once."""

    def __init__(self) -> None:
        self.killed: set[tuple[str, str, str]] = set()
        self.stages: set[tuple[str, str, Stage]] = set()

    def watch(self, cluster: Cluster) -> Cluster:
        async def before(request: httpx2.Request) -> None:
            self._kill("before", request)

        async def after(response: httpx2.Response) -> None:
            self._kill("after", response.request)

        hooks = cluster._client._client._client.event_hooks
        hooks["request"].append(before)
        hooks["response"].append(after)
        return cluster

    def _kill(self, when: str, request: httpx2.Request) -> None:
        path = request.url.path.removeprefix("/api/v1/").partition("byoc-ws-")[2].partition("/")[2]
        body = json.loads(request.content) if request.content else {}
        annotations = (body.get("metadata") or {}).get("annotations") or {}
        said = annotations.get(names.DATABASES, "") if isinstance(annotations, dict) else ""
        volume = "/persistentvolumes/" in request.url.path and request.method == "PATCH"
        # After one thing was removed is before the next one is.
        if not said and (when == "after" or not (volume or request.method == "DELETE")):
            return
        step = (when, request.method, said or path or "volume")
        if step not in self.killed and said:
            self.stages.add((when, request.method, Stage(json.loads(said)["stage"])))
        if step not in self.killed:
            self.killed.add(step)
            raise Killed


@pytest.mark.timeout(1800)
async def test_agents_that_are_killed_before_and_after_every_step_lose_no_row(
    cell: Cell, operator: Operator, runtime: KubernetesRuntime, running: WorkspaceSpec
) -> None:
    killer = Killer()

    async def to_the_end(spec: WorkspaceSpec, until: Stage | None = None) -> Step | None:
        while until is None or ("before", "PATCH", until) not in killer.stages:
            agent = KubernetesRuntime(killer.watch(cell.cluster()), cell.settings, SystemClock())
            try:
                return (await walk(agent, spec, SECRETS))[-1]
            except Killed:
                inventory = record(cell, spec) if names.DATABASES in annotations(cell, spec) else None
                if inventory is None or not inventory.away:
                    assert len(volumes(cell, spec)) == 2
            finally:
                await agent.close(stop_engines=False)
        return None

    async with asyncio.timeout(_SECONDS):
        ended = await to_the_end(suspended(running))
        assert ended is not None
        assert ended.reason is Reason.DATABASES_DETACHED
        assert volumes(cell, running) == set()
        # Not further than to where the new engine is told something.
        assert await to_the_end(replace(running, generation=3), Stage.BACK) is None
        assert record(cell, running).stage is Stage.RETURNING
        assert len(volumes(cell, running)) == 2
        ended = await to_the_end(suspended(running, 4))
        assert ended is not None
        assert ended.phase is Phase.SUSPENDED
        assert volumes(cell, running) == set()
        ended = await to_the_end(replace(running, generation=5))
        assert ended is not None
        assert ended.reason is Reason.ANSWERED_SQL
    assert rows(runtime, running) == ROWS
    assert {stage for _, _, stage in killer.stages} == set(Stage)
    removed = {path.partition("/")[0] for _, method, path in killer.killed if method == "DELETE"}
    assert {"persistentvolumeclaims", "memsqlclusters"} <= removed
    assert ("before", "PATCH", "volume") in killer.killed
