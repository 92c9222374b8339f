"""The installer function in the private subnets: the one thing that applies objects to the cluster.

Made by the root component where the client is delivered from inside the VPC. The invariants: its name
is fixed and it runs once at a time; it reaches the cluster's API and nothing else; whoever may call it
cannot choose what it applies.
"""

from collections.abc import Sequence
from typing import Final

import pulumi
import pulumi_aws as aws

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.installer.handler import SECONDS
from byoc.cell.manifests import Bundle
from byoc.cell.naming import physical
from byoc.cell.network import Network
from byoc.cell.package import HANDLER, package
from byoc.cell.part import Part

RUNTIME: Final = "python3.13"
_MEMORY_MIB: Final = 256
_HTTPS: Final = 443


class Installer(Part):
    """The function, its log and its door to the cluster's API.

    Args:
        bundle: what it can apply.
        role: ARN of the role it runs under; the cluster has an access entry for it.
        cluster_endpoint: ``https://`` address of the cluster's API.
        cluster_authority: the API's certificate authority, PEM in base64, as EKS gives it.
        cluster_security_group_id: group of the API's network interfaces.
        key_arn: encrypts the log.

    Attributes:
        function_name: to be called by; known before it is made.
        function: to wait for.
    """

    def __init__(
        self,
        args: CellArgs,
        bundle: Bundle,
        network: Network,
        *,
        role: pulumi.Input[str],
        cluster_endpoint: pulumi.Input[str],
        cluster_authority: pulumi.Input[str],
        cluster_security_group_id: pulumi.Input[str],
        key_arn: pulumi.Input[str],
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__("Installer", args, parent=parent)
        self.function_name = arns.function_name(args, "installer")
        group, rules = self._door(network, role, cluster_security_group_id)
        # Before the function, which else makes a log that is kept for ever.
        log = aws.cloudwatch.LogGroup(
            "installer",
            name=arns.log_group_name(args, "installer"),
            retention_in_days=args.log_days,
            kms_key_id=key_arn,
            tags=self.tags("installer"),
            opts=self.options("installer"),
        )
        environment = {
            "BYOC_CELL": args.name,
            "BYOC_CLUSTER": arns.cluster_name(args),
            "BYOC_CLUSTER_ENDPOINT": cluster_endpoint,
            "BYOC_CLUSTER_AUTHORITY": cluster_authority,
        }
        self.function = self._function(bundle, network, role, group, environment, (log, *rules))
        self.register_outputs({"functionName": self.function_name})

    def _door(
        self, network: Network, role: pulumi.Input[str], cluster_group_id: pulumi.Input[str]
    ) -> tuple[aws.ec2.SecurityGroup, tuple[pulumi.Resource, ...]]:
        name = "installer"
        # Lambda removes its network interfaces, which keep the group, under the function's role (Lambda
        # developer guide, "Giving Lambda functions access to resources in an Amazon VPC"). So at the end
        # the role must outlive the group: the group waits for it now.
        vpc_id = pulumi.Output.all(network.vpc_id, role).apply(lambda known: str(known[0]))
        group = aws.ec2.SecurityGroup(
            name,
            name=physical("security-group", self.args.name, name),
            description="Installer function: HTTPS to the API of the cluster and nothing else",
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
            description="The installer function",
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
        bundle: Bundle,
        network: Network,
        role: pulumi.Input[str],
        group: aws.ec2.SecurityGroup,
        environment: dict[str, pulumi.Input[str]],
        after: Sequence[pulumi.Resource],
    ) -> aws.lambda_.Function:
        name = "installer"
        code = {path: pulumi.StringAsset(text) for path, text in package(bundle).items()}
        return aws.lambda_.Function(
            name,
            name=self.function_name,
            description=f"Installs the Nimbus client into the cluster of cell {self.args.name}",
            runtime=RUNTIME,
            handler=HANDLER,
            code=pulumi.AssetArchive(dict(code)),
            role=role,
            timeout=SECONDS,
            memory_size=_MEMORY_MIB,
            # Two at once would undo each other's work.
            reserved_concurrent_executions=1,
            environment=aws.lambda_.FunctionEnvironmentArgs(variables=environment),
            vpc_config=aws.lambda_.FunctionVpcConfigArgs(
                subnet_ids=[subnet.id for subnet in network.private], security_group_ids=[group.id]
            ),
            tags=self.tags(name),
            opts=self.options(name, depends_on=after),
        )
