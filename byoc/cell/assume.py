"""What a plan assumes where nobody said and no preflight looked, from the dated ``facts.json``. Pure.

Read by ``byoc cell plan``. The invariant: whatever comes from here is named in ``assumed``, so that no
plan passes an assumption off as a fact.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from byoc.cell.args import CellArgs
from byoc.cell.config import from_mapping
from byoc.cell.images import released_agent
from byoc.errors import UsageError

NAME: Final = "main"
REGION: Final = "us-east-1"
_GATEWAY: Final = "wss://gateway.example/nimbus/v1"
_AGENT: Final = {"agentRepository": "registry.example/byoc-agent", "agentDigest": f"sha256:{'0' * 64}"}


@cache
def table() -> Mapping[str, Any]:
    """Return the table of assumptions, with its date and sources."""
    value: dict[str, Any] = json.loads(files("byoc.cell").joinpath("facts.json").read_text(encoding="utf-8"))
    return value


def complete(settings: Mapping[str, Any]) -> tuple[CellArgs, tuple[str, ...]]:
    """Return the arguments that ``settings`` say, and the names of those that had to be assumed.

    Raises:
        UsageError: the settings contradict themselves, or the region's zones are not known.
    """
    region = settings.get("region", REGION)
    found = dict(settings)
    for name, value in _assumptions(str(region)).items():
        found.setdefault(name, value)
    if "zones" not in found:
        raise UsageError(
            f"region `{region}` is none whose zones are known here",
            hint=f"name three zones, or take one of {', '.join(table()['zones'])}",
        )
    assumed = tuple(sorted(found.keys() - settings.keys()))
    return from_mapping(found, assumed=bool(assumed)), assumed


def _assumptions(region: str) -> dict[str, Any]:
    known = table()
    letters = known["zones"].get(region)
    return {
        "name": NAME,
        "region": region,
        **({"zones": [f"{region}{letter}" for letter in letters[:3]]} if letters else {}),
        **({"partition": "aws-us-gov"} if region.startswith("us-gov-") else {}),
        **{name: known[name] for name in ("account", "kubernetes", "amiRelease", "addons")},
        "gatewayUrl": _GATEWAY,
        **({} if released_agent() else _AGENT),
    }
