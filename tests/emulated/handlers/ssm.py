"""Parameters of Systems Manager."""

import re
from collections.abc import Iterator

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

_NAME = re.compile(r"/?[a-zA-Z0-9._-]+(?:/[a-zA-Z0-9._-]+)*")
_STANDARD, _ADVANCED = 4096, 8192


@register("aws:ssm/parameter:Parameter")
class Parameter(Handler):
    """A text under a name."""

    replace = paths("name")
    computed = paths("arn version")
    decided = paths("tier dataType keyId")
    unread = paths("overwrite valueWo valueWoVersion insecureValue allowedPattern")
    defaults = fixed({"tier": "Standard", "dataType": "text"})
    named = "name"

    def check(self, inputs: Inputs, region: str) -> Iterator[str]:
        name = inputs.get("name", "")
        if not _NAME.fullmatch(name) or re.match(r"/?(aws|ssm)", name, re.IGNORECASE):
            yield f"ValidationException: `{name}` is no name of a parameter"
        if "/" in name and not name.startswith("/"):
            yield f"ValidationException: the name `{name}` has levels and begins without a slash"
        if inputs.get("type") not in {"String", "StringList", "SecureString"}:
            yield f"ValidationException: {inputs.get('type')} is no type of a parameter"
        most = _ADVANCED if inputs.get("tier") == "Advanced" else _STANDARD
        if not 1 <= len((inputs.get("value") or "").encode()) <= most:
            yield f"ValidationException: a value has 1 to {most} bytes"

    def create(self, aws: Aws, inputs: Inputs) -> str:
        aws("ssm").put_parameter(
            Name=inputs["name"],
            Value=inputs["value"],
            Type=inputs["type"],
            **put(
                {},
                Description=inputs.get("description"),
                KeyId=inputs.get("keyId"),
                Tier=inputs.get("tier"),
                Tags=tag_list(inputs.get("tags")),
            ),
        )
        return str(inputs["name"])

    def read(self, aws: Aws, identity: str) -> Properties | None:
        row = found(lambda: aws("ssm").get_parameter(Name=identity, WithDecryption=True))
        if row is None:
            return None
        named_so = [{"Key": "Name", "Values": [identity]}]
        about = aws("ssm").describe_parameters(ParameterFilters=named_so)["Parameters"][0]
        tags = aws("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=identity)
        one = row["Parameter"]
        return put(
            {
                "arn": one["ARN"],
                "name": one["Name"],
                "type": one["Type"],
                "value": one["Value"],
                "version": one["Version"],
                "tier": about.get("Tier", "Standard"),
                "dataType": one.get("DataType", "text"),
            },
            description=about.get("Description"),
            keyId=about.get("KeyId"),
            tags=tag_map(tags["TagList"]),
        )

    def update(self, aws: Aws, identity: str, inputs: Inputs, changed: set[str]) -> None:
        ssm = aws("ssm")
        if changed - {"tags"}:
            about = put({}, Description=inputs.get("description"), KeyId=inputs.get("keyId"))
            ssm.put_parameter(
                Name=identity, Value=inputs["value"], Type=inputs["type"], Overwrite=True, **about
            )
        if "tags" in changed:
            before = ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=identity)["TagList"]
            wanted = inputs.get("tags") or {}
            dropped = sorted(tag_map(before).keys() - wanted.keys())
            ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId=identity, TagKeys=dropped)
            ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId=identity, Tags=tag_list(wanted))

    def delete(self, aws: Aws, identity: str, state: Inputs) -> None:
        found(lambda: aws("ssm").delete_parameter(Name=identity))

    def pretend(self, inputs: Inputs, identity: str) -> Properties:
        name = str(inputs.get("name", ""))
        return {"arn": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name.lstrip('/')}", "version": 1}
