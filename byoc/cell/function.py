"""The functions in the private subnets: one installs, the other is the customer's way to the papers.

Made by the root component where the client is delivered from inside the VPC. The invariants: their names
are fixed; they reach the cluster's API and nothing else; whoever may call one can do what it is for and
no more, so that IAM can grant one without the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from byoc.cell import arns, package
from byoc.cell.args import CellArgs
from byoc.cell.control import handler as control
from byoc.cell.installer import handler as installer
from byoc.cell.manifests import Bundle
from byoc.cell.naming import physical
from byoc.cell.network import Network
from byoc.cell.part import Part

RUNTIME: Final = "python3.13"
_MEMORY_MIB: Final = 256
_HTTPS: Final = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the cluster's API is, for a function.

    Attributes:
        endpoint: ``https://`` address.
        authority: the API's certificate authority, PEM in base64, as EKS gives it.
        security_group_id: group of the API's network interfaces.
        key_arn: encrypts the function's log.
    """

    endpoint: pulumi.Input[str]
    authority: pulumi.Input[str]
    security_group_id: pulumi.Input[str]
    key_arn: pulumi.Input[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What one of the functions is.

    Attributes:
        title: of its part of the cell.
        what: how a person is told of it.
        does: what it is for.
        seconds: after so long Lambda ends it.
        at_once: how often it may run at the same time; None for as often as the account lets it.
    """

    which: arns.Function
    title: str
    what: str
    does: str
    handler: str
    seconds: int
    at_once: int | None = None


_INSTALLER: Final = Kind(
    which="installer",
    title="Installer",
    what="Installer function",
    does="Installs the Nimbus client into the cluster of cell",
    handler=package.INSTALLER,
    seconds=installer.SECONDS,
    # Two at once would undo each other's work.
    at_once=1,
)
_CONTROL: Final = Kind(
    which="control",
    title="Control",
    what="Control function",
    does="Brings the customer to the policy, the approvals and the kill switch of cell",
    handler=package.CONTROL,
    seconds=control.SECONDS,
)


class InVpc(Part):
    """A function, its log and its door to the cluster's API.

    Args:
        kind: which.
        files: its package, path to text.
        role: ARN of the role it runs under; the cluster has an access entry for it.
        cluster: where the API is.

    Attributes:
        function_name: to be called by; known before it is made.
        function: to wait for.
    """

    def __init__(
        self,
        kind: Kind,
        args: CellArgs,
        files: Mapping[str, str],
        network: Network,
        *,
        role: pulumi.Input[str],
        cluster: Door,
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__(kind.title, args, parent=parent)
        self._kind = kind
        self.function_name = arns.function_name(args, kind.which)
        group, rules = self._door(network, role, cluster.security_group_id)
        # Before the function, which else makes a log that is kept for ever.
        log = aws.cloudwatch.LogGroup(
            kind.which,
            name=arns.log_group_name(args, kind.which),
            retention_in_days=args.log_days,
            kms_key_id=cluster.key_arn,
            tags=self.tags(kind.which),
            opts=self.options(kind.which),
        )
        environment = {
            "BYOC_CELL": args.name,
            "BYOC_CLUSTER": arns.cluster_name(args),
            "BYOC_CLUSTER_ENDPOINT": cluster.endpoint,
            "BYOC_CLUSTER_AUTHORITY": cluster.authority,
        }
        self.function = self._function(files, network, role, group, environment, (log, *rules))
        self.register_outputs({"functionName": self.function_name})

    def _door(
        self, network: Network, role: pulumi.Input[str], cluster_group_id: pulumi.Input[str]
    ) -> tuple[aws.ec2.SecurityGroup, tuple[pulumi.Resource, ...]]:
        name = self._kind.which
        # Lambda removes its network interfaces, which keep the group, under the function's role (Lambda
        # developer guide, "Giving Lambda functions access to resources in an Amazon VPC"). So at the end
        # the role must outlive the group: the group waits for it now.
        vpc_id = pulumi.Output.all(network.vpc_id, role).apply(lambda known: str(known[0]))
        group = aws.ec2.SecurityGroup(
            name,
            name=physical("security-group", self.args.name, name),
            description=f"{self._kind.what}: HTTPS to the API of the cluster and nothing else",
            vpc_id=vpc_id,
            tags=self.tags(name),
            opts=self.options(name),
        )
        out = aws.vpc.SecurityGroupEgressRule(
            name,
            security_group_id=group.id,
            description="The API of the cluster",
            ip_protocol="tcp",
            from_port=_HTTPS,
            to_port=_HTTPS,
            referenced_security_group_id=cluster_group_id,
            tags=self.tags(name),
            opts=self.options(name),
        )
        into = aws.vpc.SecurityGroupIngressRule(
            name,
            security_group_id=cluster_group_id,
            description=f"The {self._kind.what.lower()}",
            ip_protocol="tcp",
            from_port=_HTTPS,
            to_port=_HTTPS,
            referenced_security_group_id=group.id,
            tags=self.tags(name),
            opts=self.options(name),
        )
        return group, (out, into)

    def _function(
        self,
        files: Mapping[str, str],
        network: Network,
        role: pulumi.Input[str],
        group: aws.ec2.SecurityGroup,
        environment: dict[str, pulumi.Input[str]],
        after: Sequence[pulumi.Resource],
    ) -> aws.lambda_.Function:
        kind, name = self._kind, self._kind.which
        code = {path: pulumi.StringAsset(text) for path, text in files.items()}
        return aws.lambda_.Function(
            name,
            name=self.function_name,
            description=f"{kind.does} {self.args.name}",
            runtime=RUNTIME,
            handler=kind.handler,
            code=pulumi.AssetArchive(dict(code)),
            role=role,
            timeout=kind.seconds,
            memory_size=_MEMORY_MIB,
            reserved_concurrent_executions=kind.at_once,
            environment=aws.lambda_.FunctionEnvironmentArgs(variables=environment),
            vpc_config=aws.lambda_.FunctionVpcConfigArgs(
                subnet_ids=[subnet.id for subnet in network.private], security_group_ids=[group.id]
            ),
            tags=self.tags(name),
            opts=self.options(name, depends_on=after),
        )


class Installer(InVpc):
    """The one thing that applies objects to the cluster; who may call it cannot choose which."""

    def __init__(
        self,
        args: CellArgs,
        bundle: Bundle,
        network: Network,
        *,
        role: pulumi.Input[str],
        cluster: Door,
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__(
            _INSTALLER, args, package.package(bundle), network, role=role, cluster=cluster, parent=parent
        )


class Control(InVpc):
    """The customer's way to the papers of the cell, past every control plane."""

    def __init__(
        self,
        args: CellArgs,
        network: Network,
        *,
        role: pulumi.Input[str],
        cluster: Door,
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__(
            _CONTROL, args, package.control_package(), network, role=role, cluster=cluster, parent=parent
        )
