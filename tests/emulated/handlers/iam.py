"""Roles, policies and what ties them together."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from tests.emulated.handlers.handler import (
    ACCOUNT,
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
    tag_list,
    tag_map,
)

_NAME = re.compile(r"[\w+=,.@-]+")
_ROLE_NAME, _POLICY_NAME = 64, 128
_TRUST_SIZE, _MANAGED_SIZE, _INLINE_SIZE = 2048, 6144, 10240
_MALFORMED = "MalformedPolicyDocument"
_SCHEME = "https://"


def statements(text: str) -> list[dict[str, Any]]:
    """The statements of a policy document.

    Raises:
        ValueError: it is no policy.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or "Statement" not in document:
        raise ValueError("there is no Statement")
    found_ones = document["Statement"]
    return found_ones if isinstance(found_ones, list) else [found_ones]


def policy_refusals(text: str, size: int) -> Iterator[str]:
    """What is wrong with an identity's policy."""
    try:
        rows = statements(text)
    except ValueError as error:
        yield f"{_MALFORMED}: {error}"
        return
    for row in rows:
        if "Principal" in row or "NotPrincipal" in row:
            yield f"{_MALFORMED}: Policy document should not specify a principal"
        if not {"Action", "NotAction"} & row.keys() or not {"Resource", "NotResource"} & row.keys():
            yield f"{_MALFORMED}: Policy statement must contain actions and resources"
    if len(re.sub(r"\s", "", text)) > size:
        yield f"LimitExceeded: Cannot exceed quota for PolicySize: {size}"


def trust_refusals(text: str) -> Iterator[str]:
    """What is wrong with a role's trust policy; the emulation takes any text."""
    try:
        rows = statements(text)
    except ValueError as error:
        yield f"{_MALFORMED}: {error}"
        return
    for row in rows:
        if "Principal" not in row:
            yield f"{_MALFORMED}: AssumeRole policy must contain a principal"
        if {"Resource", "NotResource"} & row.keys():
            yield f"{_MALFORMED}: Has prohibited field Resource"
        actions = row.get("Action", [])
        for action in [actions] if isinstance(actions, str) else actions:
            if not action.startswith("sts:"):
                yield f"{_MALFORMED}: AssumeRole policy may only specify STS AssumeRole actions"
    if len(text) > _TRUST_SIZE:
        yield f"LimitExceeded: Cannot exceed quota for ACLSizePerRole: {_TRUST_SIZE}"


def trusts(aws: Aws, role_arn: str, service: str) -> bool:
    """Whether a role exists and lets ``service`` take it on.

    Raises:
        ClientError: there is no such role.
    """
    row = aws("iam").get_role(RoleName=role_arn.rpartition("/")[2])["Role"]
    for one in statements(json.dumps(row["AssumeRolePolicyDocument"])):
        services = one.get("Principal", {}).get("Service", [])
        if one["Effect"] == "Allow" and service in ([services] if isinstance(services, str) else services):
            return True
    return False


def named(name: str, limit: int, what: str) -> Iterator[str]:
    """What is wrong with a name in IAM."""
    if not _NAME.fullmatch(name) or len(name) > limit:
        yield f"ValidationError: `{name}` is no {what}: 1 to {limit} characters of A-Za-z0-9+=,.@_-"


