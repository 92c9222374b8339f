"""Provider plugins: which ones the program needs, which the engine has, the difference downloaded early.

The engine fetches a plugin when it first meets a resource of it, which is in the middle of
apply, where a broken download leaves half a cell. Bootstrap does it in preflight.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from byoc.errors import Failed

PACKAGES: Final = {"aws": "pulumi-aws"}
"""Providers of the cell's program and the distributions that carry their version."""

KUBERNETES: Final = {"kubernetes": "pulumi-kubernetes"}
"""Needed besides where the cluster's objects are delivered directly."""


@dataclass(frozen=True, order=True)
class Plugin:
    """One provider at one version; the engine takes no other version than the SDK's."""

    name: str
    version: str


def needed(packages: Mapping[str, str] = PACKAGES) -> tuple[Plugin, ...]:
    """The plugins that the installed SDKs ask for."""
    return tuple(Plugin(name, metadata.version(package)) for name, package in packages.items())


def installed(listing: str) -> frozenset[Plugin]:
    """Read what ``pulumi plugin ls --json`` prints.

    Raises:
        Failed: it is no such listing.
    """
    try:
        rows = json.loads(listing)
        return frozenset(
            Plugin(row["name"], str(row.get("version") or "").removeprefix("v"))
            for row in rows
            if row["kind"] == "resource"
        )
    except (ValueError, TypeError, KeyError) as error:
        raise Failed("pulumi lists its plugins in a way that byoc does not know") from error


def missing(wanted: Iterable[Plugin], there: frozenset[Plugin]) -> tuple[Plugin, ...]:
    """Those of ``wanted`` that must be downloaded."""
    return tuple(plugin for plugin in wanted if plugin not in there)
