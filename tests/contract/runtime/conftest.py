"""The runtimes under contract."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from byoc import durable
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes.names import namespace
from byoc.dataplane.kubernetes.runtime import KubernetesRuntime
from byoc.dataplane.local import template
from byoc.dataplane.local.engine import Engine, find
from byoc.dataplane.local.runtime import LocalRuntime
from byoc.dataplane.runtime import Runtime, Secrets
from byoc.ids import GroupID, WorkspaceID, new_id
from byoc.model.spec import WorkspaceSpec
from byoc.testing.runtime import MemoryRuntime
from byoc.testing.walking import walk
from tests.emulated.machines.world import World
from tests.kubernetes.cell import DOMAIN, Cell
from tests.kubernetes.conftest import cell, operated, operator, plane, world

__all__ = ["Cell", "cell", "operated", "operator", "plane", "world"]
"""The cluster's fixtures; the plane starts only where a test asks for it."""

MEMORY = 600 * 2**20

Reopen = Callable[[], Runtime]


@pytest.fixture
def spec() -> WorkspaceSpec:
    return WorkspaceSpec(WorkspaceID(new_id()), GroupID(new_id()), 1, "orders", "S-00")


@pytest.fixture
def secrets() -> Secrets:
    return Secrets(1, "first password")


@pytest.fixture(scope="session")
def engine() -> Engine:
    found = find(os.environ)
    if found is None:
        pytest.fail("no SQL engine on this machine; get one with `byoc engine install`")
    return found


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Path:
    """One template for all tests: making it is not what they are about."""
    folder = tmp_path_factory.mktemp("template")
    template.ensure(folder, engine)
    return folder


PLANE = pytest.mark.xdist_group("plane")
RUNTIMES = (
    "memory",
    "local",
    pytest.param("kubernetes", marks=PLANE),
    pytest.param("singlestore", marks=PLANE),
)
OF_AN_OPERATOR = frozenset(
    {
        "test_nobody_has_used_an_engine_that_only_we_look_at",
        "test_every_action_done_twice_ends_in_the_same_place",
        "test_a_suspended_workspace_keeps_all_but_its_process",
        "test_a_crash_is_heard_counted_and_healed",
        "test_a_new_password_is_applied_once_and_an_older_one_never",
        "test_engines_outlive_an_agent_that_leaves_them",
    }
)
"""What is asked of a runtime with an operator too.

The rest is either the same code as without one (steps, what fits, what is refused before anything starts,
what is cancelled), or not so there: limits change by replacing the nodes, and counters count our own
statements (see tests/kubernetes/test_singlestore.py)."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "reopen" in metafunc.fixturenames:
        asked = RUNTIMES if metafunc.function.__name__ in OF_AN_OPERATOR else RUNTIMES[:-1]
        metafunc.parametrize("reopen", asked, indirect=True)


@pytest.fixture
async def reopen(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[Reopen]:
    """Gives the runtime as a new agent finds it; what is in memory has nothing to find again."""
    clock = SystemClock()
    if request.param == "memory":
        memory = MemoryRuntime(clock, memory_bytes=MEMORY)
        yield lambda: memory
        return
    if request.param in {"kubernetes", "singlestore"}:
        cluster = request.getfixturevalue("cell" if request.param == "kubernetes" else "operated")
        yield cluster.runtime
        await cluster.clear()
        return
    (short_path / "template").symlink_to(request.getfixturevalue("templates"))
    durable.make_folder(short_path / "volumes")

    def make() -> Runtime:
        return LocalRuntime(short_path, clock, os.environ, memory_bytes=MEMORY)

    yield make
    await make().close(stop_engines=True)


@pytest.fixture
async def runtime(reopen: Reopen) -> AsyncIterator[Runtime]:
    opened = reopen()
    yield opened
    await opened.close(stop_engines=False)


@pytest.fixture
def host(runtime: Runtime, spec: WorkspaceSpec) -> str:
    """Where a workspace is reached."""
    return f"svc-{spec.id}-dml.{DOMAIN}" if isinstance(runtime, KubernetesRuntime) else "127.0.0.1"


@pytest.fixture
def crash(request: pytest.FixtureRequest, runtime: Runtime) -> Callable[[WorkspaceID], None]:
    """Ends an engine behind the runtime's back."""

    def kill(workspace: WorkspaceID) -> None:
        if isinstance(runtime, MemoryRuntime):
            runtime.crash(workspace)
        elif isinstance(runtime, LocalRuntime):
            run = runtime._workspaces[workspace].run
            assert run is not None
            os.kill(run.pid, signal.SIGKILL)
        elif isinstance(runtime, KubernetesRuntime):
            world: World = request.getfixturevalue("world")
            pod = runtime._cache.view(workspace).pod
            assert pod is not None
            world.kill_process(namespace(workspace), pod.name, runtime._engines.container)

    return kill


@pytest.fixture
async def running(runtime: Runtime, spec: WorkspaceSpec, secrets: Secrets) -> WorkspaceSpec:
    await walk(runtime, spec, secrets)
    return spec


@pytest.fixture
def address(runtime: Runtime, spec: WorkspaceSpec) -> Callable[[str], str]:
    """Return the address behind the host of an endpoint; no name of a cluster is known to this machine."""

    def find(host: str) -> str:
        pod = runtime._cache.view(spec.id).pod if isinstance(runtime, KubernetesRuntime) else None
        return pod.address if pod is not None else host

    return find
