"""Where a cell's Pulumi state lives: a bucket and a key in the customer's own account, made before all else.

One bucket and one key for each account and region; each cell is a stack in it. Every step may be repeated:
a run that was killed anywhere is finished by the next. The owner of the bucket is checked at each call,
because a bucket's name is worldwide and somebody else may have taken it first.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from botocore.exceptions import ClientError

from byoc.bootstrap.aws import Account, code_of, translated
from byoc.bootstrap.engine.session import Backend
from byoc.errors import Conflict, PreconditionFailed

ALIAS: Final = "alias/byoc-state"
_CLOSED: Final = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_TAG: Final = "byoc:state"
_HOME_REGION: Final = "us-east-1"
"""The one region in which S3 refuses to be told the region."""
_KEPT_VERSIONS_DAYS: Final = 365


def bucket_name(account: str, region: str) -> str:
    """Return the name of the state bucket of one account and region."""
    return f"byoc-state-{account}-{region}"


def backend(account: Account, *, endpoint: str = "") -> Backend:
    """Return what the engine is told of the state's place, whether or not it has been made.

    ``endpoint`` is another S3 than AWS's own, ``http://host:port``.
    """
    name = bucket_name(account.identity.account, account.region)
    query = {"region": account.region}
    if endpoint:
        query |= {"endpoint": endpoint, "s3ForcePathStyle": "true"}
    return Backend(
        url=f"s3://{name}?{urlencode(query)}",
        objects=BucketObjects(account, name),
        secrets=f"awskms://{ALIAS}?{urlencode({'region': account.region})}",
    )


def make(account: Account) -> None:
    """Make the bucket and the key, or finish making them.

    Raises:
        PreconditionFailed: the bucket's name belongs to another account.
        Forbidden: the caller may not.
    """
    key = _key(account)
    name = bucket_name(account.identity.account, account.region)
    _bucket(account, name)
    _guard(account, name, key)


def _key(account: Account) -> str:
    """Return the key's ARN, found by its alias, by its tag (a run was killed between the two), or made."""
    kms = account.client("kms")
    with translated("kms:DescribeKey"):
        try:
            return str(kms.describe_key(KeyId=ALIAS)["KeyMetadata"]["Arn"])
        except kms.exceptions.NotFoundException:
            pass
    arn = _untitled_key(kms) or _new_key(kms)
    with translated("kms:EnableKeyRotation"):
        kms.enable_key_rotation(KeyId=arn)
    with translated("kms:CreateAlias"):
        kms.create_alias(AliasName=ALIAS, TargetKeyId=arn)
    return arn


def _new_key(kms: Any) -> str:
    with translated("kms:CreateKey"):
        made = kms.create_key(
            Description="byoc: state of the cells of this region", Tags=[{"TagKey": _TAG, "TagValue": "key"}]
        )
    return str(made["KeyMetadata"]["Arn"])


def _untitled_key(kms: Any) -> str:
    with translated("kms:ListKeys"):
        keys = [key for page in kms.get_paginator("list_keys").paginate() for key in page["Keys"]]
    for key in keys:
        try:
            tags = kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
            state = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
        except ClientError:
            continue  # a key of somebody else's, which we may not read
        if state == "Enabled" and {"TagKey": _TAG, "TagValue": "key"} in tags:
            return str(key["KeyArn"])
    return ""


def _bucket(account: Account, name: str) -> None:
    s3 = account.client("s3")
    where: Mapping[str, Any] = (
        {}
        if account.region == _HOME_REGION
        else {"CreateBucketConfiguration": {"LocationConstraint": account.region}}
    )
    with translated("s3:CreateBucket"):
        try:
            s3.create_bucket(Bucket=name, **where)
        except ClientError as error:
            if code_of(error) == "BucketAlreadyExists":
                raise PreconditionFailed(
                    f"bucket {name} belongs to another account",
                    hint="report it to AWS: the name has this account's number in it",
                ) from error
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise


