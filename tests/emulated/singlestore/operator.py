"""The stand-in of the vendor's operator: a MemsqlCluster becomes StatefulSets and Services, as it names them.

Run by the test world. It acts for a workspace only while the operator's pod there is ready, and then as that
pod's service account, so that it can do what the operator's rights let it do and no more. Nodes are
``node.py``: the master answers SQL, leaves are there and hold nothing.
"""

import asyncio
import base64
import contextlib
import json
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from byoc import sql
from byoc.dataplane.kubernetes.singlestore import speech
from byoc.errors import ByocError
from tests.emulated.machines.api import Api, Refused
from tests.emulated.machines.container import Mount
from tests.emulated.machines.images import Program

Json = dict[str, Any]

KIND: Final = "/apis/memsql.com/v1alpha1"
CRD: Final[Json] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "memsqlclusters.memsql.com"},
    "spec": {
        "group": "memsql.com",
        "names": {
            "kind": "MemsqlCluster",
            "listKind": "MemsqlClusterList",
            "plural": "memsqlclusters",
            "singular": "memsqlcluster",
            "shortNames": ["memsql"],
        },
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}
"""As the vendor publishes it: any field is taken."""
OPERATOR: Final = "sdb-operator"
APPLY: Final = "application/apply-patch+yaml"
_MANAGER: Final = f"fieldManager={OPERATOR}&force=true"
_AGAIN: Final = 0.1

_USE: Final = (
    "SELECT (SELECT COUNT(*) FROM information_schema.processlist WHERE user NOT IN "
    "('root', 'byoc_internal', 'system user', 'event_scheduler', 'unauthenticated user')), "
    "(SELECT COALESCE(SUM(select_commands + update_commands + other_commands), 0) FROM "
    "information_schema.user_statistics WHERE user NOT IN ('root', 'byoc_internal'))"
)
_PROCESSOR: Final = "SELECT COALESCE(SUM(cpu_time), 0) FROM information_schema.user_statistics"
_STATUS: Final = (
    "SELECT CASE variable_name WHEN 'COM_SELECT' THEN 'Successful_read_queries' "
    "WHEN 'COM_INSERT' THEN 'Successful_write_queries' WHEN 'MEMORY_USED' THEN 'Total_server_memory' "
    "ELSE CONCAT(UPPER(LEFT(variable_name, 1)), LOWER(SUBSTR(variable_name, 2))) END, variable_value "
    "FROM information_schema.global_status"
)
WORDS: Final = (
    (re.escape(speech.USE), _USE),
    (re.escape(speech.PROCESSOR), _PROCESSOR),
    (re.escape(speech.STATUS), _STATUS),
    (
        re.escape(speech.SCHEMATA),
        f"{speech.SCHEMATA} WHERE SCHEMA_NAME NOT IN ('mysql', 'performance_schema', 'sys')",
    ),
    (r"information_schema\.MV_BOTTOMLESS_(DATABASES|STATUS)", "memsql.unlimited"),
    (r" REQUIRE SSL", ""),
)
"""What the cell says to SingleStore, and how MariaDB is told it."""


def program(engine: Program, folder: Path, buckets: Path) -> Program:
    """Return the image of a node with the SQL server of ``engine``; ``buckets`` stands for all of S3."""
    folder.mkdir()
    buckets.mkdir()
    buckets.chmod(0o777)
    shutil.copy(Path(__file__).with_name("node.py"), folder)
    (folder / "words.json").write_text(json.dumps(WORDS), encoding="utf-8")
    for each in (folder, *folder.iterdir()):
        each.chmod(0o755)
    command, seen = ["/usr/bin/python3", "/opt/node/node.py"], Mount(folder, "/opt/node")
    return Program(command, [*engine.mounts, seen, Mount(buckets, "/opt/buckets")], engine.environment)


