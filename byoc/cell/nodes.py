"""The machines of a cell: one group for its own pods, and one a zone and type for workspaces.

Made by the root component after the network plugin, without which no machine becomes ready. The
invariants: no machine has a public address, a login or an unencrypted disk, or answers for its role's
credentials to a pod; the number of workspace machines is the autoscaler's.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

import pulumi
import pulumi_aws as aws

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.cluster import Cluster
from byoc.cell.groups import HINT, Group, groups, hints
from byoc.cell.identity import Identity
from byoc.cell.incluster import SYSTEM_GROUP, WORKSPACE_GROUP
from byoc.cell.naming import physical
from byoc.cell.network import Network
from byoc.cell.part import Part
from byoc.cell.policies import CLUSTER_ENI_TAG

_ROOT_DISK: Final = "/dev/xvda"
"""Of Amazon Linux 2023."""
_NO_SCHEDULE: Final = "NO_SCHEDULE"


class NodeGroups(Part):
    """Managed node groups and their launch templates.

    Args:
        key_arn: encrypts the machines' disks.
        after: what a machine needs to become ready: network plugin, routes, endpoints.

    Attributes:
        system: the group of the cell's own pods; what needs a machine waits for it.
        ready: every group, and what the autoscaler must know of each.
    """

    def __init__(
        self,
        args: CellArgs,
        cluster: Cluster,
        network: Network,
        identity: Identity,
        key_arn: pulumi.Input[str],
        *,
        after: Sequence[pulumi.Resource],
        parent: pulumi.Resource | None = None,
    ) -> None:
        super().__init__("NodeGroups", args, parent=parent)
        templates = {kind: self._template(kind, key_arn) for kind in (SYSTEM_GROUP, WORKSPACE_GROUP)}
        made: dict[str, aws.eks.NodeGroup] = {}
        described: list[pulumi.Resource] = []
        for group in groups(args, tuple(dict.fromkeys(subnet.zone for subnet in network.private))):
            subnets = [subnet.id for subnet in network.private if subnet.zone in group.zones]
            node_group = self._group(group, cluster, identity, templates[group.kind], subnets, after)
            made[group.name] = node_group
            described += self._hints(group, node_group)
        self.system = made[SYSTEM_GROUP]
        self.ready: tuple[pulumi.Resource, ...] = (*made.values(), *described)
        self.register_outputs({})

    def _template(self, kind: str, key_arn: pulumi.Input[str]) -> aws.ec2.LaunchTemplate:
        name = f"machines-{kind}"
        tags = self.tags(name)
        # The first interface of a machine is made by EC2; with this tag the network plugin may use it.
        interface = {**tags, CLUSTER_ENI_TAG: arns.cluster_name(self.args)}
        return aws.ec2.LaunchTemplate(
            name,
            name=physical("launch-template", self.args.name, kind),
            description=f"Machines of cell {self.args.name}: {kind}",
            update_default_version=True,
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled",
                http_tokens="required",
                # One hop ends at the machine: a pod with a network of its own gets no answer.
                http_put_response_hop_limit=1,
                instance_metadata_tags="disabled",
            ),
            block_device_mappings=[
                aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                    device_name=_ROOT_DISK,
                    ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                        volume_type="gp3",
                        volume_size=self.args.nodes.disk_gib,
                        encrypted="true",
                        kms_key_id=key_arn,
                        delete_on_termination="true",
                    ),
                )
            ],
            tag_specifications=[
                aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=what, tags=given)
                for what, given in (("instance", tags), ("volume", tags), ("network-interface", interface))
            ],
            tags=tags,
            opts=self.options(name),
        )

    def _group(
        self,
        group: Group,
        cluster: Cluster,
        identity: Identity,
        template: aws.ec2.LaunchTemplate,
        subnets: Sequence[pulumi.Output[str]],
        after: Sequence[pulumi.Resource],
    ) -> aws.eks.NodeGroup:
        facts = self.args.facts
        return aws.eks.NodeGroup(
            group.name,
            cluster_name=cluster.name,
            node_group_name=group.physical_name,
            node_role_arn=identity.node,
            subnet_ids=list(subnets),
            instance_types=[group.instance_type],
            capacity_type="ON_DEMAND",
            ami_type=group.ami_type,
            version=facts.kubernetes,
            release_version=facts.ami_release,
            # A machine that may not be emptied is not replaced: disruption budgets win.
            force_update_version=False,
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                min_size=group.minimum, desired_size=group.minimum, max_size=group.maximum
            ),
            update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
            labels=group.labels,
            taints=[
                aws.eks.NodeGroupTaintArgs(key=key, value=value, effect=_NO_SCHEDULE)
                for key, value in group.taints.items()
            ],
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            tags=self.tags(group.name),
            opts=self.options(group.name, depends_on=after),
        )

    def _hints(self, group: Group, made: aws.eks.NodeGroup) -> list[pulumi.Resource]:
        scaling = made.resources.apply(_scaling_group)
        made_of = hints(group, self.args.nodes.disk_gib)
        return [
            aws.autoscaling.Tag(
                name,
                autoscaling_group_name=scaling,
                tag=aws.autoscaling.TagTagArgs(key=key, value=value, propagate_at_launch=False),
                opts=self.options(name),
            )
            for name, key, value in (
                (f"hint-{group.name}-{key.removeprefix(HINT).replace('/', '.')}", key, value)
                for key, value in made_of.items()
            )
        ]


def _scaling_group(found: Sequence[aws.eks.outputs.NodeGroupResource]) -> str:
    return cast("str", cast("Sequence[Any]", found[0].autoscaling_groups)[0].name)
