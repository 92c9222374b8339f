"""Agents of a cell in a cluster, as far as they speak to its API: emulated or real."""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from lightkube import Client, KubeConfig

from byoc.cell.incluster import AGENT, ENROLMENT, KEYS, NAMESPACE
from byoc.cell.installer.api import Api
from byoc.cell.installer.budget import Budget
from byoc.clock import Clock, SystemClock
from byoc.dataplane.kubernetes.connect import open_client
from byoc.dataplane.kubernetes.objects import (
    EPOCH,
    STATE_LABEL,
    Carrier,
    ObjectStorage,
    newest_epoch,
    take_over,
)

Json = dict[str, Any]


@dataclass
class Home:
    """The agents' namespace of a cluster, and one agent's way into it."""

    server: str
    authority: str
    token: str
    clients: list[Client] = field(default_factory=list)

    @property
    def config(self) -> KubeConfig:
        return KubeConfig.from_dict(kubeconfig(self.server, self.authority, self.token))

    def close(self) -> None:
        for each in self.clients:
            each.close()

    def client(self) -> Client:
        made = open_client(self.config)
        self.clients.append(made)
        return made

    def lead(
        self,
        *,
        clock: Clock | None = None,
        leading: Callable[[], bool] = lambda: True,
        deposed: Callable[[], None] = lambda: None,
        carrier: Carrier | None = None,
    ) -> ObjectStorage:
        """Open the storage as the agent that has just won the Lease."""
        client = self.client()
        epoch = newest_epoch(client) + 1
        kept = take_over(client, epoch)
        return ObjectStorage(
            client,
            epoch,
            kept,
            clock=clock or SystemClock(),
            leading=leading,
            deposed=deposed,
            carrier=carrier,
        )


def kubeconfig(server: str, authority: str, token: str) -> Json:
    import base64  # noqa: PLC0415

    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority.encode()).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cell", "cluster": cluster}],
        "users": [{"name": "agent", "user": {"token": token}}],
        "contexts": [{"name": "cell", "context": {"cluster": "cell", "user": "agent"}}],
        "current-context": "cell",
    }


def house(home: Home) -> None:
    """Make what the bundle makes for the agents to begin with."""
    budget = Budget.of(20, SystemClock().monotonic, threading.Event().wait)
    place = {"namespace": NAMESPACE}
    with closing(Api(home.server, home.authority, lambda: home.token, budget)) as api:
        for each in (
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEYS, **place}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ENROLMENT, **place}},
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": AGENT, **place}},
        ):
            api.apply(each)


def forget(ask: Callable[[str, str, Json | None], Any]) -> None:
    """Take out everything that agents keep in the cluster; ``ask`` is an administrator's way in."""
    core = f"/api/v1/namespaces/{NAMESPACE}"
    for plural in ("configmaps", "secrets"):
        ask("DELETE", f"{core}/{plural}?labelSelector={STATE_LABEL}", None)
    nothing = {"metadata": {"annotations": {EPOCH: None}}, "data": None}
    for plain in (f"{core}/secrets/{KEYS}", f"{core}/configmaps/{ENROLMENT}"):
        ask("PATCH", plain, nothing)
    ask("PATCH", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{AGENT}", {"spec": None})
