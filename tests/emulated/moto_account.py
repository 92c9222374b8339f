"""What the emulation's account lacks: quotas, the simulation of policies, EKS's images, AWS's policies.

Installed into moto before its server first answers.
"""

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import camelcase_to_underscores
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.responses import EC2Response
from moto.iam import models as iam_models
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.responses import IamResponse
from moto.kms.responses import KmsResponse
from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse
from moto.ssm.responses import SimpleSystemManagerResponse

Json = dict[str, Any]
MANAGED = (
    "AmazonEKSClusterPolicy",
    "AmazonEKSVPCResourceController",
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKSWorkerNodeMinimalPolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryReadOnly",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonSSMManagedInstanceCore",
    "AWSLambdaBasicExecutionRole",
    "AWSLambdaVPCAccessExecutionRole",
    "AdministratorAccess",
)
"""The policies of AWS that exist: all of them would make each reset take 1.7 s."""
QUOTAS: dict[tuple[str, str], tuple[str, float]] = {
    ("vpc", "L-F678F1CE"): ("VPCs per Region", 5.0),
    ("vpc", "L-FE5A380F"): ("NAT gateways per Availability Zone", 5.0),
    ("vpc", "L-29B6F2EB"): ("Interface VPC endpoints per VPC", 50.0),
    ("ec2", "L-0263D0A3"): ("EC2-VPC Elastic IPs", 5.0),
    ("ec2", "L-1216C47A"): ("Running On-Demand Standard instances", 64.0),
    ("eks", "L-1194D53C"): ("Clusters", 100.0),
}
"""Service and code of a quota, to its name and AWS's default."""
AMI_RELEASE = "1.34.7-20260512"
_RELEASES = "/aws/service/eks/optimized-ami/"


def simulate(documents: list[Json], boundary: Json | None, action: str) -> tuple[str, list[str]]:
    """Judge one action on any resource: the decision, and the context keys it hangs on.

    Three-valued as AWS's: what only a condition stands in the way of is an implicit denial that names the
    keys it was not given. Conditions are not evaluated.
    """
    rows = [row for document in documents for row in _statements(document)]
    matching = [row for row in rows if _names(row, action)]
    if any(row["Effect"] == "Deny" and not row.get("Condition") for row in matching):
        return "explicitDeny", []
    decision, missing = _granted(matching)
    if decision == "allowed" and boundary is not None:
        return _granted([row for row in _statements(boundary) if _names(row, action)])
    return decision, missing


def _granted(matching: list[Json]) -> tuple[str, list[str]]:
    allows = [row for row in matching if row["Effect"] == "Allow"]
    if any(not row.get("Condition") for row in allows):
        return "allowed", []
    keys = {key for row in allows for tests in row["Condition"].values() for key in tests}
    return "implicitDeny", sorted(keys)


def _statements(document: Json) -> list[Json]:
    rows = document["Statement"]
    return rows if isinstance(rows, list) else [rows]


def _names(row: Json, action: str) -> bool:
    def matches(patterns: Any) -> bool:
        texts = [patterns] if isinstance(patterns, str) else patterns
        return any(fnmatchcase(action.lower(), one.lower()) for one in texts)

    return matches(row["Action"]) if "Action" in row else not matches(row.get("NotAction", "*"))


def _documents(backend: Any, arn: str) -> Iterator[Json]:
    """The policies of a user or role."""
    name, kind = arn.rpartition("/")[2], arn.rpartition(":")[2].partition("/")[0]
    who = backend.get_user(name) if kind == "user" else backend.get_role(name)
    for policy in who.managed_policies.values():
        yield _current(policy)
    for text in who.policies.values():
        yield json.loads(text if isinstance(text, str) else text["policy_document"])


def _current(policy: Any) -> Json:
    """The version of a shared policy that counts."""
    document: Json = json.loads(
        next(one.document for one in policy.versions if one.version_id == policy.default_version_id)
    )
    return document


