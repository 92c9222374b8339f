"""Settings of the EKS add-ons of a cell, as the JSON that EKS takes. Pure.

Read by ``addons``. Each add-on's schema is what ``aws eks describe-addon-configuration`` prints for its
version. The invariant: what the cell's own safety rests on is set here, never left to a default.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.incluster import GROUP_LABEL, SYSTEM_GROUP, SYSTEM_TAINT
from byoc.cell.naming import CELL_TAG
from byoc.errors import UsageError

BEFORE_MACHINES: Final = ("eks-pod-identity-agent", "vpc-cni", "kube-proxy")
"""Add-ons without which no machine becomes ready; each runs on every machine, so none waits for one."""
AFTER_MACHINES: Final = ("coredns", "aws-ebs-csi-driver", "external-dns")
"""Add-ons whose pods need a machine to become ready."""
ADDONS: Final = (*BEFORE_MACHINES, *AFTER_MACHINES)

Settings = Mapping[str, Any]


def settings(args: CellArgs, addon: str) -> Settings:
    """Return the settings of one of ``ADDONS``; empty where the defaults are meant."""
    match addon:
        case "vpc-cni":
            return _network()
        case "coredns":
            return _names()
        case "aws-ebs-csi-driver":
            return _volumes(args)
        case "external-dns":
            return _endpoints(args)
        case _:
            return {}


def settings_text(args: CellArgs, addon: str) -> str:
    """Return the settings as EKS takes them; empty for none."""
    found = settings(args, addon)
    return json.dumps(found, sort_keys=True, separators=(",", ":")) if found else ""


def addon_version(args: CellArgs, addon: str) -> str:
    """Return the version of an add-on that the preflight found for the cluster's Kubernetes.

    Raises:
        UsageError: it found none.
    """
    version = args.facts.addons.get(addon)
    if not version:
        raise UsageError(
            f"no version of add-on {addon} is known for Kubernetes {args.facts.kubernetes}",
            hint=f"aws eks describe-addon-versions --addon-name {addon} --kubernetes-version "
            f"{args.facts.kubernetes}",
        )
    return version


def _network() -> Settings:
    # Without this the plugin takes network policies for comments. It wants the word, not the JSON value.
    return {"enableNetworkPolicy": "true"}


def _names() -> Settings:
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    return {**_on_system_machines(), "replicaCount": 2, "topologySpreadConstraints": [spread]}


def _volumes(args: CellArgs) -> Settings:
    return {
        "controller": {
            **_on_system_machines(),
            "replicaCount": 2,
            # The driver cannot ask the metadata service: that is one hop too far for a pod.
            "region": args.facts.region,
            # By this tag, and no other, its role may make and manage volumes.
            "extraVolumeTags": {CELL_TAG: args.name},
            "k8sTagClusterId": arns.cluster_name(args),
        },
        "node": {"tolerateAllTaints": True},
        # Ours is encrypted with the cell's key and keeps its volumes.
        "defaultStorageClass": {"enabled": False},
    }


def _endpoints(args: CellArgs) -> Settings:
    return {
        **_on_system_machines(),
        "sources": ["service"],
        "domainFilters": [arns.domain(args)],
        # Names of what is gone go too; those that somebody else wrote stay.
        "policy": "sync",
        "registry": "txt",
        "txtOwnerId": arns.cluster_name(args),
    }


def _on_system_machines() -> dict[str, Any]:
    taint = {"key": SYSTEM_TAINT, "operator": "Equal", "value": "true", "effect": "NoSchedule"}
    return {"nodeSelector": {GROUP_LABEL: SYSTEM_GROUP}, "tolerations": [taint]}