class Operator:
    """All operators of a cluster.

    Attributes:
        asleep: namespaces in which the operator runs and does nothing.
        buckets: the folder that stands for all of S3.

    Args:
        open_api: opens the API as a user.
    """

    def __init__(self, open_api: Callable[[str], Api], buckets: Path) -> None:
        self.asleep: set[str] = set()
        self.buckets = buckets
        self._open = open_api
        self._orders: dict[str, Json] = {}
        self._pods: dict[str, dict[str, Json]] = {}
        self._admin: dict[str, tuple[str, str]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._news: dict[str, asyncio.Event] = {}

    async def run(self, api: Api) -> None:
        """Follow what there is to do until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(api, f"{KIND}/memsqlclusters", self._ordered))
                tasks.create_task(self._follow(api, "/api/v1/pods", self._pod))
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _follow(self, api: Api, path: str, told: Callable[[str, Json], None]) -> None:
        async for what, found in _following(api, path):
            told(what, found)
            space = found["metadata"]["namespace"]
            self._news.setdefault(space, asyncio.Event()).set()

    def _ordered(self, what: str, order: Json) -> None:
        space = order["metadata"]["namespace"]
        if what == "DELETED":
            self._orders.pop(space, None)
            self._admin.pop(space, None)
            return
        self._orders[space] = order
        if space not in self._running:
            self._running[space] = asyncio.create_task(self._operate(space))

    def _pod(self, what: str, pod: Json) -> None:
        pods = self._pods.setdefault(pod["metadata"]["namespace"], {})
        if what == "DELETED":
            pods.pop(pod["metadata"]["name"], None)
        else:
            pods[pod["metadata"]["name"]] = pod

    async def _operate(self, space: str) -> None:
        """Act for one workspace as long as there is an order."""
        news = self._news.setdefault(space, asyncio.Event())
        api = self._open(f"system:serviceaccount:{space}:{OPERATOR}")
        try:
            while space in self._orders:
                news.clear()
                if space not in self.asleep and self._is_up(space):
                    with contextlib.suppress(Refused):
                        await Work(api, self._orders[space], self._pods.get(space, {}), self._admin).do()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), 1.0)
                await asyncio.sleep(_AGAIN)
        finally:
            self._running.pop(space, None)
            await api.close()

    def _is_up(self, space: str) -> bool:
        return any(
            each["metadata"]["labels"].get("name") == OPERATOR and _ready(each)
            for each in self._pods.get(space, {}).values()
            if each["metadata"].get("labels")
        )


async def _following(api: Api, path: str) -> AsyncIterator[tuple[str, Json]]:
    """Yield what changes, once the cluster knows the kind."""
    while True:
        try:
            async for each in api.follow(path):
                yield each
        except Refused:
            await asyncio.sleep(_AGAIN)


class Work:
    """One round for one MemsqlCluster."""

    def __init__(
        self, api: Api, order: Json, pods: dict[str, Json], admin: dict[str, tuple[str, str]]
    ) -> None:
        self._api = api
        self._order = order
        self._pods = pods
        self._admin = admin
        self._name = str(order["metadata"]["name"])
        self._space = str(order["metadata"]["namespace"])
        self._spec: Json = order["spec"]

    async def do(self) -> None:
        root = await self._root()
        wanted = [
            (role, self._spec[key])
            for role, key in (
                ("master", "masterAggregatorSpec"),
                ("aggregator", "childAggregatorSpec"),
                ("leaf-ag1", "leafSpec"),
            )
            if key in self._spec
        ]
        for role, nodes in wanted:
            await self._apply("/apis/apps/v1", "statefulsets", await self._set(role, nodes))
            await self._grow(role, nodes)
        for which in ("ddl", "dml"):
            await self._apply("/api/v1", "services", self._service(which))
        up = all(
            _ready(self._pods.get(f"{self._set_name(role)}-{number}", {}))
            for role, nodes in wanted
            for number in range(nodes["count"])
        )
        done = up and await self._give_admin(root)
        await self._say("Running" if done else "Pending")

    async def _root(self) -> str:
        path = f"/api/v1/namespaces/{self._space}/secrets"
        found = await self._api.get(f"{path}/{self._name}")
        if found is None:
            made = base64.b64encode(secrets.token_hex(16).encode()).decode()
            metadata = {"name": self._name, "namespace": self._space, "ownerReferences": [self._owner()]}
            found = await self._api.create(path, {"metadata": metadata, "data": {"ROOT_PASSWORD": made}})
        return base64.b64decode((found or {})["data"]["ROOT_PASSWORD"]).decode()

    async def _give_admin(self, root: str) -> bool:
        """Give ``admin`` the password that the order says, where the running master has another."""
        master = self._pods[f"{self._set_name('master')}-0"]
        wanted = (master["metadata"]["uid"], self._spec["adminHashedPassword"])
        if self._admin.get(self._space) == wanted:
            return True
        path = (
            f"/api/v1/namespaces/{self._space}/secrets/{self._spec['secureConnectionSpec']['sslSecretName']}"
        )
        held = await self._api.get(path)
        authority = base64.b64decode((held or {})["data"]["tls.ca"]).decode()
        workspace = self._space.removeprefix("byoc-ws-")
        tls = sql.Tls(authority, f"svc-{workspace}-ddl.{self._space}.svc")
        address = master["status"]["podIP"]

        def give() -> None:
            with sql.connect(address, 3306, "root", root, tls=tls, timeout=5, answer_timeout=5) as session:
                for statement in (
                    "CREATE USER IF NOT EXISTS admin@'%'",
                    f"ALTER USER admin@'%' IDENTIFIED VIA mysql_native_password USING '{wanted[1]}'",
                    "GRANT ALL PRIVILEGES ON *.* TO admin@'%'",
                ):
                    session.execute(statement)

        try:
            await asyncio.to_thread(give)
        except ByocError:
            return False
        self._admin[self._space] = wanted
        return True

    async def _say(self, phase: str) -> None:
        if (self._order.get("status") or {}).get("phase") != phase:
            path = f"{KIND}/namespaces/{self._space}/memsqlclusters/{self._name}/status"
            await self._api.patch(path, {"status": {"phase": phase}})

    async def _apply(self, root: str, plural: str, manifest: Json) -> None:
        path = f"{root}/namespaces/{self._space}/{plural}/{manifest['metadata']['name']}?{_MANAGER}"
        await self._api.ask("PATCH", path, manifest, APPLY)

    async def _grow(self, role: str, nodes: Json) -> None:
        """Have volumes grow that are smaller than was asked for."""
        wanted = f"{nodes['storageGB']}Gi"
        for number in range(nodes["count"]):
            claim = f"pv-storage-{self._set_name(role)}-{number}"
            path = f"/api/v1/namespaces/{self._space}/persistentvolumeclaims/{claim}"
            found = await self._api.get(path)
            if found is not None and found["spec"]["resources"]["requests"]["storage"] != wanted:
                await self._api.patch(path, {"spec": {"resources": {"requests": {"storage": wanted}}}})

    # --- what it makes ---------------------------------------------------------------------

    def _set_name(self, role: str) -> str:
        return f"node-{self._name}-{role}"

    def _owner(self) -> Json:
        metadata = self._order["metadata"]
        kind = {"apiVersion": "memsql.com/v1alpha1", "kind": "MemsqlCluster", "name": self._name}
        return {**kind, "uid": metadata["uid"], "controller": True}

    async def _set(self, role: str, nodes: Json) -> Json:
        name = self._set_name(role)
        found = await self._api.get(f"/apis/apps/v1/namespaces/{self._space}/statefulsets/{name}")
        own = {"app.kubernetes.io/instance": self._name, "memsql.com/role-tier": role}
        over = nodes.get("objectMetaOverrides") or {}
        labels = {**own, **(over.get("labels") or {})}
        # What a StatefulSet claims can never be changed.
        claims = found["spec"]["volumeClaimTemplates"] if found else [_claim(nodes)]
        return {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {
                "name": name,
                "namespace": self._space,
                "labels": labels,
                "ownerReferences": [self._owner()],
            },
            "spec": {
                "replicas": nodes["count"],
                "serviceName": f"svc-{self._name}-ddl",
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": own},
                "template": {
                    "metadata": {"labels": labels, "annotations": over.get("annotations") or {}},
                    "spec": self._pod_spec(role, nodes),
                },
                "volumeClaimTemplates": claims,
            },
        }

    def _pod_spec(self, role: str, nodes: Json) -> Json:
        volumes = nodes.get("nodeVolumes") or {}
        image = self._spec["nodeImage"]
        secure = self._spec["secureConnectionSpec"]["sslSecretName"]
        cores, memory = f"{round(nodes['cores'] * 1000)}m", f"{nodes['memoryMB']}Mi"
        limit = nodes.get("memoryMBLimit") or nodes.get("memoryLimitMB")
        probed = {"readinessProbe": {"tcpSocket": {"port": 3306}}} if role == "master" else {}
        return {
            **(self._spec.get("schedulingDetails") or {}).get(role, {}),
            "serviceAccountName": self._spec["serviceAccountName"],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 30,
            "securityContext": {"fsGroup": 5555},
            "containers": [
                {
                    "name": "node",
                    "image": f"{image['repository']}:{image['tag']}",
                    "env": _environment(role, self._name),
                    "resources": {
                        "requests": {"cpu": cores, "memory": memory},
                        "limits": {"cpu": f"{round(nodes['coresLimit'] * 1000)}m", "memory": f"{limit}Mi"},
                    },
                    "securityContext": nodes["securityContext"],
                    "volumeMounts": [
                        {"name": "pv-storage", "mountPath": "/var/lib/memsql"},
                        {"name": "certs", "mountPath": "/etc/memsql/certs", "readOnly": True},
                        *(volumes.get("volumeMounts") or []),
                    ],
                    **probed,
                }
            ],
            "volumes": [
                {"name": "certs", "secret": {"secretName": secure, "defaultMode": 0o440}},
                *(volumes.get("volumes") or []),
            ],
        }

    def _service(self, which: str) -> Json:
        spec = self._spec.get("serviceSpec") or {}
        role = "master" if which == "ddl" else "aggregator"
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": f"svc-{self._name}-{which}",
                "namespace": self._space,
                "ownerReferences": [self._owner()],
            },
            "spec": {
                "type": spec.get("type", "LoadBalancer"),
                **({"clusterIP": "None"} if spec.get("headless") else {}),
                "selector": {"app.kubernetes.io/instance": self._name, "memsql.com/role-tier": role},
                "ports": [{"name": "memsql", "port": 3306, "protocol": "TCP"}],
            },
        }


def _ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    going = "deletionTimestamp" in (pod.get("metadata") or {})
    return not going and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _claim(nodes: Json) -> Json:
    return {
        "metadata": {"name": "pv-storage"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": nodes["storageClass"],
            "resources": {"requests": {"storage": f"{nodes['storageGB']}Gi"}},
        },
    }


def _environment(role: str, secret: str) -> list[Json]:
    address = {"fieldRef": {"fieldPath": "status.podIP"}}
    password = {"secretKeyRef": {"name": secret, "key": "ROOT_PASSWORD"}}
    return [
        {"name": "ROLE", "value": role},
        {"name": "POD_IP", "valueFrom": address},
        {"name": "ROOT_PASSWORD", "valueFrom": password},
    ]
