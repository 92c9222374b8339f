"""What stands between here and a gateway, one step after the other, as data.

Read by ``byoc doctor --only tunnel``. Each step passes, fails with what to do, or is skipped where a step
before it failed. Nothing is said to the gateway but what any dial says: no key is shown, nobody logs in.
"""

import asyncio
import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in the stubs

from byoc.clock import Clock
from byoc.errors import ByocError
from byoc.model.check import Check, Result
from byoc.nimbus.dialling import address, dialler, is_loopback
from byoc.wire.claims import CLOCK_SKEW

NAME: Final = "tunnel-name"
LINE: Final = "tunnel-line"
CLOCK: Final = "tunnel-clock"
NAMES: Final = (NAME, LINE, CLOCK)
_PORT: Final = 443
_SKIPPED: Final = "not checked: {} failed"


def skipped(why: str) -> list[Check]:
    """Return every step as one that could not be looked at."""
    return [Check(name, Result.SKIP, why) for name in NAMES]


async def prechecks(
    url: str, *, ca: Path | None, environment: Mapping[str, str], clock: Clock
) -> list[Check]:
    """Look at the way to the gateway at ``url``; the proxy is the one that ``environment`` names.

    Raises:
        UsageError: ``url`` is not one of a gateway, or ``ca`` cannot be read.
    """
    parts = address(url)
    host, dial = parts.hostname or "", dialler(url, ca=ca)
    named = await _name(host, parts.port or _PORT, environment)
    if named.result is Result.FAIL:
        return [named, *(Check(name, Result.SKIP, _SKIPPED.format(NAME)) for name in (LINE, CLOCK))]
    try:
        line = await dial()
    except ByocError as error:
        failed = Check(LINE, Result.FAIL, error.message, error.hint or "let this machine out to the gateway")
        return [named, failed, Check(CLOCK, Result.SKIP, _SKIPPED.format(LINE))]
    await line.close()
    stands = Check(LINE, Result.PASS, f"{parts.netloc} answers by TLS 1.3 as a gateway")
    return [named, stands, compare(line.their_clock, clock.now())]


def proxy_for(host: str, environment: Mapping[str, str]) -> str:
    """Return the proxy that a dial to ``host`` takes, without its password; empty where it takes none."""
    proxies = _proxies(environment)
    if is_loopback(host) or proxy_bypass_environment(host, proxies):
        return ""
    chosen = proxies.get("https", "")
    return chosen.rpartition("@")[2] if "@" in chosen else chosen.partition("://")[2] or chosen


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in environment.items() if value}
    return {name: lower[f"{name}_proxy"] for name in ("https", "no") if f"{name}_proxy" in lower}


async def _name(host: str, port: int, environment: Mapping[str, str]) -> Check:
    proxy = proxy_for(host, environment)
    if proxy:
        return Check(NAME, Result.PASS, f"the proxy {proxy} looks {host} up")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        action = "check the name, and the DNS of this network"
        return Check(NAME, Result.FAIL, f"{host} has no address here: {error.strerror or error}", action)
    addresses = sorted({str(each[4][0]) for each in found})
    return Check(NAME, Result.PASS, f"{host} is {', '.join(addresses)}")


def compare(theirs: datetime | None, ours: datetime) -> Check:
    """Say whether clocks that differ stand in the way of signed tokens. Pure."""
    if theirs is None:
        return Check(CLOCK, Result.UNKNOWN, "the gateway did not say what time it is")
    ahead = (ours - theirs).total_seconds()
    if abs(ahead) <= CLOCK_SKEW.total_seconds():
        return Check(CLOCK, Result.PASS, f"within {CLOCK_SKEW.total_seconds():.0f} s of the gateway's")
    way = "ahead of" if ahead > 0 else "behind"
    detail = f"this machine's clock is {abs(ahead):.0f} s {way} the gateway's"
    return Check(CLOCK, Result.FAIL, detail, "set it by NTP: signed requests live a minute")
