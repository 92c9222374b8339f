"""The cluster: EKS with a private address only, and who may enter it.

Made by the root component after the network. Decisions that AWS leaves open, and why:

* *Private endpoint only*: nothing of the API is on the internet, so nothing has to guard it there.
* *No administrator by creation* (``bootstrapClusterCreatorAdminPermissions`` false): who runs the stack
  has no standing right in the cluster; who has one is an access entry below, in the stack, in the plan.
* *No self-managed add-ons* (``bootstrapSelfManagedAddons`` false): EKS would install network plugin,
  proxy and DNS by itself, without our settings; ``addons`` brings them with theirs.
* *Upgrade policy STANDARD*: a version that leaves standard support is upgraded by EKS, instead of being
  kept at six times the price (EKS user guide, "Understand the Kubernetes version lifecycle").
* *No deletion protection*: the cluster holds no data. Volumes, buckets and key outlive it and have their
  own protection; with EKS's, ``byoc cell destroy`` could not end what it began.
"""

from typing import Final, cast

import pulumi
import pulumi_aws as aws

from byoc.cell import arns
from byoc.cell.args import CellArgs, Delivery
from byoc.cell.identity import Identity
from byoc.cell.incluster import CONTROL_GROUP
from byoc.cell.network import Network
from byoc.cell.part import Part
from byoc.cell.subnets import SERVICE_RANGES

LOG_TYPES: Final = ("api", "audit", "authenticator", "controllerManager", "scheduler")
"""Every log of the control plane (EKS API reference, LogSetup)."""
_ADMINISTRATOR: Final = "AmazonEKSClusterAdminPolicy"


class Cluster(Part):
    """The EKS cluster, its log and its access entries.

    Args:
        key_arn: encrypts the cluster's secrets and its log.

    Attributes:
        name: known once the cluster exists.
        endpoint: ``https://`` address of the API, which answers inside the VPC only.
        certificate: the API's certificate authority, PEM in base64.
        issuer: ``https://`` address that the cluster's tokens name as their maker.
        security_group_id: group of the API's network interfaces and of every machine.
        resource: what lives in the cluster is deleted with.
        ready: access entries; what is to be applied to the cluster waits for them.
    """

    def __init__(
        self,
        args: CellArgs,
        network: Network,
        identity: Identity,
        key_arn: pulumi.Input[str],
        *,
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__("Cluster", args, parent=parent)
        self.resource = self._cluster(network, identity, key_arn, self._log(key_arn))
        self.name: pulumi.Output[str] = self.resource.name
        self.endpoint: pulumi.Output[str] = self.resource.endpoint
        self.certificate: pulumi.Output[str] = self.resource.certificate_authority.apply(
            lambda authority: cast("str", authority.data)
        )
        self.issuer: pulumi.Output[str] = self.resource.identities.apply(
            lambda found: cast("str", (found[0].oidcs or ())[0].issuer)
        )
        self.security_group_id: pulumi.Output[str] = self.resource.vpc_config.apply(
            lambda config: cast("str", config.cluster_security_group_id)
        )
        self.ready = self._access(identity)
        self.register_outputs({"name": self.name, "endpoint": self.endpoint})

    def _log(self, key_arn: pulumi.Input[str]) -> aws.cloudwatch.LogGroup:
        # Before the cluster, which else makes a log that is kept for ever.
        name = "cluster"
        return aws.cloudwatch.LogGroup(
            name,
            name=arns.log_group_name(self.args, "cluster"),
            retention_in_days=self.args.log_days,
            kms_key_id=key_arn,
            tags=self.tags(name),
            opts=self.options(name),
        )

    def _cluster(
        self,
        network: Network,
        identity: Identity,
        key_arn: pulumi.Input[str],
        log: aws.cloudwatch.LogGroup,
    ) -> aws.eks.Cluster:
        name = "cluster"
        return aws.eks.Cluster(
            name,
            name=arns.cluster_name(self.args),
            role_arn=identity.cluster,
            version=self.args.facts.kubernetes,
            vpc_config=aws.eks.ClusterVpcConfigArgs(
                subnet_ids=[subnet.id for subnet in network.private],
                endpoint_private_access=True,
                endpoint_public_access=False,
            ),
            kubernetes_network_config=aws.eks.ClusterKubernetesNetworkConfigArgs(
                ip_family="ipv4", service_ipv4_cidr=str(SERVICE_RANGES[0])
            ),
            access_config=aws.eks.ClusterAccessConfigArgs(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=False
            ),
            encryption_config=aws.eks.ClusterEncryptionConfigArgs(
                provider=aws.eks.ClusterEncryptionConfigProviderArgs(key_arn=key_arn), resources=["secrets"]
            ),
            enabled_cluster_log_types=list(LOG_TYPES),
            upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
            bootstrap_self_managed_addons=False,
            deletion_protection=False,
            tags=self.tags(name),
            opts=self.options(name, depends_on=(log,)),
        )

    def _access(self, identity: Identity) -> tuple[pulumi.Resource, ...]:
        ready: list[pulumi.Resource] = []
        if self.args.delivery is Delivery.IN_VPC:
            # It makes roles and admission policies: Kubernetes lets nobody give what they have not.
            ready += self._administrator("access-installer", identity.installer)
            ready.append(self._entry("access-control", identity.control, groups=[CONTROL_GROUP]))
        for number, arn in enumerate(self.args.administrators, 1):
            ready += self._administrator(f"access-admin-{number}", arn)
        return tuple(ready)

    def _administrator(self, name: str, role: pulumi.Input[str]) -> list[pulumi.Resource]:
        entry = self._entry(name, role, groups=[])
        policy = f"arn:{self.args.facts.partition}:eks::aws:cluster-access-policy/{_ADMINISTRATOR}"
        association = aws.eks.AccessPolicyAssociation(
            name,
            cluster_name=self.name,
            principal_arn=role,
            policy_arn=policy,
            access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
            opts=self.options(name, depends_on=(entry,), within=self.resource),
        )
        return [entry, association]

    def _entry(self, name: str, role: pulumi.Input[str], *, groups: list[str]) -> aws.eks.AccessEntry:
        return aws.eks.AccessEntry(
            name,
            cluster_name=self.name,
            principal_arn=role,
            type="STANDARD",
            kubernetes_groups=groups or None,
            tags=self.tags(name),
            opts=self.options(name, within=self.resource),
        )
