"""A namespace with one plain engine in it, for tests of what the machines and the cell do to pods."""

import time
from collections.abc import Callable
from typing import Any

from byoc import sql
from byoc.cell.incluster import WORKSPACE_LABEL
from byoc.errors import ByocError
from byoc.ids import new_id
from tests.emulated.machines.world import STORAGE_CLASS, World
from tests.kubernetes.plane import Plane

Json = dict[str, Any]

PASSWORD = "as long as its test"
PREPARE = """
set -e
[ -d /data/db ] && exit 0
mariadb-install-db --datadir=/data/new
mv /data/new /data/db
"""
SERVER = (
    "mariadbd",
    "--no-defaults",
    "--datadir=/data/db",
    "--socket=/run/engine/s",
    "--bind-address=$(POD_IP)",
    "--init-file=/etc/engine/init.sql",
    "--pid-file=/run/engine/pid",
    "--tmpdir=/run/engine",
    "--innodb-log-file-size=4M",
    "--innodb-use-native-aio=0",
    "--innodb-buffer-pool-size=16M",
)
ROW = "SELECT i FROM kept.t"
"""Answered with (7,) by an engine that kept what it was given."""
TAINT = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}


def until(seconds: float, what: Callable[[], Any], story: Callable[[], str] = str) -> Any:
    """Return the first true answer of ``what``; where none comes, ``story`` tells why."""
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, f"not within {seconds} s: {story()}"
        time.sleep(0.05)
    return found


def engine(name: str) -> Json:
    container = {
        "name": "engine",
        "image": "docker.io/library/mariadb@sha256:" + "0" * 64,
        "command": list(SERVER),
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        "readinessProbe": {"exec": {"command": ["/bin/sh", "-c", "test -S /run/engine/s"]}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "run", "mountPath": "/run/engine"},
            {"name": "init", "mountPath": "/etc/engine"},
        ],
    }
    kept = ("image", "securityContext", "volumeMounts", "resources")
    prepare = {name: container[name] for name in kept}
    prepare |= {"name": "prepare", "command": ["/bin/sh", "-c", PREPARE]}
    pod = {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 5555,
            "fsGroup": 5555,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 20,
        "initContainers": [prepare],
        "containers": [container],
        "volumes": [{"name": "run", "emptyDir": {}}, {"name": "init", "secret": {"secretName": "init"}}],
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "resources": {"requests": {"storage": "10Gi"}},
        },
    }
    spec = {
        "serviceName": name,
        "replicas": 1,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        "volumeClaimTemplates": [claim],
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}


class Space:
    """A namespace with one engine, as a test sees it."""

    def __init__(self, plane: Plane, world: World) -> None:
        self.plane, self.world, self.name = plane, world, f"byoc-ws-{new_id()}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted", WORKSPACE_LABEL: self.name}
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.name, "labels": labels}})
        accounts = f"CREATE OR REPLACE USER probe@'%' IDENTIFIED BY '{PASSWORD}';\n"
        accounts += "GRANT ALL ON *.* TO probe@'%';\n"
        secret = {"metadata": {"name": "init"}, "stringData": {"init.sql": accounts}}
        self.ask("POST", self.core("secrets"), secret)

    def core(self, kind: str) -> str:
        return f"/api/v1/namespaces/{self.name}/{kind}"

    @property
    def sets(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.name}/statefulsets"

    def ask(self, method: str, path: str, body: Json | None = None, kind: str = "") -> Json:
        status, answer = self.plane.ask("admin", method, path, body, kind=kind)
        assert status < 300, answer
        return answer

    def pod(self) -> Json | None:
        status, found = self.plane.ask("admin", "GET", self.core("pods/engine-0"))
        return found if status == 200 else None

    def story(self) -> str:
        """Return how the pod is, and what was said about everything here."""
        said = self.ask("GET", self.core("events"))["items"]
        claims = self.ask("GET", self.core("persistentvolumeclaims"))["items"]
        told = [f"{each['involvedObject']['name']} {each['reason']} {each.get('message')}" for each in said]
        return "\n".join([str((self.pod() or {}).get("status")), *map(str, claims), *told])

    def ready(self) -> Json | None:
        """Return the pod where it is ready now and is not about to go."""
        pod = self.pod()
        if pod is None or pod["metadata"].get("deletionTimestamp"):
            return None
        found = {each["type"]: each["status"] for each in pod["status"].get("conditions") or []}
        return pod if found.get("Ready") == "True" else None

    def sql(self, statement: str) -> Any:
        pod = self.ready()
        if pod is None:
            return None
        try:
            with sql.connect(pod["status"]["podIP"], 3306, user="probe", password=PASSWORD) as session:
                return session.execute(statement).rows or "done"
        except ByocError:
            return None

    def restarts(self) -> int:
        pod = self.pod()
        statuses = (pod or {}).get("status", {}).get("containerStatuses") or [{"restartCount": 0}]
        return int(statuses[0]["restartCount"])
