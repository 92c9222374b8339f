"""The two agents of a cell as processes of this machine: each with its own volume, name and token file.

What they are given (settings, environment, mounts) is what their pods are given; the cluster's API, the
gateway and what signs behind it are real, and so is all that runs in the agents.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byoc.cell.incluster import AGENT, ENROLMENT, NAMESPACE
from byoc.dataplane.ledger_verify import read_records
from tests.emulated.agents import kubeconfig
from tests.integration.agent.conftest import Site
from tests.kubernetes.conftest import AGENT_USER
from tests.kubernetes.plane import Plane

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{AGENT}"
SHOWN = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{ENROLMENT}"


@dataclass
class One:
    """One agent.

    Attributes:
        cell: its own volume.
    """

    name: str
    data: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def cell(self) -> Path:
        return self.data / "cell"

    @property
    def log(self) -> str:
        path = self.data / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        with (self.data / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "byoc", "agent", "run", "--data", str(self.data)],
                env={**self.environment, "POD_NAME": self.name},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(20)
        self.process = None

    def stop(self) -> int:
        """Stop as a kubelet does; returns the exit code."""
        if self.process is None:
            return 0
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        code = self.process.wait(60)
        self.process = None
        return code

    def standing(self) -> str:
        file = self.cell / "status.json"
        return json.loads(file.read_text())["reason"] if file.exists() else ""

    def records(self) -> list[dict[str, Any]]:
        folder = self.cell / "ledger"
        return list(read_records(folder)) if folder.exists() else []


@dataclass
class Pair:
    """Both, and what they share.

    Attributes:
        site: gateway and control plane.
    """

    plane: Plane
    site: Site
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    agents: list[One] = field(default_factory=list)

    def make(self) -> "Pair":
        config = self.folder / "kubeconfig"
        token = self.plane.tokens[AGENT_USER]
        config.write_text(json.dumps(kubeconfig(self.plane.url, self.plane.authority, token)))
        (self.folder / "mounted").mkdir()
        plain = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECONFIG": str(config)}
        for number in range(2):
            one = One(f"{AGENT}-{number}", self.folder / f"agent-{number}", plain)
            one.cell.mkdir(parents=True)
            self.agents.append(one)
        return self

    def configure(self) -> None:
        """Write what the bundle's ConfigMap holds, once the gateway's port is known."""
        said = {
            "gateway": f"wss://127.0.0.1:{self.site.port}/nimbus/v1",
            "ca": str(self.site.data / "gateway" / "ca.crt"),
            "runtime": "kubernetes",
            "enrolment": str(self.folder / "mounted" / "enrolment.json"),
            "policy": str(self.folder / "mounted" / "policy.toml"),
            "reconnectCap": 1,
            **self.settings,
        }
        for one in self.agents:
            (one.cell / "config.json").write_text(json.dumps(said))

    def start(self) -> None:
        self.configure()
        for one in self.agents:
            one.start()

    def stop(self) -> None:
        for one in self.agents:
            one.stop()

    @property
    def holder(self) -> str:
        _, lease = self.plane.ask("admin", "GET", LEASE)
        return str(lease.get("spec", {}).get("holderIdentity") or "")

    @property
    def epoch(self) -> int:
        _, lease = self.plane.ask("admin", "GET", LEASE)
        return int(lease.get("spec", {}).get("leaseTransitions") or 0)

    @property
    def shown(self) -> dict[str, str]:
        _, found = self.plane.ask("admin", "GET", SHOWN)
        return dict(found.get("data") or {})

    def leader(self) -> One:
        return next(one for one in self.agents if one.name == self.holder)

    def other(self) -> One:
        return next(one for one in self.agents if one.name != self.holder)

    async def until(self, what: str, look: Callable[[], Any], *, seconds: float = 180) -> Any:
        """Wait for ``look``, made in a thread: it may ask the cluster."""
        ends = time.monotonic() + seconds
        while True:
            found = await asyncio.to_thread(look)
            if found:
                return found
            assert time.monotonic() < ends, f"{what}\n" + "\n".join(one.log[-3000:] for one in self.agents)
            for one in self.agents:
                if one.process is not None:
                    assert one.process.poll() is None, one.log[-3000:]
            await asyncio.sleep(0.05)

    async def led_by(self, name: str = "") -> One:
        """Wait until somebody leads and is connected."""

        def look() -> One | None:
            holder = self.holder
            found = next((one for one in self.agents if one.name == (name or holder) == holder), None)
            return found if found is not None and found.standing() == "connected" else None

        found: One = await self.until(f"{name or 'somebody'} leads and is connected", look)
        return found

    async def enrol(self) -> None:
        """Hand over a token for the thumbprint that is shown, as the installer does."""
        thumbprint = await self.until("a thumbprint is shown", lambda: self.shown.get("thumbprint"))
        provider = self.site.controlplane.provider
        handed = {
            "token": self.site.controlplane.token(thumbprint),
            "rootKey": provider.root.public.jwk(),
        }
        (self.folder / "mounted" / "enrolment.json").write_text(json.dumps(handed))
        await self.until("it is connected", lambda: self.shown.get("standing") == "connected")
