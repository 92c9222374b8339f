"""A stand-in for a cluster's machines: runs the first agent of the cell as a process of this machine.

It starts what the manifest says: arguments, environment and mounts, below a folder that stands for the
container's root. What the agent will tell the cluster itself once it has a Kubernetes client, the stand-in
tells for it: the thumbprint of its keys, and that its pods are ready.
"""

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from byoc.cell.incluster import AGENT, ENROLMENT, NAMESPACE
from tests.emulated.kubernetes import Cluster

Json = dict[str, Any]

_CORE = f"/api/v1/namespaces/{NAMESPACE}"
_APPS = f"/apis/apps/v1/namespaces/{NAMESPACE}"
_AGENTS = f"{_APPS}/statefulsets/{AGENT}"
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
        wanted = self._object(_AGENTS)
        if wanted is None:
            self._end()
            return
        pod = wanted["spec"]["template"]["spec"]
        self._mount(pod)
        if self.agent is None:
            self.agent = self._started(pod["containers"][0])
        self._tell()

    def _end(self) -> None:
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait(timeout=60)
            self.agent = None

    def _started(self, container: Json) -> "subprocess.Popen[bytes]":
        program, *words = container["command"]
        assert program == "byoc"
        given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        log = (self._root / "agent.log").open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "byoc", *(self._inside(word) for word in words)],
                env={
                    "PATH": os.environ["PATH"],
                    "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", f"{os.environ['HOME']}/.cache"),
                    **given,
                    "HOME": str(self._root),
                    "TMPDIR": str(self._root),
                },
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def _inside(self, text: str) -> str:
        return f"{self._root}{text}" if text.startswith("/") else text

    def _mount(self, pod: Json) -> None:
        volumes = {one["name"]: one for one in pod["volumes"]}
        for mount in pod["containers"][0]["volumeMounts"]:
            target = Path(self._inside(mount["mountPath"]))
            volume = volumes.get(mount["name"], {})
            content = self._content(volume)
            if "subPath" in mount:
                self._write(target, content.get(mount["subPath"], ""))
            elif "configMap" in volume or "secret" in volume:
                target.mkdir(parents=True, exist_ok=True)
                for name, text in content.items():
                    self._write(target / name, text)
            else:
                target.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _content(self, volume: Json) -> dict[str, str]:
        if "configMap" in volume:
            found = self._object(f"{_CORE}/configmaps/{volume['configMap']['name']}") or {}
            return dict(found.get("data") or {})
        if "secret" in volume:
            found = self._object(f"{_CORE}/secrets/{volume['secret']['secretName']}") or {}
            data = found.get("data") or {}
            return {name: base64.b64decode(text).decode() for name, text in data.items()}
        return {}

    def _write(self, path: Path, text: str) -> None:
        # What a file names below /etc and /var of the container lies below this machine's folder.
        inside = text.replace('"/etc/byoc/', f'"{self._root}/etc/byoc/')
        if not path.exists() or path.read_text() != inside:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(inside)

    def _tell(self) -> None:
        """Say for the agent and for its controllers what they would say themselves."""
        shown = self._root / "var/lib/byoc/cell/thumbprint"
        if shown.exists():
            self._patch(
                f"{_CORE}/configmaps/{ENROLMENT}", {"data": {"thumbprint": shown.read_text().strip()}}
            )
        for path in [one for one in self._paths() if one.startswith(_APPS)]:
            found = self._object(path)
            if found is not None:
                count = found["spec"]["replicas"]
                generation = found["metadata"]["generation"]
                ready = {"observedGeneration": generation, "readyReplicas": count, "updatedReplicas": count}
                self._patch(path, {"status": ready})

    def _paths(self) -> list[str]:
        with self._cluster.lock:
            return list(self._cluster.objects)

    def _object(self, path: str) -> Json | None:
        status, value = self._cluster.answer("GET", path, "token", None, "")
        return value if status == 200 else None

    def _patch(self, path: str, change: Json) -> None:
        kind = "application/merge-patch+json"
        self._cluster.answer("PATCH", f"{path}?fieldManager=kubelet", "token", change, kind)


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
