"""A stand-in for a cluster's machines: runs the first agent of the cell as a process of this machine.

What the agent will tell the cluster itself once it has a Kubernetes client, the stand-in tells for it: the
thumbprint of its keys; and what controllers would tell: that its pods are ready.
"""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from byoc.cell.incluster import AGENT, ENROLMENT, NAMESPACE, TOKEN
from tests.emulated.kubernetes import Cluster
from tests.emulated.pods import Pod

Json = dict[str, Any]

_CORE = f"/api/v1/namespaces/{NAMESPACE}"
_APPS = f"/apis/apps/v1/namespaces/{NAMESPACE}"
_TICK = 0.2


class Kubelet:
    """One machine.

    Args:
        root: stands for the root folder of the agent's container.
    """

    def __init__(self, cluster: Cluster, root: Path) -> None:
        self._cluster = cluster
        self._root = root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._brought = ""
        self._pod: Pod | None = None
        self.agent: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._end()

    def _run(self) -> None:
        while not self._stop.wait(_TICK):
            self._step()

    def _step(self) -> None:
        wanted = self._object(f"{_APPS}/statefulsets/{AGENT}")
        if wanted is None:
            self._end()
            return
        if self._pod is None:
            self._pod = Pod(wanted["spec"]["template"]["spec"], self._objects(), self._root)
            self._pod.mount()
            _on_this_machine(self._pod)
            self.agent = self._started(self._pod)
        self._bring(self._pod)
        self._tell(self._pod)

    def _end(self) -> None:
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait(timeout=60)
            self.agent = self._pod = None

    def _started(self, pod: Pod) -> "subprocess.Popen[bytes]":
        program, *words = pod.command
        assert program == "byoc"
        cache = os.environ.get("XDG_CACHE_HOME") or f"{os.environ['HOME']}/.cache"
        with (self._root / "agent.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "byoc", *words],
                env={"PATH": os.environ["PATH"], "XDG_CACHE_HOME": cache, **pod.environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def _bring(self, pod: Pod) -> None:
        """Bring the token in when it is there: the pod was started long before."""
        found = self._object(f"{_CORE}/secrets/{TOKEN}")
        if found is not None and found["metadata"]["resourceVersion"] != self._brought:
            self._brought = found["metadata"]["resourceVersion"]
            files = {name: base64.b64decode(text) for name, text in (found.get("data") or {}).items()}
            pod.bring("enrolment", files)

    def _tell(self, pod: Pod) -> None:
        """Say for the agent and for its controllers what they would say themselves."""
        shown = pod.path("/var/lib/byoc/cell/thumbprint")
        if shown.exists():
            self._patch(
                f"{_CORE}/configmaps/{ENROLMENT}", {"data": {"thumbprint": shown.read_text().strip()}}
            )
        for found in self._objects():
            if found["kind"] in {"StatefulSet", "Deployment"}:
                count, generation = found["spec"]["replicas"], found["metadata"]["generation"]
                ready = {"observedGeneration": generation, "readyReplicas": count, "updatedReplicas": count}
                path = f"{_APPS}/{found['kind'].lower()}s/{found['metadata']['name']}"
                self._patch(path, {"status": ready})

    def _objects(self) -> list[Json]:
        with self._cluster.lock:
            return [held.value for held in self._cluster.objects.values()]

    def _object(self, path: str) -> Json | None:
        status, value = self._cluster.answer("GET", path, "token", None, "")
        return value if status == 200 else None

    def _patch(self, path: str, change: Json) -> None:
        kind = "application/merge-patch+json"
        self._cluster.answer("PATCH", f"{path}?fieldManager=kubelet", "token", change, kind)


def _on_this_machine(pod: Pod) -> None:
    """Let workspaces be processes of this machine: this cluster's API knows no pods that run."""
    path = pod.path("/var/lib/byoc/cell/config.json")
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "runtime": "local"}))


@contextmanager
def machine(cluster: Cluster, root: Path) -> Iterator[Kubelet]:
    """Run the cluster's pods while inside."""
    root.mkdir(parents=True, exist_ok=True)
    kubelet = Kubelet(cluster, root)
    kubelet.start()
    try:
        yield kubelet
    finally:
        kubelet.stop()
