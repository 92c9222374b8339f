"""`byoc doctor`: checks of this machine and of its instance, as data.

Each check passes, fails with what to do, or is skipped because what it needs is not there. A check
never changes anything, and none of them says a secret.
"""

import asyncio
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from byoc.clock import SystemClock
from byoc.embedded import layout, ports, processes
from byoc.embedded.api import LocalApi
from byoc.embedded.layout import Layout
from byoc.embedded.places import Places
from byoc.embedded.status import Status, status
from byoc.errors import ByocError, UsageError
from byoc.model.check import Check, Result

_OLDEST_PYTHON: Final = (3, 11)
_GIB: Final = 1024**3
_DISK_NEEDED: Final = _GIB
_MIB: Final = 1024**2
_SECRETS: Final = (
    "controlplane/owner.token",
    "controlplane/keys/*.json",
    "controlplane/byoc.sqlite*",
    "gateway/tls.key",
    "cell/keys.json",
    "cell/enrolment.json",
    "cell/secrets/*.json",
)
LOCAL_ENGINE: Final = "local engine: MariaDB, a stand-in for SingleStore"
DIFFERENCES: Final = (
    "no columnstore, no distributed partitions, no SingleStore SQL (pipelines, vector indexes, sharding); "
    "sizes are 1/128 of the real ones; firewall ranges are not enforced on loopback"
)


class _Subject:
    """What the checks look at; each part is read once, when it is first asked for."""

    def __init__(self, places: Places, environment: Mapping[str, str]) -> None:
        self.places = places
        self.environment = environment

    @cached_property
    def layout(self) -> Layout | None:
        return layout.read(self.places)

    @cached_property
    def status(self) -> Status:
        return status(self.places.data, environment=self.environment)

    @property
    def api(self) -> LocalApi:
        token = self.places.owner_token.read_text(encoding="utf-8").strip()
        return LocalApi(self.layout.port if self.layout else 0, token)


_Examine = Callable[[_Subject], Check]
TUNNEL: Final = "tunnel"


def _python(_: _Subject) -> Check:
    found = platform.python_version()
    if sys.version_info < _OLDEST_PYTHON:
        return Check("python", Result.FAIL, f"{found} is too old", "install Python 3.11 or newer")
    return Check("python", Result.PASS, found)


def _engine(subject: _Subject) -> Check:
    from byoc.embedded.engine import installed  # noqa: PLC0415 - loads the local cell's code

    try:
        engine = installed(subject.environment)
    except ByocError as error:
        return Check("engine", Result.FAIL, error.message, error.hint)
    return Check(
        "engine", Result.PASS, f"{LOCAL_ENGINE} ({engine.version}, {engine.program}); it has {DIFFERENCES}"
    )


def _folder(subject: _Subject) -> Check:
    try:
        found = subject.layout
        if found is not None:
            layout.check(found, subject.places)
    except ByocError as error:
        return Check("folder", Result.FAIL, error.message, error.hint)
    if found is None:
        return Check("folder", Result.SKIP, f"no instance in {subject.places.data} yet")
    if subject.places.data.stat().st_mode & 0o077:
        action = f"chmod 700 {subject.places.data}"
        return Check("folder", Result.FAIL, f"{subject.places.data} is open to other users", action)
    return Check(
        "folder", Result.PASS, f"{subject.places.data}, layout {found.layout}, schema {found.schema}"
    )


