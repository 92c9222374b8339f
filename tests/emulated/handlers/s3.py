"""Buckets, and each of their settings as the resource of its own that the provider makes of it."""

import ipaddress
import json
import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from tests.emulated.handlers.handler import (
    Aws,
    Handler,
    Inputs,
    Properties,
    Refused,
    fixed,
    gone,
    paths,
    put,
    register,
    tag_list,
    tag_map,
)
from tests.emulated.handlers.iam import statements

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9]|[.-](?=[a-z0-9])){1,61}[a-z0-9]")
_EMPTY_ANSWERS = {
    "NoSuchBucket",
    "NoSuchTagSet",
    "NoSuchBucketPolicy",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchLifecycleConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
    "ObjectLockConfigurationNotFoundError",
}


def setting(aws: Aws, call: str, bucket: str) -> Any:
    """What a bucket says of one of its settings, or ``None`` where it says nothing."""
    try:
        return getattr(aws("s3"), call)(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in _EMPTY_ANSWERS or gone(error):
            return None
        raise


def bucket_name_refusals(name: str) -> Iterator[str]:
    """What is wrong with a bucket's name (S3 user guide, "Bucket naming rules")."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        plain = _NAME.fullmatch(name) and ".." not in name
    else:
        plain = None
    reserved = name.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or name.endswith(("-s3alias", "--ol-s3"))
    if not plain or reserved:
        yield f"InvalidBucketName: `{name}` is no name of a bucket: 3 to 63 of a-z, 0-9, dots and hyphens"


@register("aws:s3/bucket:Bucket")
class Bucket(Handler):
    """A bucket; what may be set of it is set by the types below."""

    replace = paths("bucket bucketPrefix objectLockEnabled")
    computed = paths("arn bucketDomainName bucketRegionalDomainName hostedZoneId region")
    unread = paths("forceDestroy")
    named = "bucket"
    _elsewhere = paths(
        "acl corsRules grants lifecycleRules logging objectLockConfiguration policy replicationConfiguration"
        " serverSideEncryptionConfiguration versioning website"
    )

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        yield from bucket_name_refusals(inputs.get("bucket", ""))
        for name in sorted(self._elsewhere & inputs.keys()):
            yield f"{name} is deprecated in aws.s3.Bucket: there is a resource for it"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        name = inputs["bucket"]
        where = {} if aws.region == "us-east-1" else {"LocationConstraint": aws.region}
        # Where no region is named S3 answers "yours already" as if it had made the bucket.
        if setting(aws, "head_bucket", name) is not None:
            raise Refused("BucketAlreadyOwnedByYou", f"the bucket {name} is there already")
        aws("s3").create_bucket(
            Bucket=name,
            **put({}, CreateBucketConfiguration=where),
            ObjectLockEnabledForBucket=bool(inputs.get("objectLockEnabled")),
        )
        if inputs.get("tags"):
            self.update(aws, name, inputs, {"tags"})
        return str(name)

    def read(self, aws: Aws, identity: str) -> Properties | None:
        if setting(aws, "head_bucket", identity) is None:
            return None
        lock = setting(aws, "get_object_lock_configuration", identity) or {}
        enabled = lock.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
        tags = setting(aws, "get_bucket_tagging", identity) or {}
        return put(
            {
                "arn": f"arn:aws:s3:::{identity}",
                "bucket": identity,
                "bucketDomainName": f"{identity}.s3.amazonaws.com",
                "bucketRegionalDomainName": f"{identity}.s3.{aws.region}.amazonaws.com",
                "objectLockEnabled": enabled,
                "region": aws.region,
            },
            tags=tag_map(tags.get("TagSet")),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if "tags" in changed:
            if inputs.get("tags"):
                aws("s3").put_bucket_tagging(Bucket=identity, Tagging={"TagSet": tag_list(inputs["tags"])})
            else:
                aws("s3").delete_bucket_tagging(Bucket=identity)

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        if setting(aws, "head_bucket", identity) is None:
            return
        if state.get("forceDestroy"):
            self._empty(aws, identity)
        aws("s3").delete_bucket(Bucket=identity)

    def _empty(self, aws: Aws, bucket: str) -> None:
        rows = aws("s3").list_object_versions(Bucket=bucket)
        for one in (*rows.get("Versions", ()), *rows.get("DeleteMarkers", ())):
            aws("s3").delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        name = inputs.get("bucket", "")
        return {
            "arn": f"arn:aws:s3:::{name}",
            "bucketDomainName": f"{name}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{name}.s3.us-east-1.amazonaws.com",
        }


class _Setting(Handler):
    """One setting of a bucket; its id is the bucket's name."""

    replace = paths("bucket expectedBucketOwner")
    computed = frozenset()
    free = frozenset()
    get = ""
    end = ""

    def key(self, inputs: Inputs) -> str:
        return str(inputs["bucket"])

    @abstractmethod
    def put_setting(self, aws: Aws, inputs: Inputs) -> None:
        """Set it."""

    @abstractmethod
    def received(self, answer: Any) -> Properties | None:
        """The properties in AWS's answer; ``None`` when it is as in a new bucket."""

    def create(self, aws: Aws, inputs: Inputs) -> str:
        self.put_setting(aws, inputs)
        return str(inputs["bucket"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        answer = setting(aws, self.get, identity)
        properties = None if answer is None else self.received(answer)
        return None if properties is None else {"bucket": identity, **properties}

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        self.put_setting(aws, inputs)

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        if self.end:
            setting(aws, self.end, identity)


_BLOCKS = {
    "blockPublicAcls": "BlockPublicAcls",
    "blockPublicPolicy": "BlockPublicPolicy",
    "ignorePublicAcls": "IgnorePublicAcls",
    "restrictPublicBuckets": "RestrictPublicBuckets",
}


@register("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
class BucketPublicAccessBlock(_Setting):
    """No public access, whatever a policy says."""

    unread = paths("skipDestroy")
    get = "get_public_access_block"
    end = "delete_public_access_block"

    def put_setting(self, aws: Aws, inputs: Inputs) -> None:
        asked = {member: bool(inputs.get(name)) for name, member in _BLOCKS.items()}
        aws("s3").put_public_access_block(Bucket=inputs["bucket"], PublicAccessBlockConfiguration=asked)

    def received(self, answer: Any) -> Properties | None:
        row = answer["PublicAccessBlockConfiguration"]
        return {name: bool(row.get(member)) for name, member in _BLOCKS.items()}


@register("aws:s3/bucketVersioning:BucketVersioning")
class BucketVersioning(_Setting):
    """Whether replaced objects are kept."""

    unread = paths("mfa")
    get = "get_bucket_versioning"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if inputs["versioningConfiguration"].get("status") not in {"Enabled", "Suspended", "Disabled"}:
            yield "IllegalVersioningConfigurationException: the status is Enabled, Suspended or Disabled"

    def put_setting(self, aws: Aws, inputs: Inputs) -> None:
        status = inputs["versioningConfiguration"]["status"]
        lock = setting(aws, "get_object_lock_configuration", inputs["bucket"])
        if lock and status != "Enabled":
            raise Refused("InvalidBucketState", "versioning of a bucket with Object Lock cannot be suspended")
        if status != "Disabled":
            asked = {"Status": status}
            aws("s3").put_bucket_versioning(Bucket=inputs["bucket"], VersioningConfiguration=asked)

    def received(self, answer: Any) -> Properties | None:
        status = answer.get("Status")
        return {"versioningConfiguration": {"status": status}} if status else None

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        if setting(aws, "get_object_lock_configuration", identity) is None and self.read(aws, identity):
            asked = {"Status": "Suspended"}
            aws("s3").put_bucket_versioning(Bucket=identity, VersioningConfiguration=asked)


@register("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration")
class BucketServerSideEncryptionConfiguration(_Setting):
    """With which key objects are encrypted where the writer names none."""

    get = "get_bucket_encryption"
    end = "delete_bucket_encryption"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        for rule in inputs["rules"]:
            way = rule.get("applyServerSideEncryptionByDefault", {})
            if way.get("sseAlgorithm") not in {"AES256", "aws:kms", "aws:kms:dsse"}:
                yield f"MalformedXML: {way.get('sseAlgorithm')} is no way of encrypting"
            if way.get("kmsMasterKeyId") and way.get("sseAlgorithm") == "AES256":
                yield "InvalidArgument: a KMS key is for aws:kms only"

    def put_setting(self, aws: Aws, inputs: Inputs) -> None:
        rules = []
        for rule in inputs["rules"]:
            way = rule["applyServerSideEncryptionByDefault"]
            if key := way.get("kmsMasterKeyId"):
                aws("kms").describe_key(KeyId=key)
            asked = put({"SSEAlgorithm": way["sseAlgorithm"]}, KMSMasterKeyID=key)
            bucket_key = bool(rule.get("bucketKeyEnabled"))
            rules.append({"ApplyServerSideEncryptionByDefault": asked, "BucketKeyEnabled": bucket_key})
        aws("s3").put_bucket_encryption(
            Bucket=inputs["bucket"], ServerSideEncryptionConfiguration={"Rules": rules}
        )

    def received(self, answer: Any) -> Properties | None:
        rules = []
        for rule in answer["ServerSideEncryptionConfiguration"]["Rules"]:
            way = rule["ApplyServerSideEncryptionByDefault"]
            known = put({"sseAlgorithm": way["SSEAlgorithm"]}, kmsMasterKeyId=way.get("KMSMasterKeyID"))
            rules.append(
                {
                    "applyServerSideEncryptionByDefault": known,
                    "bucketKeyEnabled": str(rule.get("BucketKeyEnabled")).lower() == "true",
                }
            )
        return {"rules": rules}


@register("aws:s3/bucketPolicy:BucketPolicy")
class BucketPolicy(_Setting):
    """Who may do what with a bucket, whoever they are."""

    documents = paths("policy")
    get = "get_bucket_policy"
    end = "delete_bucket_policy"
    _size = 20480

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        try:
            rows = statements(inputs["policy"])
        except ValueError as error:
            yield f"MalformedPolicy: This policy contains invalid Json: {error}"
            return
        for row in rows:
            if "Principal" not in row and "NotPrincipal" not in row:
                yield "MalformedPolicy: Missing required field Principal"
            resources = row.get("Resource", [])
            for resource in [resources] if isinstance(resources, str) else resources:
                if resource.split("/")[0].rpartition(":")[2] != inputs["bucket"]:
                    yield "MalformedPolicy: Policy has invalid resource"
        if len(inputs["policy"]) > self._size:
            yield f"PolicyTooLarge: a bucket's policy has at most {self._size} characters"

    def put_setting(self, aws: Aws, inputs: Inputs) -> None:
        block = setting(aws, "get_public_access_block", inputs["bucket"]) or {}
        closed = block.get("PublicAccessBlockConfiguration", {}).get("BlockPublicPolicy")
        if closed and any(map(_is_public, statements(inputs["policy"]))):
            raise Refused(
                "AccessDenied",
                "public policies are blocked by the BlockPublicPolicy block public access setting",
            )
        aws("s3").put_bucket_policy(Bucket=inputs["bucket"], Policy=inputs["policy"])

    def received(self, answer: Any) -> Properties | None:
        return {"policy": json.dumps(json.loads(answer["Policy"]))}


def _is_public(row: dict[str, Any]) -> bool:
    """Whether a statement lets anybody in, as S3 judges it: no fixed caller and no fixed place."""
    principal = row.get("Principal")
    anybody = principal == "*" or (isinstance(principal, dict) and "*" in str(principal.get("AWS", "")))
    fixed = {"aws:PrincipalOrgID", "aws:SourceVpc", "aws:SourceVpce", "aws:SourceArn", "aws:PrincipalAccount"}
    named = {key for tests in row.get("Condition", {}).values() for key in tests}
    return row["Effect"] == "Allow" and anybody and not fixed & named


@register("aws:s3/bucketOwnershipControls:BucketOwnershipControls")
class BucketOwnershipControls(_Setting):
    """Whose the objects are that others write."""

    get = "get_bucket_ownership_controls"
    end = "delete_bucket_ownership_controls"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        allowed = {"BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"}
        if inputs["rule"].get("objectOwnership") not in allowed:
            wanted = inputs["rule"].get("objectOwnership")
            yield f"MalformedXML: {wanted} is none of {', '.join(sorted(allowed))}"

    def put_setting(self, aws: Aws, inputs: Inputs) -> None:
        rules = [{"ObjectOwnership": inputs["rule"]["objectOwnership"]}]
        aws("s3").put_bucket_ownership_controls(Bucket=inputs["bucket"], OwnershipControls={"Rules": rules})

    def received(self, answer: Any) -> Properties | None:
        return {"rule": {"objectOwnership": answer["OwnershipControls"]["Rules"][0]["ObjectOwnership"]}}


_EXPIRATION = {"days": "Days", "date": "Date", "expiredObjectDeleteMarker": "ExpiredObjectDeleteMarker"}


def _rule_sent(rule: Inputs) -> Properties:
    old, parts = rule.get("noncurrentVersionExpiration", {}), rule.get("abortIncompleteMultipartUpload", {})
    limits = put(
        {},
        NoncurrentDays=old.get("noncurrentDays"),
        NewerNoncurrentVersions=old.get("newerNoncurrentVersions"),
    )
    ends = {
        member: rule["expiration"][name]
        for name, member in _EXPIRATION.items()
        if rule.get("expiration", {}).get(name)
    }
    return put(
        {
            "ID": rule["id"],
            "Status": rule["status"],
            "Filter": {"Prefix": rule.get("filter", {}).get("prefix", "")},
        },
        NoncurrentVersionExpiration=limits,
        Expiration=ends,
        AbortIncompleteMultipartUpload=put({}, DaysAfterInitiation=parts.get("daysAfterInitiation")),
    )


def _rule_received(row: Any) -> Properties:
    old, parts = row.get("NoncurrentVersionExpiration", {}), row.get("AbortIncompleteMultipartUpload", {})
    limits = put(
        {},
        noncurrentDays=old.get("NoncurrentDays"),
        newerNoncurrentVersions=old.get("NewerNoncurrentVersions"),
    )
    ends = {
        name: row["Expiration"][member]
        for name, member in _EXPIRATION.items()
        if row.get("Expiration", {}).get(member)
    }
    return put(
        {
            "id": row["ID"],
            "status": row["Status"],
            "filter": {"prefix": row.get("Filter", {}).get("Prefix", "")},
        },
        noncurrentVersionExpiration=limits,
        expiration=ends,
        abortIncompleteMultipartUpload=put({}, daysAfterInitiation=parts.get("DaysAfterInitiation")),
    )


@register("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
class BucketLifecycleConfiguration(_Setting):
    """When objects go by themselves."""

    decided = paths("transitionDefaultMinimumObjectSize")
    unread = paths("timeouts")
    get = "get_bucket_lifecycle_configuration"
    end = "delete_bucket_lifecycle"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        names = [rule.get("id") for rule in inputs["rules"]]
        if len(names) != len(set(names)):
            yield "InvalidArgument: Rule ID must be unique"
        for rule in inputs["rules"]:
            acts = {"noncurrentVersionExpiration", "expiration", "abortIncompleteMultipartUpload"}
            if not acts & rule.keys():
                yield f"InvalidArgument: the rule {rule.get('id')} does nothing"
            ends = rule.get("expiration", {})
            if len([name for name in _EXPIRATION if ends.get(name)]) > 1:
                yield f"MalformedXML: the rule {rule.get('id')} names more than one expiration"
            if rule.get("status") not in {"Enabled", "Disabled"}:
                yield f"MalformedXML: the rule {rule.get('id')} is neither Enabled nor Disabled"

    def put_setting(self, aws: Aws, inputs: Inputs) -> None:
        rules = [_rule_sent(rule) for rule in inputs["rules"]]
        aws("s3").put_bucket_lifecycle_configuration(
            Bucket=inputs["bucket"], LifecycleConfiguration={"Rules": rules}
        )

    def received(self, answer: Any) -> Properties | None:
        return {"rules": [_rule_received(row) for row in answer["Rules"]]}


@register("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration")
class BucketObjectLockConfiguration(_Setting):
    """How long nobody may delete what was written."""

    defaults = fixed({"objectLockEnabled": "Enabled"})
    unread = paths("token")
    get = "get_object_lock_configuration"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        kept = inputs.get("rule", {}).get("defaultRetention", {})
        if kept.get("mode") not in {"GOVERNANCE", "COMPLIANCE"}:
            yield f"MalformedXML: the mode {kept.get('mode')} is neither GOVERNANCE nor COMPLIANCE"
        if len([name for name in ("days", "years") if kept.get(name)]) != 1:
            yield "MalformedXML: a retention is in days or in years"

    def put_setting(self, aws: Aws, inputs: Inputs) -> None:
        live = setting(aws, "get_object_lock_configuration", inputs["bucket"])
        versions = aws("s3").get_bucket_versioning(Bucket=inputs["bucket"]).get("Status")
        if live is None and versions != "Enabled":
            raise Refused("InvalidBucketState", "Versioning must be 'Enabled' on the bucket")
        kept = inputs["rule"]["defaultRetention"]
        asked = put({"Mode": kept["mode"]}, Days=kept.get("days"), Years=kept.get("years"))
        aws("s3").put_object_lock_configuration(
            Bucket=inputs["bucket"],
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": asked}},
        )

    def received(self, answer: Any) -> Properties | None:
        row = answer["ObjectLockConfiguration"]
        kept = row.get("Rule", {}).get("DefaultRetention")
        if not kept or not kept.get("Mode"):
            return None
        known = put({"mode": kept["Mode"]}, days=kept.get("Days") or None, years=kept.get("Years") or None)
        return {"objectLockEnabled": "Enabled", "rule": {"defaultRetention": known}}

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        """Take the rule away; that a bucket can lock objects stays for ever."""
        if setting(aws, "head_bucket", identity) is not None:
            aws("s3").put_object_lock_configuration(
                Bucket=identity, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
            )
