"""JSON Schema of ``policy.toml``, made of the types that a policy is read into.

Written to ``policy.schema.json`` beside this module with ``python -m byoc.dataplane.policy_schema``; a test
compares the two, and the schema with the reader. An editor that knows the schema marks a mistake while it
is typed. What no schema can say, the reader says: whether a time zone is known.
"""

import json
import sys
from dataclasses import MISSING, fields
from datetime import timedelta
from typing import Any, Final, get_args, get_origin, get_type_hints

from byoc.dataplane.named import NAME, TO, Named
from byoc.dataplane.policy import Policy, Rate, patterns
from byoc.dataplane.windows import DAYS, HOURS, Window
from byoc.model.verbs import Verb

FILE: Final = "policy.schema.json"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_PATTERNS: Final = sorted({pattern for verb in Verb for pattern in patterns(verb)})
_WORDS: Final[dict[str, str]] = {
    "allow": "verbs that the control plane may use; what no line allows is refused",
    "deny": "verbs that are refused whatever `allow` says",
    "approval": "verbs that wait until somebody in the cell approves the very change",
    "only_for": "by verb: the subjects, as the provider names them, that it is for",
    "max_age": "by verb: how long ago a change may have been asked for",
    "windows": "by verb: when it may be done",
    "rate": "by verb: how often it may be done",
    "services": "by name: what `service.open` may open, where it is and how long one forward may last",
}
_LEAVES: Final[dict[Any, dict[str, Any]]] = {
    timedelta: {"type": "string", "pattern": r"^\d{1,8}[smhd]$"},
    Rate: {"type": "string", "pattern": r"^[1-9]\d{0,5}/[1-9]\d{0,5}[smhd]$"},
    str: {"type": "string"},
    Named: {
        "type": "object",
        "additionalProperties": False,
        "required": ["to"],
        "properties": {
            "to": {"type": "string", "pattern": f"^{TO}$", "examples": ["grafana.monitoring.svc:3000"]},
            "max_life": {"type": "string", "pattern": r"^\d{1,8}[smhd]$", "examples": ["30m"]},
        },
    },
    Window: {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "days": {"type": "array", "items": {"enum": list(DAYS)}},
            "hours": {"type": "string", "pattern": f"^({HOURS})?$"},
            "zone": {"type": "string", "examples": ["Europe/Zurich"]},
        },
    },
}


def schema() -> dict[str, Any]:
    """Return the schema."""
    hints = get_type_hints(Policy)
    return {
        "$schema": _DIALECT,
        "title": "byoc policy",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            each.name: _setting(hints[each.name])
            | {"description": _WORDS[each.name]}
            | ({"default": list(each.default)} if each.default is not MISSING and each.default else {})
            for each in fields(Policy)
        },
    }


def _setting(kind: Any) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        return {"type": "array", "items": {"enum": _PATTERNS}}
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{NAME}$"} if inner[1] is Named else {"enum": _PATTERNS},
        "additionalProperties": _value(inner[1]),
    }


def _value(kind: Any) -> dict[str, Any]:
    origin = get_origin(kind)
    if origin is None:
        return _LEAVES[kind]
    several = {"type": "array", "items": _LEAVES[get_args(kind)[0]]}
    return several | {"minItems": 1} if origin is tuple else several


def text() -> str:
    """Return what stands in the file."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
