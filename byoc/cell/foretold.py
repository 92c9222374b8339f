"""What a resource will be called once it exists, as far as that is known before. Pure.

Read by the recorder, which stands in for the engine: an ID or ARN that follows from a name is given as
it will be, everything else as ``UNKNOWN``. So a policy can be read before anything is made.
"""

from collections.abc import Mapping
from typing import Any, Final

from byoc.cell.args import Facts

UNKNOWN: Final = "<known after apply>"

_PROVIDER: Final = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"
_BY_NAME: Final = {
    "aws:cloudwatch/logGroup:LogGroup": "name",
    "aws:eks/cluster:Cluster": "name",
    "aws:iam/role:Role": "name",
    "aws:kms/alias:Alias": "name",
    "aws:lambda/function:Function": "name",
    "aws:s3/bucket:Bucket": "bucket",
    "aws:ssm/parameter:Parameter": "name",
}
"""Type of a resource whose ID is its name, to the input that says it."""

_ARNS: Final = {
    "aws:cloudwatch/logGroup:LogGroup": "arn:{partition}:logs:{region}:{account}:log-group:{name}",
    "aws:eks/cluster:Cluster": "arn:{partition}:eks:{region}:{account}:cluster/{name}",
    "aws:iam/policy:Policy": "arn:{partition}:iam::{account}:policy/{name}",
    "aws:iam/role:Role": "arn:{partition}:iam::{account}:role/{name}",
    "aws:kms/key:Key": "arn:{partition}:kms:{region}:{account}:key/{name}",
    "aws:lambda/function:Function": "arn:{partition}:lambda:{region}:{account}:function:{name}",
    "aws:s3/bucket:Bucket": "arn:{partition}:s3:::{name}",
}
"""Type of a resource to the form of its ARN (Service Authorization Reference, "Resource types")."""


def identity(kind: str, inputs: Mapping[str, Any]) -> str:
    """Return the ID of a resource of type ``kind``."""
    return str(inputs.get(_BY_NAME.get(kind, ""), UNKNOWN))


def computed(kind: str, inputs: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """Return the outputs that follow from the inputs of a resource of type ``kind``."""
    if kind == "aws:route53/zone:Zone":
        return {"zoneId": UNKNOWN}  # so that the policy on it can be read
    if kind == _PROVIDER:
        issuer = str(inputs["url"]).removeprefix("https://")
        return {"arn": f"arn:{facts.partition}:iam::{facts.account}:oidc-provider/{issuer}"}
    form = _ARNS.get(kind)
    if form is None:
        return {}
    name = inputs.get("name", inputs.get("bucket", UNKNOWN))
    known: dict[str, Any] = {
        "arn": form.format(partition=facts.partition, region=facts.region, account=facts.account, name=name)
    }
    if kind == "aws:eks/cluster:Cluster":
        # Beside what the program says of the network, EKS says the group it makes.
        known["vpcConfig"] = {**inputs["vpcConfig"], "clusterSecurityGroupId": UNKNOWN}
        # So that the policies that name it can be read.
        known["identities"] = [{"oidcs": [{"issuer": UNKNOWN}]}]
    return known
