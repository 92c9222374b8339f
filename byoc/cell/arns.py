"""Names and ARNs of a cell's things that are known before anything is made. Pure.

Read by the components, the policies and the commands, so that a policy is plain text at plan time and
says what it will say in the account. The invariant: what is named here is created under this very name.
"""

from typing import Final, Literal

from byoc.cell.args import CellArgs
from byoc.cell.naming import physical, within

Bucket = Literal["data", "ledger"]
Role = Literal[
    "cluster", "node", "agent", "storage_driver", "network_driver", "dns", "autoscaler", "engine",
    "installer", "control", "flow_logs",
]  # fmt: skip
Function = Literal["installer", "control"]
Log = Literal["flow", "cluster", "installer", "control", "breakglass"]

BUCKETS: Final[tuple[Bucket, ...]] = ("data", "ledger")
ROLES: Final[tuple[Role, ...]] = (
    "cluster", "node", "agent", "storage_driver", "network_driver", "dns", "autoscaler", "engine",
    "installer", "control", "flow_logs",
)  # fmt: skip
"""Every role that a cell may have; the names of ``GivenRoles``."""


def roles(args: CellArgs) -> tuple[Role, ...]:
    """Return the roles that the cell has: that of engines only where they use the bucket."""
    return tuple(which for which in ROLES if which != "engine" or args.unlimited)


def prefix(args: CellArgs) -> str:
    """Return how the names of what a cell makes begin."""
    return f"byoc-{args.name}"


def bucket_name(args: CellArgs, which: Bucket) -> str:
    """Return the name of a bucket.

    It ends in the account: bucket names are the whole world's, and a cell's name is the account's.
    """
    return physical("bucket", args.name, which, args.facts.account)


def bucket_arn(args: CellArgs, which: Bucket) -> str:
    """Return the ARN of a bucket."""
    return f"arn:{args.facts.partition}:s3:::{bucket_name(args, which)}"


def role_name(args: CellArgs, which: Role) -> str:
    """Return the name of a role, also of one that the customer made."""
    if args.roles:
        return str(getattr(args.roles, which)).rpartition("/")[2]
    return physical("iam-role", args.name, which.replace("_", "-"))


def role_arn(args: CellArgs, which: Role) -> str:
    """Return the ARN of a role, also of one that the customer made."""
    if args.roles:
        return str(getattr(args.roles, which))
    return f"{_iam(args)}:role/{role_name(args, which)}"


def provider_arn(args: CellArgs, issuer: str) -> str:
    """Return the ARN of the provider for tokens of ``issuer``, an address without its scheme."""
    return f"{_iam(args)}:oidc-provider/{issuer}"


def cluster_providers(args: CellArgs) -> str:
    """Return the ARNs of the providers of all clusters of the region: one's ID is known only after it."""
    return provider_arn(args, f"oidc.eks.{args.facts.region}.amazonaws.com/id/*")


def boundary_name(args: CellArgs) -> str:
    """Return the name of the permissions boundary, also of one that the customer made."""
    if args.boundary_arn:
        return args.boundary_arn.rpartition("/")[2]
    return physical("iam-policy", args.name, "boundary")


def boundary_arn(args: CellArgs) -> str:
    """Return the ARN of the permissions boundary of every role of the cell."""
    return args.boundary_arn or f"{_iam(args)}:policy/{boundary_name(args)}"


def cluster_name(args: CellArgs) -> str:
    """Return the name of the cluster."""
    return physical("eks-cluster", args.name)


def cluster_arn(args: CellArgs) -> str:
    """Return the ARN of the cluster."""
    return f"{_regional(args, 'eks')}:cluster/{cluster_name(args)}"


def function_name(args: CellArgs, which: Function) -> str:
    """Return the name of a function in the private subnets."""
    return physical("lambda", args.name, which)


def function_arn(args: CellArgs, which: Function) -> str:
    """Return the ARN of a function in the private subnets."""
    return f"{_regional(args, 'lambda')}:function:{function_name(args, which)}"


def log_group_name(args: CellArgs, which: Log) -> str:
    """Return the name of a log group; EKS and Lambda choose theirs, so we make those before them."""
    if which == "flow":
        return within("log-group", f"/byoc/{args.name}/flow")
    if which == "breakglass":
        return within("log-group", f"/byoc/{args.name}/breakglass")
    if which == "cluster":
        return within("log-group", f"/aws/eks/{cluster_name(args)}/cluster")
    return within("log-group", f"/aws/lambda/{function_name(args, which)}")


def log_group_arn(args: CellArgs, which: Log) -> str:
    """Return the ARN of a log group, as policies name it."""
    return f"{_regional(args, 'logs')}:log-group:{log_group_name(args, which)}"


def key_alias(args: CellArgs) -> str:
    """Return the alias of the cell's own key."""
    return within("kms-alias", f"alias/{physical('kms-alias', args.name)}")


def domain(args: CellArgs) -> str:
    """Return the private zone's domain.

    ``.internal`` is reserved for private use by ICANN and will never be delegated, so no name of a cell
    can be anybody's on the internet.
    """
    return within("dns-zone", f"{args.name}.byoc.internal")


def parameter_prefix(args: CellArgs) -> str:
    """Return how the names of the cell's parameters in Systems Manager begin."""
    return within("parameter", f"/byoc/{args.name}")


def _iam(args: CellArgs) -> str:
    return f"arn:{args.facts.partition}:iam::{args.facts.account}"


def _regional(args: CellArgs, service: str) -> str:
    return f"arn:{args.facts.partition}:{service}:{args.facts.region}:{args.facts.account}"
