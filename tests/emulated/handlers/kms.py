"""Encryption keys and their aliases."""

from collections.abc import Iterator
from typing import Any

from tests.emulated.handlers.handler import (
    ACCOUNT,
    REGION,
    Aws,
    Handler,
    Inputs,
    Properties,
    fixed,
    found,
    paths,
    put,
    register,
    tag_list,
    tag_map,
)
from tests.emulated.handlers.iam import statements


def key_policy_refusals(text: str) -> Iterator[str]:
    """What is wrong with a key's policy; the emulation takes any text."""
    try:
        rows = statements(text)
    except ValueError as error:
        yield f"MalformedPolicyDocumentException: {error}"
        return
    for row in rows:
        if "Principal" not in row and "NotPrincipal" not in row:
            yield "MalformedPolicyDocumentException: a key policy names principals"
    if not any(map(_keeps_the_owner, rows)):
        yield (
            "MalformedPolicyDocumentException: The new key policy will not allow you to update the key "
            "policy in the future."
        )


def _keeps_the_owner(row: dict[str, Any]) -> bool:
    principal = row.get("Principal", {})
    owners = principal.get("AWS", []) if isinstance(principal, dict) else principal
    owners = [owners] if isinstance(owners, str) else owners
    actions = row.get("Action", [])
    actions = [actions] if isinstance(actions, str) else actions
    return (
        row["Effect"] == "Allow"
        and any(one in {"*", ACCOUNT} or ":iam::" in one for one in owners)
        and any(one in {"kms:*", "*", "kms:PutKeyPolicy", "kms:Put*"} for one in actions)
    )


@register("aws:kms/key:Key")
class Key(Handler):
    """A symmetric key."""

    replace = paths("keyUsage customerMasterKeySpec multiRegion")
    computed = paths("arn keyId")
    decided = paths("policy rotationPeriodInDays")
    unread = paths("deletionWindowInDays bypassPolicyLockoutSafetyCheck")
    documents = paths("policy")
    defaults = fixed(
        {
            "isEnabled": True,
            "keyUsage": "ENCRYPT_DECRYPT",
            "customerMasterKeySpec": "SYMMETRIC_DEFAULT",
        }
    )

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if inputs.get("policy"):
            yield from key_policy_refusals(inputs["policy"])
        if not 7 <= int(inputs.get("deletionWindowInDays", 30)) <= 30:
            yield "ValidationException: deletionWindowInDays is from 7 to 30"
        if not 90 <= int(inputs.get("rotationPeriodInDays", 365)) <= 2560:
            yield "ValidationException: rotationPeriodInDays is from 90 to 2560"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        asked = put(
            {},
            Description=inputs.get("description"),
            Policy=inputs.get("policy"),
            Tags=tag_list(inputs.get("tags"), "TagKey", "TagValue"),
        )
        identity = str(aws("kms").create_key(**asked)["KeyMetadata"]["KeyId"])
        self._rotate(aws, identity, inputs)
        return identity

    def _rotate(self, aws: Aws, identity: str, inputs: Inputs) -> None:
        if inputs.get("enableKeyRotation"):
            period = put({}, RotationPeriodInDays=inputs.get("rotationPeriodInDays"))
            aws("kms").enable_key_rotation(KeyId=identity, **period)
        else:
            aws("kms").disable_key_rotation(KeyId=identity)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        kms = aws("kms")
        row = found(lambda: kms.describe_key(KeyId=identity)["KeyMetadata"])
        if row is None or row["KeyState"] in {"PendingDeletion", "PendingReplicaDeletion"}:
            return None
        rotation = kms.get_key_rotation_status(KeyId=identity)
        tags = kms.list_resource_tags(KeyId=identity)["Tags"]
        return put(
            {
                "arn": row["Arn"],
                "keyId": row["KeyId"],
                "isEnabled": row["Enabled"],
                "keyUsage": row.get("KeyUsage", "ENCRYPT_DECRYPT"),
                "customerMasterKeySpec": row.get("CustomerMasterKeySpec", "SYMMETRIC_DEFAULT"),
                "multiRegion": bool(row.get("MultiRegion")),
                "enableKeyRotation": rotation["KeyRotationEnabled"],
                "policy": kms.get_key_policy(KeyId=identity, PolicyName="default")["Policy"],
            },
            rotationPeriodInDays=rotation.get("RotationPeriodInDays"),
            description=row.get("Description"),
            tags=tag_map(tags, "TagKey", "TagValue"),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        kms = aws("kms")
        if changed & {"enableKeyRotation", "rotationPeriodInDays"}:
            self._rotate(aws, identity, inputs)
        if "policy" in changed and inputs.get("policy"):
            kms.put_key_policy(KeyId=identity, PolicyName="default", Policy=inputs["policy"])
        if "description" in changed:
            kms.update_key_description(KeyId=identity, Description=inputs.get("description", ""))
        if "isEnabled" in changed:
            (kms.enable_key if inputs.get("isEnabled", True) else kms.disable_key)(KeyId=identity)
        if "tags" in changed:
            before = tag_map(kms.list_resource_tags(KeyId=identity)["Tags"], "TagKey", "TagValue")
            wanted = inputs.get("tags") or {}
            kms.untag_resource(KeyId=identity, TagKeys=sorted(before.keys() - wanted.keys()))
            kms.tag_resource(KeyId=identity, Tags=tag_list(wanted, "TagKey", "TagValue"))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        if self.read(aws, identity):
            days = int(state.get("deletionWindowInDays") or 30)
            aws("kms").schedule_key_deletion(KeyId=identity, PendingWindowInDays=days)

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return {"arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{identity}", "keyId": identity}


@register("aws:kms/alias:Alias")
class Alias(Handler):
    """A name of a key."""

    replace = paths("name namePrefix")
    computed = paths("arn targetKeyArn")
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        name = inputs.get("name", "")
        if not name.startswith("alias/") or name.startswith("alias/aws/") or len(name) > 256:
            yield f"ValidationException: `{name}` is no alias: alias/ and a name that is not AWS's"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        aws("kms").create_alias(AliasName=inputs["name"], TargetKeyId=inputs["targetKeyId"])
        return str(inputs["name"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        pages = aws("kms").get_paginator("list_aliases").paginate()
        for row in (one for page in pages for one in page["Aliases"]):
            if row["AliasName"] == identity and row.get("TargetKeyId"):
                return {
                    "arn": row["AliasArn"],
                    "name": identity,
                    "targetKeyId": row["TargetKeyId"],
                    "targetKeyArn": aws.arn("kms", f"key/{row['TargetKeyId']}"),
                }
        return None

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        aws("kms").update_alias(AliasName=identity, TargetKeyId=inputs["targetKeyId"])

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("kms").delete_alias(AliasName=identity))