@register("aws:iam/role:Role")
class Role(Handler):
    """An identity that services and people take on."""

    replace = paths("name namePrefix path")
    computed = paths("arn uniqueId createDate")
    unread = paths("forceDetachPolicies")
    documents = paths("assumeRolePolicy")
    defaults = fixed({"path": "/", "maxSessionDuration": 3600})
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        yield from named(inputs.get("name", ""), _ROLE_NAME, "role name")
        yield from trust_refusals(inputs["assumeRolePolicy"])
        if not 3600 <= int(inputs.get("maxSessionDuration", 3600)) <= 43200:
            yield "ValidationError: maxSessionDuration is from 3600 to 43200"
        if inputs.get("inlinePolicies") or inputs.get("managedPolicyArns"):
            yield "policies are not written in the role: they would take away those of aws.iam.RolePolicy"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        if boundary := inputs.get("permissionsBoundary"):
            aws("iam").get_policy(PolicyArn=boundary)
        made = aws("iam").create_role(
            RoleName=inputs["name"],
            AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
            **put(
                {},
                Path=inputs.get("path"),
                Description=inputs.get("description"),
                MaxSessionDuration=inputs.get("maxSessionDuration"),
                PermissionsBoundary=boundary,
                Tags=tag_list(inputs.get("tags")),
            ),
        )
        return str(made["Role"]["RoleName"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: aws("iam").get_role(RoleName=identity)["Role"])
        return row and put(
            {
                "arn": row["Arn"],
                "name": row["RoleName"],
                "uniqueId": row["RoleId"],
                "path": row["Path"],
                "assumeRolePolicy": json.dumps(row["AssumeRolePolicyDocument"]),
            },
            description=row.get("Description"),
            maxSessionDuration=row.get("MaxSessionDuration"),
            permissionsBoundary=row.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
            tags=tag_map(row.get("Tags")),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        iam = aws("iam")
        if "assumeRolePolicy" in changed:
            iam.update_assume_role_policy(RoleName=identity, PolicyDocument=inputs["assumeRolePolicy"])
        if "permissionsBoundary" in changed:
            boundary = inputs.get("permissionsBoundary")
            if boundary:
                iam.get_policy(PolicyArn=boundary)
                iam.put_role_permissions_boundary(RoleName=identity, PermissionsBoundary=boundary)
            else:
                iam.delete_role_permissions_boundary(RoleName=identity)
        if changed & {"description", "maxSessionDuration"}:
            iam.update_role(
                RoleName=identity,
                Description=inputs.get("description", ""),
                MaxSessionDuration=int(inputs.get("maxSessionDuration", 3600)),
            )
        if "tags" in changed:
            before = tag_map(iam.list_role_tags(RoleName=identity)["Tags"])
            wanted = inputs.get("tags") or {}
            iam.untag_role(RoleName=identity, TagKeys=sorted(before.keys() - wanted.keys()))
            iam.tag_role(RoleName=identity, Tags=tag_list(wanted))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("iam").delete_role(RoleName=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        name = f"{inputs.get('path', '/')}{inputs.get('name', '')}"
        return {"arn": f"arn:aws:iam::{ACCOUNT}:role{name}", "uniqueId": f"AROA{identity}"}


@register("aws:iam/policy:Policy")
class Policy(Handler):
    """A policy that identities share."""

    replace = paths("name namePrefix path description")
    computed = paths("arn policyId attachmentCount")
    documents = paths("policy")
    defaults = fixed({"path": "/"})
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        yield from named(inputs.get("name", ""), _POLICY_NAME, "policy name")
        yield from policy_refusals(inputs["policy"], _MANAGED_SIZE)

    def create(self, aws: Aws, inputs: Inputs) -> str:
        about = put(
            {},
            Path=inputs.get("path"),
            Description=inputs.get("description"),
            Tags=tag_list(inputs.get("tags")),
        )
        made = aws("iam").create_policy(PolicyName=inputs["name"], PolicyDocument=inputs["policy"], **about)
        return str(made["Policy"]["Arn"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: aws("iam").get_policy(PolicyArn=identity)["Policy"])
        if row is None:
            return None
        version = aws("iam").get_policy_version(PolicyArn=identity, VersionId=row["DefaultVersionId"])
        document = version["PolicyVersion"]["Document"]
        return put(
            {
                "arn": identity,
                "name": row["PolicyName"],
                "path": row["Path"],
                "policyId": row["PolicyId"],
                "policy": document if isinstance(document, str) else json.dumps(document),
            },
            description=row.get("Description"),
            tags=tag_map(row.get("Tags")),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        iam = aws("iam")
        if "policy" in changed:
            # AWS keeps five versions; the provider takes away those that are not the default.
            for old in iam.list_policy_versions(PolicyArn=identity)["Versions"]:
                if not old["IsDefaultVersion"]:
                    iam.delete_policy_version(PolicyArn=identity, VersionId=old["VersionId"])
            iam.create_policy_version(PolicyArn=identity, PolicyDocument=inputs["policy"], SetAsDefault=True)
        if "tags" in changed:
            before = tag_map(iam.list_policy_tags(PolicyArn=identity)["Tags"])
            wanted = inputs.get("tags") or {}
            iam.untag_policy(PolicyArn=identity, TagKeys=sorted(before.keys() - wanted.keys()))
            iam.tag_policy(PolicyArn=identity, Tags=tag_list(wanted))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        row = found(lambda: aws("iam").list_policy_versions(PolicyArn=identity))
        for old in (row or {}).get("Versions", ()):
            if not old["IsDefaultVersion"]:
                aws("iam").delete_policy_version(PolicyArn=identity, VersionId=old["VersionId"])
        users = row and aws("iam").get_policy(PolicyArn=identity)["Policy"]
        boundary_of = [
            one["RoleName"]
            for one in aws("iam").list_roles()["Roles"]
            if self._boundary(aws, one["RoleName"]) == identity
        ]
        if users and (users["AttachmentCount"] or boundary_of):
            raise Refused("DeleteConflict", "Cannot delete a policy attached to entities.")
        found(lambda: aws("iam").delete_policy(PolicyArn=identity))

    def _boundary(self, aws: Aws, role: str) -> str:
        """A list of roles does not tell their boundaries."""
        row = aws("iam").get_role(RoleName=role)["Role"]
        return str(row.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        name = f"{inputs.get('path', '/')}{inputs.get('name', '')}"
        return {"arn": f"arn:aws:iam::{ACCOUNT}:policy{name}", "policyId": f"ANPA{identity}"}


@register("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
class RolePolicyAttachment(Handler):
    """A shared policy on a role; the id is both."""

    replace = paths("role policyArn")
    computed = frozenset()

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['role']}/{inputs['policyArn']}"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        aws("iam").attach_role_policy(RoleName=inputs["role"], PolicyArn=inputs["policyArn"])
        return self.key(inputs)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        role, _, arn = identity.partition("/")
        rows = found(lambda: aws("iam").list_attached_role_policies(RoleName=role)["AttachedPolicies"])
        if arn not in {one["PolicyArn"] for one in rows or ()}:
            return None
        return {"role": role, "policyArn": arn}

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        role, _, arn = identity.partition("/")
        found(lambda: aws("iam").detach_role_policy(RoleName=role, PolicyArn=arn))


@register("aws:iam/rolePolicy:RolePolicy")
class RolePolicy(Handler):
    """A policy of one role; the id is both names."""

    replace = paths("role name namePrefix")
    computed = frozenset()
    documents = paths("policy")
    named = "name"

    def key(self, inputs: Inputs) -> str:
        return f"{inputs['role']}:{inputs['name']}"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        yield from named(inputs.get("name", ""), _POLICY_NAME, "policy name")
        yield from policy_refusals(inputs["policy"], _INLINE_SIZE)

    def create(self, aws: Aws, inputs: Inputs) -> str:
        self._fits(aws, inputs)
        aws("iam").put_role_policy(
            RoleName=inputs["role"], PolicyName=inputs["name"], PolicyDocument=inputs["policy"]
        )
        return self.key(inputs)

    def _fits(self, aws: Aws, inputs: Inputs) -> None:
        """All policies of one role together are limited; the emulation counts none."""
        size = len(re.sub(r"\s", "", inputs["policy"]))
        for name in aws("iam").list_role_policies(RoleName=inputs["role"])["PolicyNames"]:
            if name != inputs["name"]:
                row = aws("iam").get_role_policy(RoleName=inputs["role"], PolicyName=name)
                size += len(json.dumps(row["PolicyDocument"], separators=(",", ":")))
        if size > _INLINE_SIZE:
            raise Refused(
                "LimitExceeded",
                f"Maximum policy size of {_INLINE_SIZE} bytes exceeded for role {inputs['role']}",
            )

    def read(self, aws: Aws, identity: str) -> Properties | None:
        role, _, name = identity.partition(":")
        row = found(lambda: aws("iam").get_role_policy(RoleName=role, PolicyName=name))
        if row is None:
            return None
        document = row["PolicyDocument"]
        text = unquote(document) if isinstance(document, str) else json.dumps(document)
        return {"role": role, "name": name, "policy": text}

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        self.create(aws, inputs)

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        role, _, name = identity.partition(":")
        found(lambda: aws("iam").delete_role_policy(RoleName=role, PolicyName=name))


@register("aws:iam/openIdConnectProvider:OpenIdConnectProvider")
class OpenIdConnectProvider(Handler):
    """Whose tokens roles of the account may trust; the id is the ARN, the address has no scheme there.

    Whom the tokens are for can be changed in AWS; the emulation has no calls for that.
    """

    replace = paths("url")
    computed = paths("arn")
    decided = paths("thumbprintLists")
    unordered = paths("clientIdLists thumbprintLists")

    def key(self, inputs: Inputs) -> str:
        return str(inputs.get("url", ""))

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if not str(inputs["url"]).startswith(_SCHEME):
            yield f"ValidationError: `{inputs['url']}` is no https:// address"
        if not inputs.get("clientIdLists"):
            yield "ValidationError: clientIdLists: at least one is needed"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        made = aws("iam").create_open_id_connect_provider(
            Url=inputs["url"],
            ClientIDList=inputs["clientIdLists"],
            # Where nobody says one, AWS takes the certificate's own.
            ThumbprintList=inputs.get("thumbprintLists") or ["0" * 40],
            Tags=tag_list(inputs.get("tags")),
        )
        return str(made["OpenIDConnectProviderArn"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        about = {"OpenIDConnectProviderArn": identity}
        row = found(lambda: aws("iam").get_open_id_connect_provider(**about))
        return row and put(
            {
                "arn": identity,
                "url": f"{_SCHEME}{str(row['Url']).removeprefix(_SCHEME)}",
                "clientIdLists": row["ClientIDList"],
                "thumbprintLists": row["ThumbprintList"],
            },
            tags=tag_map(row.get("Tags")),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        iam, about = aws("iam"), {"OpenIDConnectProviderArn": identity}
        before = iam.get_open_id_connect_provider(**about)
        first = {name.partition(".")[0] for name in changed}
        if "clientIdLists" in first:
            super().update(aws, identity, inputs, changed)
        if "thumbprintLists" in first and inputs.get("thumbprintLists"):
            iam.update_open_id_connect_provider_thumbprint(**about, ThumbprintList=inputs["thumbprintLists"])
        if "tags" in first:
            tags, kept = inputs.get("tags") or {}, tag_map(before.get("Tags"))
            iam.untag_open_id_connect_provider(**about, TagKeys=sorted(kept.keys() - tags.keys()))
            iam.tag_open_id_connect_provider(**about, Tags=tag_list(tags))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("iam").delete_open_id_connect_provider(OpenIDConnectProviderArn=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        issuer = str(inputs.get("url", "")).removeprefix(_SCHEME)
        return {"arn": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"}


@register("aws:iam/instanceProfile:InstanceProfile")
class InstanceProfile(Handler):
    """A role as a machine takes it on."""

    replace = paths("name namePrefix path")
    computed = paths("arn uniqueId createDate")
    defaults = fixed({"path": "/"})
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        yield from named(inputs.get("name", ""), _POLICY_NAME, "name of an instance profile")

    def create(self, aws: Aws, inputs: Inputs) -> str:
        name = inputs["name"]
        about = put({}, Path=inputs.get("path"), Tags=tag_list(inputs.get("tags")))
        aws("iam").create_instance_profile(InstanceProfileName=name, **about)
        if inputs.get("role"):
            aws("iam").add_role_to_instance_profile(InstanceProfileName=name, RoleName=inputs["role"])
        return str(name)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: aws("iam").get_instance_profile(InstanceProfileName=identity)["InstanceProfile"])
        return row and put(
            {
                "arn": row["Arn"],
                "name": row["InstanceProfileName"],
                "path": row["Path"],
                "uniqueId": row["InstanceProfileId"],
            },
            role=row["Roles"][0]["RoleName"] if row["Roles"] else None,
            tags=tag_map(row.get("Tags")),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        iam = aws("iam")
        if "role" in changed:
            self._leave(aws, identity)
            if inputs.get("role"):
                iam.add_role_to_instance_profile(InstanceProfileName=identity, RoleName=inputs["role"])
        if "tags" in changed:
            row = iam.get_instance_profile(InstanceProfileName=identity)["InstanceProfile"]
            wanted = inputs.get("tags") or {}
            dropped = sorted(tag_map(row.get("Tags")).keys() - wanted.keys())
            iam.untag_instance_profile(InstanceProfileName=identity, TagKeys=dropped)
            iam.tag_instance_profile(InstanceProfileName=identity, Tags=tag_list(wanted))

    def _leave(self, aws: Aws, identity: str) -> None:
        if role := (self.read(aws, identity) or {}).get("role"):
            aws("iam").remove_role_from_instance_profile(InstanceProfileName=identity, RoleName=role)

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        self._leave(aws, identity)
        found(lambda: aws("iam").delete_instance_profile(InstanceProfileName=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        name = f"{inputs.get('path', '/')}{inputs.get('name', '')}"
        return {"arn": f"arn:aws:iam::{ACCOUNT}:instance-profile{name}", "uniqueId": f"AIPA{identity}"}
