"""The loop's figures: what we add to the bare engine, what the API costs, what idling costs.

Needs a free machine of two cores or more and a MariaDB; starts an instance of its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from bare import BareEngine, BareRoute
from figures import Figure, middle, quantile, timed

from byoc.testing.instance import Instance

POLL = 0.002
TURNS = 12
TURN_SECONDS = 0.25


def measure(runs: int) -> list[Figure]:
    """Run every measurement of the loop."""
    root = Path(tempfile.mkdtemp(prefix="byoc-bench-"))
    # The figures are of how fast it can be, not of how fast one key may be.
    instance = Instance(root / "data", environment={"BYOC_CALLS_PER_SECOND": "100000"})
    try:
        instance.start()  # the first start installs; the one that is timed comes after
        instance.stop()
        ready = timed(instance.start)
        figures = [Figure("byoc up to ready", "ms", ready, goal=4000)]
        figures += idle(instance)
        figures += transitions(instance, BareEngine(root / "bare"), runs)
        figures += api(instance, root)
        figures += commands(instance)
        return figures
    finally:
        instance.stop()
        shutil.rmtree(root, ignore_errors=True)


def new_group(instance: Instance, name: str) -> str:
    """Create a group on the local cell."""
    body = {"name": name, "regionID": instance.line["cellID"], "firewallRanges": []}
    return str(instance.ask("POST", "/v1/workspaceGroups", body)["workspaceGroupID"])


def until(instance: Instance, workspace: str, state: str) -> None:
    """Poll fast: the poll's own half period is the error of the figure."""
    while instance.workspace(workspace)["state"] != state:
        time.sleep(POLL)


def transitions(instance: Instance, bare: BareEngine, runs: int) -> list[Figure]:
    """Create, suspend and resume: ours and the bare engine's, in turn."""
    rounds = [one_round(instance, bare, f"bench-{run}") for run in range(runs)]
    goals = {"create": 150.0, "suspend": 100.0, "resume": 150.0}
    return [
        Figure(
            f"{name}, above the bare engine",
            "ms",
            middle([ours[name] for ours, _ in rounds]),
            goal,
            middle([theirs[name] for _, theirs in rounds]),
            judged="above",
            note=f"median of {runs}",
        )
        for name, goal in goals.items()
    ]


def one_round(instance: Instance, bare: BareEngine, name: str) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of each transition: of a new workspace, and of the bare engine."""
    group = new_group(instance, name)
    made: list[str] = []

    def create() -> None:
        body = {"name": "w", "workspaceGroupID": group, "size": "S-00"}
        made.append(instance.ask("POST", "/v1/workspaces", body)["workspaceID"])
        until(instance, made[0], "ACTIVE")

    def suspend() -> None:
        instance.ask("POST", f"/v1/workspaces/{made[0]}/suspend")
        until(instance, made[0], "SUSPENDED")

    def resume() -> None:
        instance.ask("POST", f"/v1/workspaces/{made[0]}/resume")
        until(instance, made[0], "ACTIVE")

    ours = {"create": timed(create), "suspend": timed(suspend), "resume": timed(resume)}
    theirs = {"create": timed(bare.create), "suspend": timed(bare.stop), "resume": timed(bare.start)}
    bare.remove()
    instance.ask("DELETE", f"/v1/workspaceGroups/{group}?force=true")
    return ours, theirs


def rates(*works: Callable[[], object]) -> list[float]:
    """Calls a second of each, one after another: by turns, so that what else runs here meets all alike."""
    counts, spent = [0] * len(works), [0.0] * len(works)
    for _ in range(TURNS):
        for number, work in enumerate(works):
            began = now = time.perf_counter()
            while now < began + TURN_SECONDS:
                work()
                counts[number] += 1
                now = time.perf_counter()
            spent[number] += now - began
    return [count / seconds for count, seconds in zip(counts, spent, strict=True)]


def api(instance: Instance, root: Path) -> list[Figure]:
    """List 100 workspaces against a bare route; POST under 16 writers; this machine's fsync."""
    route = BareRoute(root)
    groups = [new_group(instance, f"list-{n}") for n in range(20)]
    posts = [(n, group) for group in groups for n in range(5)]
    latencies: list[float] = []

    def post(item: tuple[int, str]) -> None:
        body = {"name": f"w{item[0]}", "workspaceGroupID": item[1], "size": "S-00"}
        latencies.append(timed(lambda: instance.ask("POST", "/v1/workspaces", body)))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(post, posts))
    for group in groups:
        instance.ask("DELETE", f"/v1/workspaceGroups/{group}?force=true")
    url = f"/v1/workspaces?workspaceGroupID={hundred(instance)}&includeTerminated=true"
    rows = settled(instance, url)
    with route.serving(rows) as bare_call:
        ours, bare = rates(lambda: instance.ask("GET", url), bare_call)
    return [
        Figure("GET /v1/workspaces of one group, requests/s", "1/s", ours, 0.7, bare,
               judged="ratio", higher_is_better=True, note=f"{len(rows)} rows"),
        Figure("POST create, p99 at 16 concurrent", "ms", quantile(latencies, 0.99), 30,
               note=f"engines start beside it; fsync here {fsync(root):.1f} ms"),
    ]  # fmt: skip


