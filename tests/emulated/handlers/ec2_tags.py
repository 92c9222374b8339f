"""Tags of EC2's things: given while they are made, changed by two calls for every type."""

from typing import Any

from tests.emulated.handlers.handler import Aws, Handler, Inputs, tag_list, tag_map


def given(kind: str, inputs: Inputs) -> dict[str, Any]:
    """The argument of a create call that tags what is made."""
    tags = inputs.get("tags")
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(tags)}]} if tags else {}


def tags_of(aws: Aws, identity: str) -> dict[str, str]:
    """The tags of something of EC2, asked for by themselves."""
    filters = [{"Name": "resource-id", "Values": [identity]}]
    return tag_map(aws("ec2").describe_tags(Filters=filters)["Tags"])


def retag(aws: Aws, identity: str, tags: dict[str, str] | None) -> None:
    """Leave exactly ``tags`` on something of EC2."""
    before = tags_of(aws, identity)
    wanted = tags or {}
    if dropped := [{"Key": key} for key in before.keys() - wanted.keys()]:
        aws("ec2").delete_tags(Resources=[identity], Tags=dropped)
    if wanted:
        aws("ec2").create_tags(Resources=[identity], Tags=tag_list(wanted))


class Ec2Handler(Handler):
    """A thing of EC2 of which only the tags change."""

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        if "tags" in changed:
            retag(aws, identity, inputs.get("tags"))
        if rest := changed - {"tags"}:
            super().update(aws, identity, inputs, rest)
