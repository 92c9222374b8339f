"""The roles of a cell and the permissions boundary over all of them; none where the customer made them.

Made by the root component after the key; the engines' role, which knows the cluster, by ``federation``. What
a role may do is said in ``policies``, what none may in ``boundary``. The invariants: every role has the
boundary; nobody outside the account is trusted; whoever is given a role's ARN waits until the role may do
all it is for.
"""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from byoc.cell import arns, policies
from byoc.cell.args import CellArgs
from byoc.cell.arns import Role
from byoc.cell.boundary import boundary
from byoc.cell.naming import physical
from byoc.cell.part import Part


class Identity(Part):
    """One role for each part of a cell that AWS must know.

    Args:
        key_arn: the cell's key.

    Attributes:
        boundary_arn: ARN of the boundary, ours or the customer's.
        cluster: ARN of a role, as all that follow.
        dns: what external-dns may do is added by ``AddOns``, which knows the zone.
    """

    def __init__(
        self, args: CellArgs, key_arn: pulumi.Input[str], *, parent: pulumi.Resource | None = None
    ) -> None:
        super().__init__("Identity", args, parent=parent)
        self._key_arn = pulumi.Output.from_input(key_arn)
        self.boundary_arn = self._boundary()
        made: Mapping[Role, pulumi.Output[str]] = {
            which: self._arn(which) for which in arns.ROLES if which != "engine"
        }
        self.cluster = made["cluster"]
        self.node = made["node"]
        self.agent = made["agent"]
        self.storage_driver = made["storage_driver"]
        self.network_driver = made["network_driver"]
        self.dns = made["dns"]
        self.autoscaler = made["autoscaler"]
        self.installer = made["installer"]
        self.control = made["control"]
        self.flow_logs = made["flow_logs"]
        self.register_outputs({"boundaryArn": self.boundary_arn, "roles": dict(made)})

    def _boundary(self) -> pulumi.Output[str]:
        if self.args.boundary_arn:
            return pulumi.Output.from_input(self.args.boundary_arn)
        if self.args.roles:
            return pulumi.Output.from_input("")
        name = "boundary"
        policy = aws.iam.Policy(
            name,
            name=arns.boundary_name(self.args),
            description="The most that any role of the cell can ever do",
            policy=boundary(self.args).text(),
            tags=self.tags(name),
            opts=self.options(name),
        )
        return policy.arn

    def _arn(self, which: Role) -> pulumi.Output[str]:
        if self.args.roles:
            return pulumi.Output.from_input(arns.role_arn(self.args, which))
        trust = policies.trust(self.args, which).text()
        made = role(self, which, trust=trust, boundary_arn=self.boundary_arn)
        ready = self._rights(which, made)
        return pulumi.Output.all(made.arn, *(each.id for each in ready)).apply(lambda known: str(known[0]))

    def _rights(self, which: Role, role: aws.iam.Role) -> list[pulumi.CustomResource]:
        made: list[pulumi.CustomResource] = []
        for policy in policies.MANAGED.get(which, ()):
            name = f"{logical_name(which)}-{policy}"
            arn = f"arn:{self.args.facts.partition}:iam::aws:policy/{policy}"
            made.append(
                aws.iam.RolePolicyAttachment(name, role=role.name, policy_arn=arn, opts=self.options(name))
            )
        if which in policies.OWN:
            text = self._key_arn.apply(lambda key_arn: policies.OWN[which](self.args, key_arn).text())
            made.append(own_policy(self, which, role.name, text))
        return made


def logical_name(which: Role) -> str:
    """Return the logical name of a role."""
    return f"role-{which.replace('_', '-')}"


def role(
    part: Part,
    which: Role,
    *,
    trust: pulumi.Input[str],
    boundary_arn: pulumi.Input[str],
    after: Sequence[pulumi.Resource] = (),
) -> aws.iam.Role:
    """Make a role below the boundary; ``trust`` says who may take it on."""
    name = logical_name(which)
    return aws.iam.Role(
        name,
        name=arns.role_name(part.args, which),
        description=policies.PURPOSES[which],
        assume_role_policy=trust,
        permissions_boundary=boundary_arn,
        tags=part.tags(name),
        opts=part.options(name, depends_on=after),
    )


def own_policy(
    part: Part, which: Role, role: pulumi.Input[str], text: pulumi.Input[str]
) -> aws.iam.RolePolicy:
    """Make the policy of ours that a role has; it goes with the role and is nobody else's."""
    name = logical_name(which)
    return aws.iam.RolePolicy(
        name,
        name=physical("iam-policy", part.args.name, name),
        role=role,
        policy=text,
        opts=part.options(name),
    )
