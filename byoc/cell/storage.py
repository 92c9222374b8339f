"""The two buckets of a cell: the databases of workspaces, and the customer's record of every request.

Made by the root component. The invariants: no public access whatever a later policy says, TLS only, own
account only, every object encrypted with the cell's key; what closes a bucket stays as long as it does.
"""

import json

import pulumi
import pulumi_aws as aws

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.part import Part

OLD_VERSIONS_DAYS = 30
"""How long a replaced or deleted object of the data bucket can be had back."""
UNFINISHED_DAYS = 7
"""When a multipart upload that nobody finishes is dropped."""


def bucket_policy(args: CellArgs, which: arns.Bucket) -> str:
    """Return a bucket's policy: what is not encrypted on its way, or not this account's, is refused."""
    arn = arns.bucket_arn(args, which)
    everything = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    statements = [
        {"Sid": "TlsOnly", **everything, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Sid": "Tls12OrNewer", **everything, "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}}},
        {
            "Sid": "OwnAccountOnly",
            **everything,
            "Condition": {
                "StringNotEquals": {"aws:PrincipalAccount": args.facts.account},
                "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
            },
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


class Storage(Part):
    """The data bucket and the ledger's.

    The ledger's Object Lock is in governance mode: no role of the cell may pass it by, and whoever owns
    the account can still end the cell within the year.

    Args:
        key_arn: encrypts every object.

    Attributes:
        data_bucket: name of the bucket with the databases; known once it exists.
        ledger_bucket: name of the bucket with the ledger; known once it is locked.
    """

    def __init__(
        self, args: CellArgs, key_arn: pulumi.Input[str], *, parent: pulumi.Resource | None = None
    ) -> None:
        super().__init__("Storage", args, parent=parent)
        self.data_bucket = self._bucket("data", key_arn, kept_days=OLD_VERSIONS_DAYS).bucket
        self.ledger_bucket = self._ledger(key_arn)
        self.register_outputs({"dataBucket": self.data_bucket, "ledgerBucket": self.ledger_bucket})

    def _ledger(self, key_arn: pulumi.Input[str]) -> pulumi.Output[str]:
        bucket = self._bucket("ledger", key_arn, kept_days=self.args.ledger_days)
        aws.s3.BucketObjectLockConfiguration(
            "ledger-lock",
            bucket=bucket.bucket,
            rule=aws.s3.BucketObjectLockConfigurationRuleArgs(
                default_retention=aws.s3.BucketObjectLockConfigurationRuleDefaultRetentionArgs(
                    mode="GOVERNANCE", days=self.args.ledger_days
                )
            ),
            opts=self.options("ledger-lock", within=bucket),
        )
        return bucket.bucket

    def _bucket(self, which: arns.Bucket, key_arn: pulumi.Input[str], *, kept_days: int) -> aws.s3.Bucket:
        bucket = aws.s3.Bucket(
            which,
            bucket=arns.bucket_name(self.args, which),
            object_lock_enabled=which == "ledger",
            tags=self.tags(which),
            opts=self.options(which),
        )
        self._close(which, bucket)
        self._encrypt(which, bucket, key_arn)
        self._keep(which, bucket, kept_days)
        return bucket

    def _close(self, which: arns.Bucket, bucket: aws.s3.Bucket) -> None:
        block = aws.s3.BucketPublicAccessBlock(
            f"{which}-private",
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self.options(f"{which}-private", within=bucket),
        )
        aws.s3.BucketOwnershipControls(
            f"{which}-ownership",
            bucket=bucket.bucket,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=self.options(f"{which}-ownership", within=bucket),
        )
        aws.s3.BucketPolicy(
            f"{which}-policy",
            bucket=bucket.bucket,
            policy=bucket_policy(self.args, which),
            # S3 refuses two changes of a bucket's settings at once.
            opts=self.options(f"{which}-policy", within=bucket, depends_on=[block]),
        )

    def _encrypt(self, which: arns.Bucket, bucket: aws.s3.Bucket, key_arn: pulumi.Input[str]) -> None:
        by_default = aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
            sse_algorithm="aws:kms", kms_master_key_id=key_arn
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{which}-encryption",
            bucket=bucket.bucket,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=by_default, bucket_key_enabled=True
                )
            ],
            opts=self.options(f"{which}-encryption", within=bucket),
        )

    def _keep(self, which: arns.Bucket, bucket: aws.s3.Bucket, kept_days: int) -> None:
        versioning = aws.s3.BucketVersioning(
            f"{which}-versions",
            bucket=bucket.bucket,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=self.options(f"{which}-versions", within=bucket),
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{which}-lifecycle",
            bucket=bucket.bucket,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="old",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                        noncurrent_days=kept_days
                    ),
                    expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(
                        expired_object_delete_marker=True
                    ),
                    abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                        days_after_initiation=UNFINISHED_DAYS
                    ),
                )
            ],
            opts=self.options(f"{which}-lifecycle", within=bucket, depends_on=[versioning]),
        )
