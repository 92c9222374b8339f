"""What lives in a cluster of EKS: add-ons, who may enter, and which pods have which role."""

import json
from collections.abc import Iterator
from typing import Any

from tests.emulated.handlers.eks import INVALID, retag
from tests.emulated.handlers.handler import (
    ACCOUNT,
    REGION,
    Aws,
    Handler,
    Inputs,
    Properties,
    Refused,
    fixed,
    found,
    paths,
    put,
    register,
)
from tests.emulated.handlers.iam import statements

_CONFLICTS = {"NONE", "OVERWRITE", "PRESERVE"}


@register("aws:eks/addon:Addon")
class Addon(Handler):
    """Software that EKS keeps in a cluster."""

    replace = paths("clusterName addonName namespaceConfig")
    computed = paths("arn createdAt modifiedAt")
    decided = paths("addonVersion")
    unread = paths("resolveConflictsOnCreate resolveConflictsOnUpdate preserve")
    documents = paths("configurationValues")

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['clusterName']}:{inputs['addonName']}"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if text := inputs.get("configurationValues"):
            try:
                json.loads(text)
            except ValueError:
                yield f"{INVALID}: ConfigurationValue is not JSON"
        for name in ("resolveConflictsOnCreate", "resolveConflictsOnUpdate"):
            allowed = _CONFLICTS - ({"PRESERVE"} if name.endswith("Create") else set())
            if inputs.get(name, "NONE") not in allowed:
                yield f"{name} is one of {', '.join(sorted(allowed))}"

    def _asked(self, aws: Aws, inputs: Inputs, on: str) -> Properties:
        name, version = inputs["addonName"], inputs.get("addonVersion")
        cluster = aws("eks").describe_cluster(name=inputs["clusterName"])["cluster"]
        rows = aws("eks").describe_addon_versions(addonName=name, kubernetesVersion=cluster["version"])[
            "addons"
        ]
        offered = {each["addonVersion"] for one in rows for each in one["addonVersions"]}
        if not offered:
            raise Refused(INVALID, f"Addon {name} specified is not supported in {cluster['version']}")
        if version and version not in offered:
            raise Refused(INVALID, f"Addon version {version} specified is not supported")
        return put(
            {"clusterName": inputs["clusterName"], "addonName": name},
            addonVersion=version,
            configurationValues=inputs.get("configurationValues"),
            serviceAccountRoleArn=inputs.get("serviceAccountRoleArn"),
            resolveConflicts=inputs.get(on),
        )

    def create(self, aws: Aws, inputs: Inputs) -> str:
        about = put({}, tags=inputs.get("tags"))
        aws("eks").create_addon(**self._asked(aws, inputs, "resolveConflictsOnCreate"), **about)
        return self.key(inputs)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        cluster, _, name = identity.partition(":")
        row = found(lambda: aws("eks").describe_addon(clusterName=cluster, addonName=name)["addon"])
        return row and put(
            {"arn": row["addonArn"], "clusterName": cluster, "addonName": name},
            addonVersion=row.get("addonVersion"),
            configurationValues=row.get("configurationValues"),
            serviceAccountRoleArn=row.get("serviceAccountRoleArn"),
            tags=row.get("tags"),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if changed & {"addonVersion", "configurationValues", "serviceAccountRoleArn"}:
            asked = self._asked(aws, inputs, "resolveConflictsOnUpdate")
            aws("eks").update_addon(**{"configurationValues": "", **asked})
        if "tags" in changed:
            live = self.read(aws, identity) or {}
            retag(aws, live["arn"], live.get("tags", {}), inputs.get("tags"))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        cluster, _, name = identity.partition(":")
        preserve = bool(state.get("preserve"))
        found(lambda: aws("eks").delete_addon(clusterName=cluster, addonName=name, preserve=preserve))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        where = f"{inputs.get('clusterName')}/{inputs.get('addonName')}"
        return {"arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:addon/{where}/made"}


@register("aws:eks/accessEntry:AccessEntry")
class AccessEntry(Handler):
    """A principal of IAM that may enter a cluster."""

    replace = paths("clusterName principalArn type")
    computed = paths("accessEntryArn createdAt modifiedAt")
    decided = paths("userName")
    unordered = paths("kubernetesGroups")
    defaults = fixed({"type": "STANDARD"})

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['clusterName']}:{inputs['principalArn']}"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        groups = inputs.get("kubernetesGroups", ())
        for group in groups:
            if group.startswith(("system:", "eks:", "aws:", "amazon:", "iam:")):
                yield f"{INVALID}: The kubernetes group name {group} is invalid, it cannot start with system:"
        if groups and inputs.get("type", "STANDARD") != "STANDARD":
            yield f"{INVALID}: only entries of type STANDARD name groups"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        arn = inputs["principalArn"]
        if ":role/" in arn:
            aws("iam").get_role(RoleName=arn.rpartition("/")[2])
        about = put({}, kubernetesGroups=inputs.get("kubernetesGroups"), tags=inputs.get("tags"))
        put(about, type=inputs.get("type"), username=inputs.get("userName"))
        aws("eks").create_access_entry(clusterName=inputs["clusterName"], principalArn=arn, **about)
        return self.key(inputs)

    def _row(self, aws: Aws, identity: str) -> Any:
        cluster, _, arn = identity.partition(":")
        return found(
            lambda: aws("eks").describe_access_entry(clusterName=cluster, principalArn=arn)["accessEntry"]
        )

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = self._row(aws, identity)
        return row and put(
            {
                "accessEntryArn": row["accessEntryArn"],
                "clusterName": row["clusterName"],
                "principalArn": row["principalArn"],
                "type": row["type"],
            },
            kubernetesGroups=row.get("kubernetesGroups"),
            userName=row.get("username"),
            tags=row.get("tags"),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if changed & {"kubernetesGroups", "userName"}:
            aws("eks").update_access_entry(
                clusterName=inputs["clusterName"],
                principalArn=inputs["principalArn"],
                kubernetesGroups=list(inputs.get("kubernetesGroups") or ()),
                **put({}, username=inputs.get("userName")),
            )
        if "tags" in changed:
            row = self._row(aws, identity)
            retag(aws, row["accessEntryArn"], row.get("tags", {}), inputs.get("tags"))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        cluster, _, arn = identity.partition(":")
        found(lambda: aws("eks").delete_access_entry(clusterName=cluster, principalArn=arn))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return {
            "accessEntryArn": f"arn:aws:eks:{REGION}:{ACCOUNT}:access-entry/{inputs.get('clusterName')}/made"
        }


@register("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
class AccessPolicyAssociation(Handler):
    """What who entered may do."""

    replace = paths("clusterName principalArn policyArn accessScope")
    computed = paths("associatedAt modifiedAt")
    unordered = paths("accessScope.namespaces")

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['clusterName']}#{inputs['principalArn']}#{inputs['policyArn']}"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        scope = inputs["accessScope"]
        if scope.get("type") not in {"cluster", "namespace"}:
            yield f"{INVALID}: {scope.get('type')} is neither cluster nor namespace"
        elif (scope["type"] == "namespace") != bool(scope.get("namespaces")):
            yield f"{INVALID}: namespaces are named for a scope of type namespace"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        aws("eks").associate_access_policy(
            clusterName=inputs["clusterName"],
            principalArn=inputs["principalArn"],
            policyArn=inputs["policyArn"],
            accessScope=inputs["accessScope"],
        )
        return self.key(inputs)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        cluster, principal, policy = identity.split("#")
        rows = found(
            lambda: aws("eks").list_associated_access_policies(clusterName=cluster, principalArn=principal)[
                "associatedAccessPolicies"
            ]
        )
        for row in rows or ():
            if row["policyArn"] == policy:
                scope = put(
                    {"type": row["accessScope"]["type"]}, namespaces=row["accessScope"].get("namespaces")
                )
                return {
                    "clusterName": cluster,
                    "principalArn": principal,
                    "policyArn": policy,
                    "accessScope": scope,
                }
        return None

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        cluster, principal, policy = identity.split("#")
        found(
            lambda: aws("eks").disassociate_access_policy(
                clusterName=cluster, principalArn=principal, policyArn=policy
            )
        )


@register("aws:eks/podIdentityAssociation:PodIdentityAssociation")
class PodIdentityAssociation(Handler):
    """The role that the pods of a service account have; the id is the association's."""

    replace = paths("clusterName namespace serviceAccount")
    computed = paths("associationArn associationId externalId")

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['clusterName']}/{inputs['namespace']}/{inputs['serviceAccount']}"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        self._trusted(aws, inputs["roleArn"])
        made = aws("eks").create_pod_identity_association(
            clusterName=inputs["clusterName"],
            namespace=inputs["namespace"],
            serviceAccount=inputs["serviceAccount"],
            roleArn=inputs["roleArn"],
            **put({}, tags=inputs.get("tags")),
        )["association"]
        return str(made["associationId"])

    def _trusted(self, aws: Aws, role: str) -> None:
        """EKS looks at the role's trust policy first; the emulation does not."""
        row = aws("iam").get_role(RoleName=role.rpartition("/")[2])["Role"]
        for one in statements(json.dumps(row["AssumeRolePolicyDocument"])):
            actions = one.get("Action", [])
            services = one.get("Principal", {}).get("Service", [])
            if "pods.eks.amazonaws.com" in services and {"sts:AssumeRole", "sts:TagSession"} <= set(
                [actions] if isinstance(actions, str) else actions
            ):
                return
        raise Refused(INVALID, f"Trust policy of role {role} is not configured for EKS Pod Identity")

    def _row(self, aws: Aws, identity: str) -> Any:
        """Associations are asked for by cluster; the id alone does not say which."""
        for cluster in aws("eks").list_clusters()["clusters"]:
            row = found(
                lambda cluster=cluster: aws("eks").describe_pod_identity_association(
                    clusterName=cluster, associationId=identity
                )["association"]
            )
            if row:
                return row
        return None

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = self._row(aws, identity)
        return row and put(
            {
                "associationArn": row["associationArn"],
                "associationId": row["associationId"],
                "clusterName": row["clusterName"],
                "namespace": row["namespace"],
                "serviceAccount": row["serviceAccount"],
                "roleArn": row["roleArn"],
            },
            tags=row.get("tags"),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if "roleArn" in changed:
            self._trusted(aws, inputs["roleArn"])
            aws("eks").update_pod_identity_association(
                clusterName=inputs["clusterName"], associationId=identity, roleArn=inputs["roleArn"]
            )
        if "tags" in changed:
            row = self._row(aws, identity)
            retag(aws, row["associationArn"], row.get("tags", {}), inputs.get("tags"))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        cluster = state.get("clusterName") or (self.read(aws, identity) or {}).get("clusterName")
        if cluster:
            found(
                lambda: aws("eks").delete_pod_identity_association(
                    clusterName=cluster, associationId=identity
                )
            )

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        where = f"{inputs.get('clusterName')}/{identity}"
        return {
            "associationArn": f"arn:aws:eks:{REGION}:{ACCOUNT}:podidentityassociation/{where}",
            "associationId": identity,
        }
