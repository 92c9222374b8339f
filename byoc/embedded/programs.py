"""The three processes of an instance and how they are called: the same entry points as in production.

Arguments and environment hold names of files and ports, never what is in the files.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from byoc import durable
from byoc.embedded.child import Program
from byoc.embedded.layout import Layout
from byoc.embedded.places import Places

# What the user set for the command line is not for servers, and secrets least of all.
_NOT_PASSED_ON: Final = (
    "BYOC_TOKEN",
    "BYOC_URL",
    "BYOC_PROFILE",
    "BYOC_OUTPUT",
    "BYOC_SQL_PASSWORD",
    "BYOC_DATA",
    "BYOC_HOST",
    "BYOC_PORT",
)
RECONNECT_CAP: Final = 2.0
"""Seconds: on one machine no crowd of clients comes back at once, and somebody waits in front of it."""
_ROTATE_AT: Final = 5 * 1024 * 1024
_OLD_LOGS: Final = 2


def gateway_url(port: int) -> str:
    """Return the address that both ends of the tunnel dial."""
    return f"wss://127.0.0.1:{port}/nimbus/v1"


def child_environment(caller: Mapping[str, str], places: Places, layout: Layout) -> dict[str, str]:
    """Return the environment of the instance's processes."""
    kept = {name: value for name, value in caller.items() if name not in _NOT_PASSED_ON}
    return kept | {
        "BYOC_GATEWAYS": gateway_url(layout.gateway_port),
        "BYOC_GATEWAY_CA": str(places.gateway / "ca.crt"),
        "BYOC_RECONNECT_CAP": str(RECONNECT_CAP),
        "PYTHONUNBUFFERED": "1",
    }


def programs(places: Places, layout: Layout, caller: Mapping[str, str]) -> dict[str, Program]:
    """Return the instance's processes by name."""
    environment = child_environment(caller, places, layout)
    data = ("--data", str(places.data))
    arguments = {
        "controlplane": ("controlplane", "serve", *data, "--port", str(layout.port)),
        "gateway": ("gateway", "serve", *data, "--port", str(layout.gateway_port)),
        "agent": ("agent", "run", *data),
    }
    byoc = (sys.executable, "-m", "byoc")
    return {
        name: Program(name, byoc + words, environment, places.log / f"{name}.log")
        for name, words in arguments.items()
    }


def init_command(places: Places) -> list[str]:
    """Return the command that makes the control plane's folder: keys, database, owner. May be run again."""
    return [sys.executable, "-m", "byoc", "controlplane", "init", "--data", str(places.data)]


def open_logs(places: Places) -> None:
    """Make the log folder; a log that has grown large is kept beside a new one."""
    durable.make_folder(places.log)
    for log in places.log.glob("*.log"):
        if log.stat().st_size > _ROTATE_AT:
            _rotate(log)


def _rotate(log: Path) -> None:
    for number in range(_OLD_LOGS, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        newer = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
        if newer.exists():
            os.replace(newer, older)  # noqa: PTH105 - reads as what it is
