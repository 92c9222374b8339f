"""The customer's guard of a cell in a cluster, told through a kubeconfig, and the cell's keys replaced.

Used by the journey of ``test_install``, for which everything is real: the commands, control plane and
gateway, the API server, and both agents in their pods.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from byoc.cell.control.papers import ApiPapers
from byoc.cell.incluster import NAMESPACE
from byoc.cell.installer.api import Api
from byoc.dataplane.kubernetes.authority import SECRET, WISH
from byoc.model.control import Request
from byoc.testing.instance import Instance, eventually
from byoc.wire.control import requests, standing
from tests.emulated.machines.world import World
from tests.kubernetes.pair import LEASE
from tests.kubernetes.plane import Plane

Command = Callable[..., Any]
POLICY = 'approval = ["workspace.suspend", "workspace.resume"]\n'
WHERE = ("--context", "plane")
MOST_SECONDS = 180
"""For what is over in a second or two, on a machine that does much else."""


@dataclass
class Guarding:
    """One cell, `demo`, with one workspace that runs.

    Attributes:
        byoc: runs a command as a user would.
        opened: the customer's own way into the cluster.
    """

    plane: Plane
    world: World
    byoc: Command
    opened: Callable[[], Api]
    instance: Instance
    workspace: str
    folder: Path

    def story(self) -> None:
        """What waits for the customer outlives the whole zone of the agent that heard of it."""
        self.put_in_force(POLICY)
        self.ask("suspend")
        waiting = self.waiting()
        with self.undisturbed():
            eventually("its keys are replaced", self.rotated, seconds=MOST_SECONDS)
        # Whether it waits for the cell's word or not: what comes of it is looked at.
        self.byoc("cell", "renew-ca", "--reason", "an audit", *WHERE, code=None)
        eventually("another authority is asked for", self.another_authority, seconds=MOST_SECONDS)
        with self.without_the_leaders_zone() as lost:
            eventually("the other leads", lambda: self.holder not in {lost, ""}, seconds=MOST_SECONDS)
            listed = json.loads(self.byoc("policy", "requests", *WHERE, "-o", "json").stdout)
            assert [one["id"] for one in listed] == [waiting.id]
            eventually("the other is the cell", self.rotated, seconds=MOST_SECONDS)
            assert self.instance.workspace(self.workspace)["state"] == "PENDING"
        self.byoc("policy", "approve", waiting.id, *WHERE)
        self.instance.settled(self.workspace, "SUSPENDED", seconds=MOST_SECONDS)
        self.ask("resume")
        other = self.waiting(but=waiting.id)
        self.byoc("policy", "refuse", other.id, *WHERE)
        eventually("it is told why", lambda: "approval-refused" in self.reasons(), seconds=MOST_SECONDS)
        self.instance.settled(self.workspace, "SUSPENDED", seconds=MOST_SECONDS)
        self.byoc("policy", "approve", other.id, *WHERE, code=4)

    @property
    def holder(self) -> str:
        """The agent that leads."""
        _, lease = self.plane.ask("admin", "GET", LEASE)
        return str((lease.get("spec") or {}).get("holderIdentity") or "")

    def put_in_force(self, text: str) -> None:
        """Lay a policy down and wait until the cell says that it has it: the kubelet brings it."""
        path = self.folder / "approvals.toml"
        path.write_text(text)
        said = json.loads(self.byoc("policy", "set", str(path), *WHERE, "-o", "json").stdout)

        def heard() -> bool:
            with self.papers() as papers:
                shown = standing(papers)
            return shown is not None and shown.policy == said["digest"]

        eventually("the policy is in force", heard, seconds=MOST_SECONDS)

    def waiting(self, *, but: str = "") -> Request:
        """Wait until a change waits, and return it."""

        def shown() -> Request | None:
            with self.papers() as papers:
                return next((one for one in requests(papers) if one.id != but), None)

        return eventually("a change waits for approval", shown, seconds=MOST_SECONDS)

    def another_authority(self) -> bool:
        """Whether the cell's authority was asked for a successor, or has one."""
        path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
        _, found = self.plane.ask("admin", "GET", path)
        return WISH in (found["metadata"].get("annotations") or {}) or "coming.crt" in found["data"]

    def ask(self, change: str) -> None:
        """Ask the control plane for a change."""
        self.instance.ask("POST", f"/v1/workspaces/{self.workspace}/{change}")

    def reasons(self) -> list[str]:
        """Return the reasons of the workspace's events."""
        told = self.byoc("workspace", "events", self.workspace, "-o", "json").stdout
        return [each.get("reason", "") for each in json.loads(told)]

    def rotated(self) -> str:
        """Have the cell replace its keys; return the thumbprint of the new one, nothing while it is away."""
        ended = self.byoc("cell", "rotate-keys", "demo", "-o", "json", code=None)
        return str(json.loads(ended.stdout)["thumbprint"]) if ended.returncode == 0 else ""

    @contextmanager
    def without_the_leaders_zone(self) -> Iterator[str]:
        """Take the power from the zone of the agent that leads; tell which agent that was."""
        leader = self.holder
        _, pod = self.plane.ask("admin", "GET", f"/api/v1/namespaces/{NAMESPACE}/pods/{leader}")
        machines = self.world.in_zone(self.world.machines[pod["spec"]["nodeName"]].zone)
        self.world.lose_power(*machines)
        try:
            yield leader
        finally:
            self.world.switch_on(*machines)

    @contextmanager
    def papers(self) -> Iterator[ApiPapers]:
        """The papers between customer and cell."""
        with closing(self.opened()) as api:
            yield ApiPapers(lambda: api, "plane")

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """See that what goes through the tunnel meanwhile is answered, each time."""
        over, answers = threading.Event(), list[tuple[int, Any]]()
        metrics = f"/byoc/v1/workspaces/{self.workspace}/metrics"

        def keep_asking() -> None:
            while not over.is_set() or not answers:
                # Slow is not lost.
                with suppress(TimeoutError):
                    answers.append(self.instance.call("GET", metrics))

        asking = threading.Thread(target=keep_asking)
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join(60)
        lost = [each for each in answers if each[0] != HTTPStatus.OK]
        assert lost == [], (len(answers), lost[:3])
