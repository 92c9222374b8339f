"""What of the cell itself answers at an address of its cluster."""

from typing import Any

import httpx2
import pytest
from lightkube import KubeConfig

from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.owned import API, ENGINE, UNKNOWN, what_answers
from byoc.testing.clock import ManualClock

Json = dict[str, Any]
CONFIG: Json = {
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.9:6999"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "c",
}
WORKSPACE = "byoc-ws-22222222-2222-4222-8222-222222222222"


def service(namespace: str, name: str, *, selector: bool = True, **spec: Any) -> Json:
    chosen = {"selector": {"app": name}} if selector else {}
    return {"metadata": {"namespace": namespace, "name": name, "resourceVersion": "1"}, "spec": chosen | spec}


def pod(namespace: str, address: str) -> Json:
    return {"metadata": {"namespace": namespace, "name": "engine-0"}, "status": {"podIP": address}}


SERVICES = [
    service("default", "kubernetes", selector=False, clusterIP="10.96.0.1"),
    service("monitoring", "grafana", clusterIP="10.96.0.7", ports=[{"port": 80, "nodePort": 30_080}]),
    service("byoc-ws-x", "mine", clusterIP="10.96.0.8", clusterIPs=["10.96.0.8", "fd12::8"]),
    service("byoc-ws-x", "open", clusterIP="None", ports=[{"port": 80, "nodePort": 30_306}]),
    service("byoc-ws-x", "outside", externalIPs=["203.0.113.9"]),
    service("default", "by-hand", selector=False, clusterIP="10.96.0.9"),
    service("monitoring", "balanced", clusterIP="10.96.0.10")
    | {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}},
]


class Server:
    """Lists pods by their address, and services."""

    def __init__(self, *, sick: bool = False) -> None:
        self.sick = sick
        self.pods = [pod(WORKSPACE, "10.0.1.5"), pod("monitoring", "10.0.1.6")]

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self.sick:
            status = {"kind": "Status", "apiVersion": "v1", "code": 403, "message": "no"}
            return httpx2.Response(403, json=status)
        items: list[Json] = SERVICES
        if request.url.path.endswith("/pods"):
            wanted = request.url.params["fieldSelector"].partition("=")[2]
            items = [each for each in self.pods if each["status"]["podIP"] == wanted]
        return httpx2.Response(200, json={"metadata": {"resourceVersion": "1"}, "items": items})


async def answers(address: str, port: int, *, sick: bool = False) -> str:
    transport = httpx2.MockTransport(Server(sick=sick))
    cluster = Cluster(KubeConfig.from_dict(CONFIG), ManualClock(), transport=transport)
    try:
        return await what_answers(cluster, address, port)
    finally:
        await cluster.close()


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("10.0.1.5", 3306, ENGINE),
        ("10.0.1.5", 80, ENGINE),
        ("10.0.1.6", 3000, ""),
        ("10.96.0.7", 80, ""),
        ("10.96.0.8", 80, ENGINE),
        ("fd12::8", 80, ENGINE),
        ("10.0.0.4", 30_306, ENGINE),
        ("10.0.0.4", 30_080, ""),
        ("203.0.113.9", 80, ENGINE),
        ("203.0.113.10", 80, ""),
        ("10.96.0.9", 80, UNKNOWN),
    ],
)
async def test_a_service_of_a_cluster_is_judged_by_where_it_leads(
    address: str, port: int, expected: str
) -> None:
    assert await answers(address, port) == expected


@pytest.mark.parametrize(
    ("address", "port"), [("10.96.0.1", 443), ("127.0.0.9", 6999), ("10.0.0.4", 6443), ("10.0.0.4", 10_250)]
)
async def test_the_clusters_api_is_the_cells_own(address: str, port: int) -> None:
    assert await answers(address, port) == API


async def test_what_the_cluster_does_not_tell_is_not_opened() -> None:
    assert await answers("10.0.1.6", 3000, sick=True) == UNKNOWN