def _secrets(subject: _Subject) -> Check:
    files = [path for pattern in _SECRETS for path in subject.places.data.glob(pattern)]
    open_ones = [path for path in files if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if open_ones:
        names = " ".join(str(path) for path in open_ones)
        return Check("secrets", Result.FAIL, f"{len(open_ones)} readable by others", f"chmod 600 {names}")
    if not files:
        return Check("secrets", Result.SKIP, "no instance yet")
    return Check("secrets", Result.PASS, f"{len(files)} files, none readable by others")


def _disk(subject: _Subject) -> Check:
    folder = next(path for path in (subject.places.data, *subject.places.data.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    room = f"{free / _GIB:.1f} GiB" if free >= _GIB else f"{free // _MIB} MiB"
    detail = f"{room} free on {folder}"
    if free < _DISK_NEEDED:
        return Check(
            "disk", Result.FAIL, detail, "free at least 1 GiB: a full disk makes the cell refuse changes"
        )
    return Check("disk", Result.PASS, detail)


def _ports(subject: _Subject) -> Check:
    found = subject.layout
    if found is None or subject.status.running:
        return Check("ports", Result.SKIP, "in use by the instance" if found else "none chosen yet")
    taken = [port for port in (found.port, found.gateway_port) if not ports.is_free(port)]
    if taken:
        who = processes.who_listens(taken[0]) or "another program"
        return Check("ports", Result.FAIL, f"{taken[0]} is taken by {who}", "byoc up --port N")
    return Check("ports", Result.PASS, f"{found.port} and {found.gateway_port} are free")


def _processes(subject: _Subject) -> Check:
    found = subject.status
    if not found.processes:
        return Check("processes", Result.SKIP, "the instance does not run")
    dead = [each.name for each in found.processes if not each.alive]
    if dead:
        log = subject.places.log
        return Check("processes", Result.FAIL, f"not running: {', '.join(dead)}", f"see {log}; then byoc up")
    memory = sum(each.resident for each in found.processes) // _MIB
    return Check(
        "processes",
        Result.PASS,
        f"{len(found.processes)} run, {memory} MiB; SQL servers: {len(found.engines)}",
    )


def _tunnel(subject: _Subject) -> Check:
    if not subject.status.running:
        return Check("tunnel", Result.SKIP, "the instance does not run")
    try:
        connected = subject.api.is_connected_now(subject.status.cell_id)
    except (ByocError, OSError) as error:
        return Check(
            "tunnel", Result.FAIL, f"the control plane does not answer: {error}", "byoc down, byoc up"
        )
    if not connected:
        return _why_not_connected(subject)
    return Check("tunnel", Result.PASS, "the cell is connected")


def _why_not_connected(subject: _Subject) -> Check:
    """What the agent itself says of its tunnel; a revocation is somebody's will, which a command ends."""
    from byoc.dataplane import standing  # noqa: PLC0415 - loads the cell's code

    phase, reason = standing.read(subject.places.cell)
    because = f": {reason}" if reason and phase != "connected" else ""
    what = "byoc access restore" if phase == standing.REVOKED else f"see {subject.places.log / 'agent.log'}"
    return Check("tunnel", Result.FAIL, f"the cell is not connected{because}", what)


def _way(subject: _Subject) -> list[Check]:
    """The way to the gateway, step by step, as the agent on this machine takes it."""
    from byoc.dataplane.settings import AgentSettings  # noqa: PLC0415 - loads the cell's code
    from byoc.nimbus import prechecks  # noqa: PLC0415 - loads the tunnel's code
    from byoc.nimbus.dialling import address, is_loopback  # noqa: PLC0415

    try:
        agent = AgentSettings.load(subject.places.data)
    except ByocError as error:
        return prechecks.skipped(error.message)
    if not subject.status.running and is_loopback(address(agent.gateway).hostname or ""):
        return prechecks.skipped("the instance does not run, and its gateway neither")
    looking = prechecks.prechecks(
        agent.gateway, ca=agent.ca, environment=subject.environment, clock=SystemClock()
    )
    try:
        return asyncio.run(looking)
    except ByocError as error:
        return prechecks.skipped(error.message)


def _copies(subject: _Subject) -> Check:
    from byoc.dataplane.settings import AgentSettings  # noqa: PLC0415 - slow to import
    from byoc.dataplane.shipping import LATE, behind  # noqa: PLC0415

    ledger = subject.places.cell / "ledger"
    try:
        wanted = AgentSettings.load(subject.places.data).ledger_bucket
        if not wanted:
            return Check("copies", Result.SKIP, "the ledger is copied nowhere")
        age = behind(ledger, SystemClock().now())
    except (ByocError, OSError) as error:
        return Check("copies", Result.SKIP, f"nothing to see: {error}")
    if age > LATE:
        late = f"the ledger's copies in {wanted} are {int(age.total_seconds())} s behind"
        return Check("copies", Result.FAIL, late, "see what `byoc agent ship-ledger` says")
    return Check("copies", Result.PASS, f"the ledger's copies in {wanted} are up to date")


_CHECKS: Final[dict[str, _Examine]] = {
    "python": _python,
    "engine": _engine,
    "folder": _folder,
    "secrets": _secrets,
    "disk": _disk,
    "ports": _ports,
    "processes": _processes,
    TUNNEL: _tunnel,
    "copies": _copies,
}
NAMES: Final = tuple(_CHECKS)
_NEED_THE_FOLDER: Final = frozenset({"secrets", "ports", "processes", "tunnel", "copies"})


def doctor(data: Path, *, environment: Mapping[str, str], only: Sequence[str] = ()) -> list[Check]:
    """Examine this machine and the instance on ``data``.

    Args:
        data: the instance's folder; it need not exist.
        environment: of the caller.
        only: names of checks; empty for all. ``tunnel`` brings the steps to the gateway too.

    Raises:
        UsageError: there is no check of that name.
    """
    for name in only:
        if name not in _CHECKS:
            raise UsageError(f"no check named `{name}`", hint=f"checks are {', '.join(NAMES)}")
    subject = _Subject(Places(data.expanduser().absolute()), environment)
    unfit = _folder(subject).result is Result.FAIL
    found = [
        Check(name, Result.SKIP, "not checked: folder failed")
        if unfit and name in _NEED_THE_FOLDER
        else examine(subject)
        for name, examine in _CHECKS.items()
        if not only or name in only
    ]
    return found if unfit or (only and TUNNEL not in only) else found + _way(subject)