def settled(instance: Instance, url: str) -> list[dict[str, Any]]:
    """Return the rows once the cell is done with them: what it still does slows down who is asked first."""
    while True:
        rows: list[dict[str, Any]] = instance.ask("GET", url)
        if all(row["state"] == "TERMINATED" for row in rows):
            return rows
        time.sleep(0.2)


def hundred(instance: Instance) -> str:
    """Return a group with a hundred workspaces; at most five of them may live at a time."""
    group = new_group(instance, "hundred")
    for n in range(100):
        body = {"name": f"w{n}", "workspaceGroupID": group, "size": "S-00"}
        created = instance.ask("POST", "/v1/workspaces", body)["workspaceID"]
        instance.ask("DELETE", f"/v1/workspaces/{created}")
    return group


def fsync(root: Path) -> float:
    """Median milliseconds of one write and fsync on this disk."""
    with (root / "fsync").open("wb", buffering=0) as file:

        def once() -> None:
            file.write(b"x" * 4096)
            os.fsync(file.fileno())

        return middle([timed(once) for _ in range(50)])


def commands(instance: Instance) -> list[Figure]:
    """Whole processes of the command line, warm, against an empty Python."""
    environment = os.environ | {"BYOC_URL": instance.line["url"], "BYOC_TOKEN": instance.line["token"]}
    group = new_group(instance, "cli")

    def run(*words: str) -> float:
        def once() -> None:
            subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True)

        return middle([timed(once) for _ in range(7)])

    python = run("-c", "pass")
    return [
        Figure("byoc --help", "ms", run("-m", "byoc", "--help"), 300, python),
        Figure(
            "byoc workspace list", "ms", run("-m", "byoc", "workspace", "list", "--group", group), 600, python
        ),
    ]


def idle(instance: Instance) -> list[Figure]:
    """Resident memory and processor time of the processes, engines left out."""
    time.sleep(3)
    names = ("controlplane", "gateway", "agent")
    processes = {name: psutil.Process(instance.pid(name)) for name in names}

    def spent() -> float:
        return sum(sum(p.cpu_times()[:2]) for p in processes.values())

    before = spent()
    time.sleep(15)
    share = (spent() - before) / 15 * 100
    memory = {name: process.memory_info().rss / 1e6 for name, process in processes.items()}
    return [
        Figure("memory of control plane and gateway", "MB", memory["controlplane"] + memory["gateway"], 120),
        Figure("memory of the agent", "MB", memory["agent"], 70),
        Figure("processor time while idle", "%", share, 1, note="of one core, all three together"),
    ]
