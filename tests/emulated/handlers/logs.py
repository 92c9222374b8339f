"""Groups of log streams."""

import re
from collections.abc import Iterator

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

# CloudWatch Logs API reference, PutRetentionPolicy; zero is the provider's word for ever.
RETENTION = frozenset(
    {
        0,
        1,
        3,
        5,
        7,
        14,
        30,
        60,
        90,
        120,
        150,
        180,
        365,
        400,
        545,
        731,
        1096,
        1827,
        2192,
        2557,
        2922,
        3288,
        3653,
    }
)
_NAME = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}")


@register("aws:cloudwatch/logGroup:LogGroup")
class LogGroup(Handler):
    """A log and how long it is kept."""

    replace = paths("name namePrefix logGroupClass")
    unread = paths("skipDestroy")
    decided = paths("logGroupClass")
    defaults = fixed({"retentionInDays": 0})
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        if not _NAME.fullmatch(inputs.get("name", "")):
            yield f"InvalidParameterException: `{inputs.get('name')}` is no name of a log group"
        if (days := inputs.get("retentionInDays", 0)) not in RETENTION:
            yield f"InvalidParameterException: retentionInDays {days} is not allowed by CloudWatch Logs"
        if (key := inputs.get("kmsKeyId")) and not key.startswith("arn:"):
            yield f"InvalidParameterException: {key} is no ARN of a key"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        if key := inputs.get("kmsKeyId"):
            state = aws("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
            if state != "Enabled":
                raise Refused("InvalidParameterException", f"the key {key} is {state}")
        about = put({}, kmsKeyId=key, tags=inputs.get("tags"))
        aws("logs").create_log_group(logGroupName=inputs["name"], **about)
        if inputs.get("retentionInDays"):
            self.update(aws, inputs["name"], inputs, {"retentionInDays"})
        return str(inputs["name"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        rows = aws("logs").describe_log_groups(logGroupNamePrefix=identity)["logGroups"]
        row = next((one for one in rows if one["logGroupName"] == identity), None)
        if row is None:
            return None
        arn = row["arn"].removesuffix(":*")
        return put(
            {"arn": arn, "name": identity, "retentionInDays": row.get("retentionInDays", 0)},
            kmsKeyId=row.get("kmsKeyId"),
            logGroupClass=row.get("logGroupClass"),
            tags=aws("logs").list_tags_for_resource(resourceArn=arn)["tags"],
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        logs = aws("logs")
        if "retentionInDays" in changed:
            if days := inputs.get("retentionInDays"):
                logs.put_retention_policy(logGroupName=identity, retentionInDays=int(days))
            else:
                logs.delete_retention_policy(logGroupName=identity)
        if "kmsKeyId" in changed:
            if key := inputs.get("kmsKeyId"):
                logs.associate_kms_key(logGroupName=identity, kmsKeyId=key)
            else:
                logs.disassociate_kms_key(logGroupName=identity)
        if "tags" in changed:
            arn = aws.arn("logs", f"log-group:{identity}")
            before = logs.list_tags_for_resource(resourceArn=arn)["tags"]
            wanted = inputs.get("tags") or {}
            if dropped := sorted(before.keys() - wanted.keys()):
                logs.untag_resource(resourceArn=arn, tagKeys=dropped)
            logs.tag_resource(resourceArn=arn, tags=dict(wanted))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        if not state.get("skipDestroy"):
            found(lambda: aws("logs").delete_log_group(logGroupName=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        return {"arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{inputs.get('name')}"}
