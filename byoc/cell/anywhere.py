"""The bundle of a cell in a cluster that is there already, whoever made it. Pure.

Read by ``byoc.bootstrap.anywhere``, which applies it from a kubeconfig. It is the bundle of a cell in AWS
without what belongs to AWS: no autoscaler, no labels of machines, and a storage class that is like one
of the cluster's own. The invariant: rights and limits are the very same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from byoc.cell.admission import admission
from byoc.cell.args import Gateway, Image, check_egress_proxy
from byoc.cell.egress import agent_policies
from byoc.cell.incluster import STORAGE_CLASS
from byoc.cell.manifests import (
    Bundle,
    Json,
    config_of,
    namespace_of,
    policy_of,
    put_together,
    shown_and_kept,
)
from byoc.cell.naming import check_cell_name
from byoc.cell.priority import priority
from byoc.cell.rights import rights
from byoc.cell.workloads import agents
from byoc.errors import UsageError
from byoc.wire.canonical import digest

_VERSION: Final = re.compile(r"1\.\d+")
_AUTOSCALER: Final = "byoc-autoscaler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anywhere:
    """A cell in a cluster that is there already.

    Attributes:
        kubernetes: minor version of the cluster, such as ``1.34``.
        api: addresses and ports at which pods reach the cluster's API.
        storage: the storage class whose volumes the cell uses, as the cluster has it.
        policy: the customer's policy file (TOML); empty for the default.
        runtime: settings of the runtime, as in ``config.json``.
    """

    name: str
    gateway: Gateway
    agent: Image
    kubernetes: str
    api: tuple[tuple[str, int], ...]
    storage: Mapping[str, Any]
    egress_proxy: str = ""
    policy: str = ""
    runtime: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the agents could not work with.

        Raises:
            UsageError: with the sentence that says what to change.
        """
        check_cell_name(self.name)
        check_egress_proxy(self.egress_proxy)
        if not _VERSION.fullmatch(self.kubernetes):
            raise UsageError(f"the cluster's version `{self.kubernetes}` is not understood")
        if self.gateway.endpoint_service:
            raise UsageError("a PrivateLink service is for cells in AWS", hint="byoc bootstrap")
        if not self.storage.get("provisioner"):
            raise UsageError(
                "the storage class names nothing that makes volumes", hint="--storage-class NAME"
            )


def bundle_anywhere(cell: Anywhere) -> Bundle:
    """Return what is installed in the cluster.

    Raises:
        UsageError: the customer's policy is no TOML.
    """
    # Any machine will do: those of a cluster that we did not make have no labels of ours.
    config = config_of(cell.gateway, {"nodeSelector": {}, **cell.runtime})
    return put_together(
        [
            namespace_of(cell.kubernetes),
            _storage_class(cell.storage),
            *priority(),
            *admission(),
            *agent_policies(cell, cell.api),
            *(each for each in rights() if each["metadata"]["name"] != _AUTOSCALER),
            *config,
            policy_of(cell.policy),
            *shown_and_kept(),
            *agents(cell, digest([each["data"] for each in config]), ours=False),
        ]
    )


def _storage_class(like: Mapping[str, Any]) -> Json:
    """Return a class of our name like one of the cluster's, whose volumes outlive their objects."""
    taken = ("provisioner", "parameters", "allowVolumeExpansion", "mountOptions", "allowedTopologies")
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        **{name: like[name] for name in taken if like.get(name) is not None},
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
