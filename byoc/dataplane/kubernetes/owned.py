"""What of the cell itself answers at an address of the cluster, so that no forward may lead there.

Asked by the runtime before a forwarded service is dialled. The invariants: the cluster is asked anew each
time; what it does not answer is taken for the cell's own; a Service is judged by where it leads, whatever
its name is.
"""

from typing import Final

from byoc import log
from byoc.cell.incluster import WORKSPACE_PREFIX
from byoc.dataplane.kubernetes import kinds
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.kinds import Json
from byoc.errors import ByocError

ENGINE: Final = "an engine"
API: Final = "the cluster's own API"
UNKNOWN: Final = "something that the cluster does not tell about"
_CONTROL: Final = frozenset({2379, 2380, 6443, 10250, 10255})
"""Ports of a control plane of Kubernetes and of its machines: etcd, API server, kubelet."""
_LOG: Final = log.get(__name__)


async def what_answers(cluster: Cluster, address: str, port: int) -> str:
    """Return what answers there, in words; empty where it is none of the cell's own."""
    if port in _CONTROL or (address, port) in await cluster.api_addresses():
        return API
    try:
        pods, _ = await cluster.list(kinds.POD, fields={"status.podIP": address})
        services, _ = await cluster.list(kinds.SERVICE)
    except ByocError as error:
        _LOG.warning("not known what answers at an address", error=error.message)
        return UNKNOWN
    if any(_is_a_workspaces(pod) for pod in pods):
        return ENGINE
    return next((word for each in services if (word := _leads_to(each, address, port))), "")


def _leads_to(service: Json, address: str, port: int) -> str:
    """Return what a Service leads to where it answers there: its own pods may be anybody's. Pure."""
    spec, metadata = service["spec"], service["metadata"]
    if not _answers(service, address, port):
        return ""
    if (metadata["namespace"], metadata["name"]) == ("default", "kubernetes"):
        return API
    if _is_a_workspaces(service):
        return ENGINE
    # Without a selector somebody has written by hand where it leads.
    return "" if spec.get("selector") else UNKNOWN


def _answers(service: Json, address: str, port: int) -> bool:
    spec = service["spec"]
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    addresses = {
        spec.get("clusterIP"),
        *(spec.get("clusterIPs") or ()),
        *(spec.get("externalIPs") or ()),
        *(each.get("ip") for each in balancer.get("ingress") or ()),
    }
    return address in addresses or port in {each.get("nodePort") for each in spec.get("ports") or ()}


def _is_a_workspaces(found: Json) -> bool:
    namespace: str = found["metadata"]["namespace"]
    return namespace.startswith(WORKSPACE_PREFIX)
