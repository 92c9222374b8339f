"""The machines that the other tests of this tier stand on: what they do is what machines do."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc import sql
from byoc.errors import ByocError
from byoc.ids import new_id
from tests.emulated.machines.api import MERGE, STRATEGIC
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
TAINT = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}


def until(seconds: float, what: Callable[[], Any]) -> Any:
    """Return the first true answer of ``what``."""
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, f"not within {seconds} s"
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
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
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


@pytest.fixture
def space(plane: Plane, world: World) -> Iterator[Space]:
    made = Space(plane, world)
    yield made
    plane.ask("admin", "DELETE", f"{made.sets}/engine")
    plane.ask("admin", "DELETE", f"/api/v1/namespaces/{made.name}")
    assert world.faults == []


@pytest.fixture
def filled(space: Space) -> Space:
    """An engine that answers and holds one row."""
    space.ask("POST", space.sets, engine("engine"))
    until(60, lambda: space.sql("SELECT 1"))
    space.sql("CREATE DATABASE kept")
    space.sql("CREATE TABLE kept.t (i INT)")
    assert space.sql("INSERT INTO kept.t VALUES (7)") == "done"
    return space


ROW = "SELECT i FROM kept.t"


def test_an_engine_pod_answers_sql_at_its_own_address(filled: Space) -> None:
    pod = filled.ready()
    assert pod is not None
    assert pod["status"]["podIP"].startswith("127.")
    assert filled.sql("SELECT @@datadir, @@bind_address") == (("/data/db/", pod["status"]["podIP"]),)
    found = filled.world.containers(filled.name, "engine-0")["engine"].container
    assert found is not None
    assert Path(f"/proc/{found.pid}/cmdline").read_bytes().startswith(b"mariadbd")


def test_a_crashed_engine_is_started_again_on_what_it_held(filled: Space) -> None:
    filled.world.kill_process(filled.name, "engine-0")
    until(30, lambda: filled.restarts() == 1)
    assert until(30, lambda: filled.sql(ROW)) == ((7,),)


def test_a_deleted_pod_stops_cleanly_and_comes_back_with_its_volume(filled: Space) -> None:
    before = filled.ready()
    assert before is not None
    filled.ask("DELETE", filled.core("pods/engine-0"))
    until(30, lambda: (filled.pod() or before)["metadata"]["uid"] != before["metadata"]["uid"])
    assert until(30, lambda: filled.sql(ROW)) == ((7,),)


def test_a_resize_in_place_is_shown_without_a_restart(filled: Space) -> None:
    wanted = {"requests": {"cpu": "2", "memory": "1Gi"}}
    body = {"spec": {"containers": [{"name": "engine", "resources": wanted}]}}
    path = filled.core("pods/engine-0/resize")
    filled.ask("PATCH", path, body, STRATEGIC)

    def shown() -> bool:
        (status,) = (filled.pod() or {})["status"]["containerStatuses"]
        return bool(status["resources"] == wanted)

    until(20, shown)
    assert filled.restarts() == 0


def test_an_image_that_cannot_be_pulled_says_so_until_it_can(space: Space) -> None:
    space.world.images.broken.add("library/mariadb")
    try:
        space.ask("POST", space.sets, engine("engine"))

        def reason() -> str:
            found = ((space.pod() or {}).get("status") or {}).get("initContainerStatuses") or [{}]
            return str((found[0].get("state", {}).get("waiting") or {}).get("reason"))

        until(30, lambda: reason() == "ImagePullBackOff")
    finally:
        space.world.images.broken.clear()
    assert until(60, lambda: space.sql("SELECT 1"))


def test_a_pod_of_a_dead_machine_stays_until_the_machine_is_declared_out_of_service(filled: Space) -> None:
    pod = filled.ready()
    assert pod is not None
    machine = pod["spec"]["nodeName"]
    filled.world.lose_power(machine)
    try:

        def unready() -> bool:
            node = filled.ask("GET", f"/api/v1/nodes/{machine}")
            return any(
                each["type"] == "Ready" and each["status"] == "Unknown"
                for each in node["status"]["conditions"]
            )

        until(40, unready)
        filled.ask("DELETE", filled.core("pods/engine-0"))
        still = filled.pod()
        assert still is not None
        assert still["metadata"]["uid"] == pod["metadata"]["uid"]
        filled.ask("PATCH", f"/api/v1/nodes/{machine}", {"spec": {"taints": [TAINT]}}, MERGE)
        assert until(60, lambda: filled.sql(ROW)) == ((7,),)
        moved = filled.ready()
        assert moved is not None
        assert moved["spec"]["nodeName"] != machine
        assert moved["spec"]["nodeName"][0] == machine[0]
    finally:
        filled.ask("PATCH", f"/api/v1/nodes/{machine}", {"spec": {"taints": None}}, MERGE)
        filled.world.switch_on(machine)


def test_a_volume_set_to_be_deleted_goes_with_its_claim(filled: Space) -> None:
    claim = filled.ask("GET", filled.core("persistentvolumeclaims/data-engine-0"))
    path = f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}"
    handle = filled.ask("GET", path)["spec"]["csi"]["volumeHandle"]
    assert handle in filled.world.cloud.disks
    filled.ask("PATCH", path, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}, MERGE)
    filled.ask("DELETE", f"{filled.sets}/engine")
    filled.ask("DELETE", filled.core("persistentvolumeclaims/data-engine-0"))
    until(60, lambda: handle not in filled.world.cloud.disks)