def _guard(account: Account, name: str, key: str) -> None:
    """Put every protection on the bucket; putting one again changes nothing."""
    s3, mine = account.client("s3"), {"Bucket": name, "ExpectedBucketOwner": account.identity.account}
    # One by one: S3 denies in words that name no action.
    with translated("s3:PutBucketPublicAccessBlock"):
        s3.put_public_access_block(**mine, PublicAccessBlockConfiguration=dict.fromkeys(_CLOSED, True))
    with translated("s3:PutBucketVersioning"):
        s3.put_bucket_versioning(**mine, VersioningConfiguration={"Status": "Enabled"})
    with translated("s3:PutEncryptionConfiguration"):
        s3.put_bucket_encryption(**mine, ServerSideEncryptionConfiguration={"Rules": [_encrypted(key)]})
    with translated("s3:PutLifecycleConfiguration"):
        s3.put_bucket_lifecycle_configuration(**mine, LifecycleConfiguration={"Rules": [_lifecycle()]})
    with translated("s3:PutBucketTagging"):
        s3.put_bucket_tagging(**mine, Tagging={"TagSet": [{"Key": _TAG, "Value": "bucket"}]})
    with translated("s3:PutBucketPolicy"):
        s3.put_bucket_policy(**mine, Policy=json.dumps(_policy(account, name)))


def _encrypted(key: str) -> dict[str, Any]:
    return {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key},
        "BucketKeyEnabled": True,
    }


def _lifecycle() -> dict[str, Any]:
    return {
        "ID": "old-versions",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": _KEPT_VERSIONS_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }


def _policy(account: Account, name: str) -> dict[str, Any]:
    everything = [
        f"arn:{account.identity.partition}:s3:::{name}",
        f"arn:{account.identity.partition}:s3:::{name}/*",
    ]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": everything}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "OnlyTLS", **deny, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            {
                "Sid": "OnlyThisAccount",
                **deny,
                "Condition": {
                    "StringNotEquals": {"aws:PrincipalAccount": account.identity.account},
                    "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
                },
            },
        ],
    }


class BucketObjects:
    """Objects of the state bucket, for what stands beside the engine's state."""

    def __init__(self, account: Account, bucket: str) -> None:
        self._account = account
        self._bucket = bucket

    def keys(self, prefix: str) -> Sequence[str]:
        """Names that begin with ``prefix``; none where the bucket has not been made."""
        with translated("s3:ListBucket"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(**self._mine, Prefix=prefix)
            try:
                return [one["Key"] for page in pages for one in page.get("Contents", [])]
            except ClientError as error:
                if code_of(error) == "NoSuchBucket":
                    return []
                raise

    def read(self, key: str) -> bytes | None:
        """Content of ``key``; ``None`` where there is no such object or bucket."""
        with translated("s3:GetObject"):
            try:
                content: bytes = self._s3.get_object(**self._mine, Key=key)["Body"].read()
            except ClientError as error:
                if code_of(error) in {"NoSuchKey", "NoSuchBucket", "404"}:
                    return None
                raise
            return content

    def write(self, key: str, data: bytes) -> None:
        """Replace ``key`` as a whole; the bucket keeps the earlier version."""
        with translated("s3:PutObject"):
            self._s3.put_object(**self._mine, Key=key, Body=data)

    def add(self, key: str, data: bytes) -> None:
        """Write ``key``, which nobody may have written before.

        Raises:
            Conflict: somebody has.
        """
        with translated("s3:PutObject"):
            try:
                self._s3.put_object(**self._mine, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
                    raise Conflict(f"{key} is on record already", hint="look again: `list`") from error
                raise

    def delete(self, key: str) -> None:
        """Remove ``key``; a missing one is no error."""
        with translated("s3:DeleteObject"):
            self._s3.delete_object(**self._mine, Key=key)

    @property
    def _s3(self) -> Any:
        return self._account.client("s3")

    @property
    def _mine(self) -> dict[str, str]:
        return {"Bucket": self._bucket, "ExpectedBucketOwner": self._account.identity.account}
