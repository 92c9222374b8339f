"""What EKS itself installs in the cluster, and which pods take on which role.

Made by the root component in two steps: ``NetworkAddOns`` before the machines, which are not ready
without it, and ``AddOns`` after them. The invariants: each version is a fact of the preflight; pods get
their roles by Pod Identity, before they start, so no machine's role has to bear theirs.
"""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from byoc.cell import arns, policies
from byoc.cell.args import CellArgs
from byoc.cell.arns import Role
from byoc.cell.cluster import Cluster
from byoc.cell.dns import Dns
from byoc.cell.identity import Identity, own_policy
from byoc.cell.part import Part
from byoc.cell.settings import AFTER_MACHINES, BEFORE_MACHINES, addon_version, settings_text


class _InCluster(Part):
    """What both steps do."""

    def __init__(
        self, kind: str, args: CellArgs, cluster: Cluster, *, parent: pulumi.Resource | None = None
    ) -> None:
        super().__init__(kind, args, parent=parent)
        self._cluster = cluster

    def _addon(self, addon: str, after: Sequence[pulumi.Resource]) -> aws.eks.Addon:
        name = f"addon-{addon}"
        return aws.eks.Addon(
            name,
            cluster_name=self._cluster.name,
            addon_name=addon,
            addon_version=addon_version(self.args, addon),
            configuration_values=settings_text(self.args, addon) or None,
            # What the stack says holds, also over what somebody changed in the cluster.
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=self.tags(name),
            opts=self.options(name, depends_on=after, within=self._cluster.resource),
        )

    def _pods(
        self, which: Role, role: pulumi.Input[str], after: Sequence[pulumi.Resource] = ()
    ) -> aws.eks.PodIdentityAssociation:
        name = f"pods-{which.replace('_', '-')}"
        namespace, account = policies.PODS[which]
        return aws.eks.PodIdentityAssociation(
            name,
            cluster_name=self._cluster.name,
            namespace=namespace,
            service_account=account,
            role_arn=role,
            tags=self.tags(name),
            opts=self.options(name, depends_on=after, within=self._cluster.resource),
        )


class NetworkAddOns(_InCluster):
    """Network plugin, service proxy and Pod Identity: what a machine needs to become ready.

    Attributes:
        ready: what machines wait for.
    """

    def __init__(
        self, args: CellArgs, cluster: Cluster, identity: Identity, *, parent: pulumi.Resource | None = None
    ) -> None:
        super().__init__("NetworkAddOns", args, cluster, parent=parent)
        pods = self._pods("network_driver", identity.network_driver)
        self.ready: tuple[pulumi.Resource, ...] = tuple(
            self._addon(addon, (pods,) if addon == "vpc-cni" else ()) for addon in BEFORE_MACHINES
        )
        self.register_outputs({})


class AddOns(_InCluster):
    """Cluster DNS, volumes, names of endpoints, and the roles of the cell's own pods.

    Args:
        after: the system group; the add-ons' pods need a machine.

    Attributes:
        ready: what the client's objects wait for.
    """

    def __init__(
        self,
        args: CellArgs,
        cluster: Cluster,
        identity: Identity,
        dns: Dns,
        *,
        after: Sequence[pulumi.Resource],
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__("AddOns", args, cluster, parent=parent)
        pods = {
            "aws-ebs-csi-driver": self._pods("storage_driver", identity.storage_driver),
            "external-dns": self._pods("dns", identity.dns, self._zone_rights(identity, dns)),
        }
        ours = (self._pods("agent", identity.agent), self._pods("autoscaler", identity.autoscaler))
        addons = [
            self._addon(addon, (*after, pods[addon]) if addon in pods else after) for addon in AFTER_MACHINES
        ]
        self.ready: tuple[pulumi.Resource, ...] = (*addons, *ours)
        self.register_outputs({})

    def _zone_rights(self, identity: Identity, dns: Dns) -> tuple[pulumi.Resource, ...]:
        """Let external-dns write the zone, which did not exist when its role was made."""
        if self.args.roles:
            return ()
        text = dns.zone_id.apply(lambda zone_id: policies.dns(self.args, zone_id).text())
        # By the role's ARN, which is known when the role is there.
        role = identity.dns.apply(lambda _: arns.role_name(self.args, "dns"))
        return (own_policy(self, "dns", role, text),)
