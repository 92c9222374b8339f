"""The tier of the real control plane of Kubernetes, built by scripts/tools; one for the session."""

import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from byoc.cell.incluster import BUNDLE_LABEL, CONTROL_GROUP, NAMESPACE, WORKSPACE_LABEL
from byoc.cell.installer.api import Api
from byoc.cell.installer.budget import Budget
from byoc.cell.installer.kinds import ORDER
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from tests.emulated.installing import Site
from tests.emulated.machines.world import World, running_world
from tests.emulated.singlestore.operator import Operator
from tests.kubernetes.cell import AGENT_USER, OPERATED, Cell, installed, licensed, needed
from tests.kubernetes.plane import Plane, running
from tests.kubernetes.space import Space, engine, until

ROOT = Path(__file__).parents[2]
CONTROL_USER = "arn:aws:iam::123456789012:role/control"
USERS = {
    AGENT_USER: f"system:serviceaccounts,system:serviceaccounts:{NAMESPACE}",
    CONTROL_USER: CONTROL_GROUP,
}
_CORE = f"/api/v1/namespaces/{NAMESPACE}"
_VOLUMES = "/api/v1/persistentvolumes"
_CLAIMS = f"{_CORE}/persistentvolumeclaims"
_LEFT_BY_AGENTS = (
    f"{_CORE}/pods",
    f"{_CORE}/configmaps",
    f"{_CORE}/secrets",
    f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases",
    _CLAIMS,
)
"""A cell that begins anew finds nothing that agents before it have kept."""
# Found before each test is given a home and a cache of its own.
_CACHE = os.environ.get("BYOC_TOOLS", "")


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """The control plane; built now where scripts/test has not done it before."""
    environment = dict(os.environ) | ({"BYOC_TOOLS": _CACHE} if _CACHE else {})
    built = subprocess.run(
        [ROOT / "scripts/tools", "plane"],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment,
        check=True,
    )
    with running(tmp_path_factory.mktemp("plane"), Path(built.stdout.decode().strip()), USERS) as made:
        yield made


@pytest.fixture(scope="session")
def world(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The cluster's machines, two a zone; a test that breaks one mends it."""
    with running_world(plane, tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def cell(plane: Plane, world: World) -> Iterator[Cell]:
    """The cluster of a cell, as its agent finds it."""
    with installed(plane, world) as made:
        yield made


@pytest.fixture
async def runtime(cell: Cell) -> AsyncIterator[KubernetesRuntime]:
    """The runtime of the test's cell, as a new agent finds it."""
    async with cell.tended(cell.runtime()) as lent:
        yield lent


@pytest.fixture(scope="session")
def operator(plane: Plane, world: World, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """The stand-in of the vendor's operator, wherever one is to run."""
    return licensed(plane, world, tmp_path_factory.mktemp("singlestore"))


@pytest.fixture
def operated(plane: Plane, world: World, operator: Operator) -> Iterator[Cell]:
    """The cluster of a cell whose workspaces have an operator."""
    with installed(plane, world, OPERATED) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def swept(plane: Plane) -> Iterator[None]:
    """Takes out what the workspaces of a module leave, so that each module finds what the first one found."""
    yield
    spaces = f"/api/v1/namespaces?labelSelector={WORKSPACE_LABEL}"
    for each in plane.ask("admin", "GET", spaces)[1]["items"]:
        plane.ask("admin", "DELETE", f"/api/v1/namespaces/{each['metadata']['name']}")
    until(90, lambda: not plane.ask("admin", "GET", spaces)[1]["items"])
    for each in plane.ask("admin", "GET", _VOLUMES)[1]["items"]:
        if (each.get("status") or {}).get("phase") != "Bound":
            plane.ask("admin", "DELETE", f"{_VOLUMES}/{each['metadata']['name']}")


def _budget(seconds: float) -> Budget:
    return Budget.of(seconds, time.monotonic, time.sleep)


@pytest.fixture
def site(plane: Plane) -> Site:
    """The cluster with nothing of ours in it but, perhaps, the namespace, which ends slowly."""
    return _emptied(plane)


@pytest.fixture(scope="module")
def module_site(plane: Plane) -> Site:
    """The same, once for a module."""
    return _emptied(plane)


def _emptied(plane: Plane) -> Site:
    found = Site(plane.url, plane.authority, plane.tokens["admin"], _budget)
    api = Api(found.server, found.authority, lambda: found.token, _budget(60))
    for kind in reversed(ORDER):
        if kind.name != "Namespace":
            for each in api.of_kind(kind, labels=BUNDLE_LABEL):
                api.remove(each)
    for each in needed():
        api.remove(each)
    for plural in _LEFT_BY_AGENTS:
        api.delete(plural)
    api.close()
    until(60, lambda: not plane.ask("admin", "GET", _CLAIMS)[1]["items"])
    return found


@pytest.fixture
def space(plane: Plane, world: World) -> Iterator[Space]:
    world.offer_storage()
    made = Space(plane, world)
    yield made
    plane.ask("admin", "DELETE", f"{made.sets}/engine")
    plane.ask("admin", "DELETE", f"/api/v1/namespaces/{made.name}")
    assert world.faults == []


@pytest.fixture
def filled(space: Space) -> Space:
    """An engine that answers and holds one row."""
    space.ask("POST", space.sets, engine("engine"))
    until(60, lambda: space.sql("SELECT 1"), space.story)
    space.sql("CREATE DATABASE kept")
    space.sql("CREATE TABLE kept.t (i INT)")
    assert space.sql("INSERT INTO kept.t VALUES (7)") == "done"
    return space
