"""The key that opens every volume, bucket, log and secret of a cell: its own, or the customer's.

Made by the root component before everything else. The invariants: the key turns every year, is never
deleted with less than 30 days to think again, and is protected in the stack.
"""

from typing import Final

import pulumi
import pulumi_aws as aws

from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.keypolicy import key_policy
from byoc.cell.part import Part

THINK_AGAIN_DAYS: Final = 30
"""The longest wait KMS offers (KMS API reference, ScheduleKeyDeletion)."""
TURN_DAYS: Final = 365


class Keys(Part):
    """The cell's KMS key and its alias; nothing where the customer brings a key.

    Attributes:
        key_arn: ARN of the key; known as late as the alias by which volumes name it.
    """

    def __init__(self, args: CellArgs, *, parent: pulumi.Resource | None = None) -> None:
        super().__init__("Keys", args, parent=parent)
        self.key_arn: pulumi.Output[str] = pulumi.Output.from_input(args.key_arn or self._key())
        self.register_outputs({"keyArn": self.key_arn})

    def _key(self) -> pulumi.Output[str]:
        key = aws.kms.Key(
            "key",
            description=f"Everything of cell {self.args.name}",
            policy=key_policy(self.args).text(),
            enable_key_rotation=True,
            rotation_period_in_days=TURN_DAYS,
            deletion_window_in_days=THINK_AGAIN_DAYS,
            tags=self.tags("key"),
            opts=self.options("key"),
        )
        alias = aws.kms.Alias(
            "key", name=arns.key_alias(self.args), target_key_id=key.key_id, opts=self.options("key")
        )
        # The storage class names the alias: what waits for the key waits for both.
        return pulumi.Output.all(key.arn, alias.id).apply(lambda both: str(both[0]))