def _simulate_principal_policy(self: Any) -> ActionResult:
    arn = self._get_param("PolicySourceArn")
    documents = list(_documents(self.backend, arn))
    boundary = None
    if ":role/" in arn:
        bound = self.backend.get_role(arn.rpartition("/")[2]).permissions_boundary_arn
        boundary = _current(self.backend.get_policy(bound)) if bound else None
    results = []
    for action in self.params["ActionNames"]:
        decision, missing = simulate(documents, boundary, action)
        results.append(
            {
                "EvalActionName": action,
                "EvalResourceName": "*",
                "EvalDecision": decision,
                "MatchedStatements": [],
                "MissingContextValues": missing,
            }
        )
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})


def _quota(_: Any, service_code: str, quota_code: str) -> Json:
    from moto.servicequotas.exceptions import NoSuchResource  # noqa: PLC0415 - a name of the emulation's

    try:
        name, value = QUOTAS[service_code, quota_code]
    except KeyError:
        raise NoSuchResource from None
    return {
        "ServiceCode": service_code,
        "QuotaCode": quota_code,
        "QuotaName": name,
        "Value": value,
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }


_installed: list[bool] = []


def install() -> None:
    """Give moto what it lacks; a second time does nothing."""
    if _installed:
        return
    _installed.append(True)
    kept = {name: row for name, row in json.loads(aws_managed_policies_data).items() if name in MANAGED}
    models: Any = iam_models
    models.aws_managed_policies_data = json.dumps(kept)
    models.load_iam_aws_managed_policies = lambda: True
    responder: Any = IamResponse
    responder.simulate_principal_policy = _simulate_principal_policy
    quotas: Any = ServiceQuotasBackend
    quotas.get_service_quota = _quota
    answers: Any = ServiceQuotasResponse
    answers.get_aws_default_service_quota = ServiceQuotasResponse.get_service_quota
    parameters: Any = SimpleSystemManagerResponse
    parameters.get_parameter = _with_images(SimpleSystemManagerResponse.get_parameter)
    _install_small_things()


def _no_dry_deeds(self: Any) -> Any:
    """End every dry run of EC2 once the caller is known to have the right; moto does some of them."""
    if str(self._get_param("DryRun")).lower() == "true":
        # In place of the deed, which comes after the look at the caller's rights.
        setattr(self, camelcase_to_underscores(self._get_action()), self.error_on_dryrun)
    return BaseResponse.call_action(self)


def _install_small_things() -> None:
    """What moto takes and does not give back: how often a key turns, what a rule between groups is for."""
    keys: Any = KmsResponse
    enable, status = KmsResponse.enable_key_rotation, KmsResponse.get_key_rotation_status

    def enable_key_rotation(self: Any) -> str:
        answer: str = enable(self)
        key = self.kms_backend.keys[self.kms_backend.get_key_id(self._get_param("KeyId"))]
        key.rotation_period = self._get_param("RotationPeriodInDays") or 365
        return answer

    def get_key_rotation_status(self: Any) -> str:
        answer: Json = json.loads(status(self))
        key = self.kms_backend.keys[self.kms_backend.get_key_id(self._get_param("KeyId"))]
        if answer["KeyRotationEnabled"]:
            answer["RotationPeriodInDays"] = getattr(key, "rotation_period", 365)
        return json.dumps(answer)

    keys.enable_key_rotation, keys.get_key_rotation_status = enable_key_rotation, get_key_rotation_status
    asked: Any = EC2Response
    asked.call_action = _no_dry_deeds
    rule: Any = SecurityGroupRule
    rule.description = property(
        lambda self: self.ip_range.get("Description") or self.source_group.get("Description")
    )


def _with_images(get_parameter: Any) -> Any:
    def answering(self: Any) -> Any:
        name = str(self._get_param("Name"))
        if not name.startswith(_RELEASES):
            return get_parameter(self)
        about = {"Name": name, "Type": "String", "Value": AMI_RELEASE, "Version": 1, "DataType": "text"}
        return json.dumps({"Parameter": about})

    return answering
