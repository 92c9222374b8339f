"""Sections on the settings of processes, from the tables and the classes that they read them by."""

import inspect
import re
from dataclasses import MISSING, fields
from typing import Any, Final

from byoc.controlplane.settings import SETTINGS
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.settings import AgentSettings
from byoc.nimbus.serve import GatewaySettings
from byoc_cli.operate import VARIABLES
from docs.sections.page import code, table

_ATTRIBUTE: Final = re.compile(r"^ {4}(\w+): (.+?)(?=^ {4}\w+: |\Z)", re.MULTILINE | re.DOTALL)
_FLAGS: Final = frozenset({"data", "stop_engines"})
"""Of the agent's: given by flags, not by its file."""


def control_plane() -> str:
    """Return the settings of the control plane."""
    rows = (
        (f"`{one.name}`", code([one.default] if one.default else []), one.description) for one in SETTINGS
    )
    return table(("variable", "default", "is"), rows)


def servers() -> str:
    """Return the variables that the gateway and the agent read."""
    rows = ((f"`{one.name}`", code(one.read_by), code([one.default] if one.default else []), one.description)
            for one in VARIABLES)  # fmt: skip
    return table(("variable", "read by", "default", "is"), rows)


def gateway() -> str:
    """Return the settings of the gateway, which are flags."""
    return _table("flag", GatewaySettings, {each: f"--{each}" for each in described(GatewaySettings)})


def agent() -> str:
    """Return the keys of the agent's file."""
    names = {each: _camel(each) for each in described(AgentSettings) if each not in _FLAGS}
    return _table("key", AgentSettings, names)


def agent_in_cluster() -> str:
    """Return the keys of the object ``kubernetes`` in it."""
    return _table("key", ClusterSettings, {each: _camel(each) for each in described(ClusterSettings)})


def described(kind: type[Any]) -> dict[str, str]:
    """Return what a class says of its attributes."""
    _, _, about = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    return {name: " ".join(text.replace("``", "`").split()) for name, text in _ATTRIBUTE.findall(about)}


def _table(heading: str, kind: type[Any], names: dict[str, str]) -> str:
    said, defaults = described(kind), {each.name: _default(each) for each in fields(kind)}
    rows = ((f"`{name}`", defaults[field], said[field].removesuffix(".")) for field, name in names.items())
    return table((heading, "default", "is"), rows)


def _default(field: Any) -> str:
    if field.default_factory is not MISSING:
        value = field.default_factory()
        return code([", ".join(f"{name}: {text}" for name, text in value.items())] if value else [])
    if field.default is MISSING:
        return "must be given"
    return "" if field.default in {None, ""} else code([str(field.default)])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.capitalize() for each in rest)
