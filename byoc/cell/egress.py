"""Who in the client's namespace may reach what: nothing, and then the few places each needs.

Read by the manifests. NetworkPolicies know addresses, not names: where a place is known by name only,
the rule is as narrow as its port and the kind of its address allow. The invariant: nobody reaches the
instance metadata service, and nobody is reached.
"""

from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any, Final
from urllib.parse import urlsplit

from byoc.cell.args import CellArgs, NewVpc
from byoc.cell.incluster import AGENT, AUTOSCALER, ENGINE_APP, NAMESPACE, SQL_PORT, WORKSPACE_LABEL
from byoc.cell.subnets import SERVICE_RANGES, divide
from byoc.cell.workloads import AgentArgs

PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
"""Addresses that are never on the internet (RFC 1918, RFC 6598)."""
LINK_LOCAL: Final = "169.254.0.0/16"
"""Holds the instance metadata service."""
POD_IDENTITY: Final = "169.254.170.23/32"
"""Where a pod gets its role's credentials (EKS user guide, "How EKS Pod Identity works")."""
KUBERNETES: Final = f"{SERVICE_RANGES[0][1]}/32"
"""Address of the Service ``kubernetes``: the first of the cluster's range."""
_DNS: Final = 53
_HTTPS: Final = 443
_HTTP: Final = 80

Json = dict[str, Any]


def _public(port: int) -> Json:
    return {
        "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [*PRIVATE, LINK_LOCAL]}}],
        "ports": [{"protocol": "TCP", "port": port}],
    }


_PUBLIC_HTTPS: Final = _public(_HTTPS)


def network_policies(args: CellArgs) -> list[Json]:
    """Return the policies of the client's namespace."""
    return [
        _policy("deny-all", {}, None),
        _policy(
            AGENT, _pods(AGENT), [_dns(), _kubernetes(args), *_outside(args), _credentials(), _engines()]
        ),
        _policy(AUTOSCALER, _pods(AUTOSCALER), [_dns(), _kubernetes(args), _credentials()]),
    ]


def agent_policies(args: AgentArgs, api: Sequence[tuple[str, int]]) -> list[Json]:
    """Return the policies of a cluster that is there already; ``api``: where pods reach its API."""
    return [
        _policy("deny-all", {}, None),
        _policy(
            AGENT,
            _pods(AGENT),
            [
                _dns(),
                *(_to([f"{address}/32"], port) for address, port in api),
                _gateway(args),
                _engines(),
            ],
        ),
    ]


def inside(args: CellArgs) -> tuple[str, ...]:
    """Return the ranges in which the API server and the interface endpoints have their addresses.

    In a VPC of ours, the private subnets; in the customer's, endpoints may stand anywhere.
    """
    if isinstance(args.network, NewVpc):
        return tuple(zone.private for zone in divide(args.network.cidr, args.facts.zones))
    return args.network.cidrs


def _dns() -> Json:
    where = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    ports = [{"protocol": protocol, "port": _DNS} for protocol in ("UDP", "TCP")]
    return {"to": [where], "ports": ports}


def _kubernetes(args: CellArgs) -> Json:
    # By the Service's address and by the server's own: which of the two a policy sees is the plugin's affair.
    return _to([KUBERNETES, *inside(args)], _HTTPS)


def _outside(args: CellArgs) -> list[Json]:
    """The gateway, and S3 for the copies of the ledger: its addresses are public, whichever way leads there.

    Where that way is the VPC's endpoint alone, its policy says which buckets answer.
    """
    gateway = _gateway(args)
    return [gateway] if gateway == _PUBLIC_HTTPS else [gateway, _PUBLIC_HTTPS]


def _credentials() -> Json:
    return _to([POD_IDENTITY], _HTTP)


def _gateway(args: AgentArgs) -> Json:
    gateway = urlsplit(args.gateway.url)
    port = gateway.port or _HTTPS
    if args.gateway.endpoint_service and isinstance(args, CellArgs):
        return _to(inside(args), port)
    if args.egress_proxy:
        proxy = urlsplit(args.egress_proxy)
        return _to(_addresses(proxy.hostname or "", PRIVATE), proxy.port or _HTTP)
    host = gateway.hostname or ""
    if _is_address(host):
        return _to([f"{host}/32"], port)
    return _public(port)


def _engines() -> Json:
    """Every workspace's engine: whether one answers SQL, the agent asks itself."""
    where = {
        "namespaceSelector": {"matchExpressions": [{"key": WORKSPACE_LABEL, "operator": "Exists"}]},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": ENGINE_APP}},
    }
    return {"to": [where], "ports": [{"protocol": "TCP", "port": SQL_PORT}]}


def _addresses(host: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return (f"{host}/32",) if _is_address(host) else otherwise


def _is_address(host: str) -> bool:
    try:
        IPv4Address(host)
    except AddressValueError:
        return False
    return True


def _to(ranges: tuple[str, ...] | list[str], port: int) -> Json:
    return {
        "to": [{"ipBlock": {"cidr": str(IPv4Network(each))}} for each in ranges],
        "ports": [{"protocol": "TCP", "port": port}],
    }


def _pods(name: str) -> Json:
    return {"matchLabels": {"app.kubernetes.io/name": name}}


def _policy(name: str, pods: Json, egress: list[Json] | None) -> Json:
    spec: Json = {"podSelector": pods, "policyTypes": ["Ingress", "Egress"]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec if egress is None else spec | {"egress": egress},
    }
