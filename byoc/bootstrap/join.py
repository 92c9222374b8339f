"""From an applied stack to a connected cell: the agent shows its keys, is let in, and dials.

No secret is in the stack: the token is minted for the thumbprint that the cell itself shows, after the
cluster is there, however long that took, and handed over past Pulumi. The invariant: every step may be
repeated, and a run that was killed anywhere goes on where the cell stands.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from byoc.clock import Clock
from byoc.errors import Conflict, StillPending

Tell = Callable[[str], None]
POLL_SECONDS: Final = 5.0
_REPEAT_SECONDS: Final = 60.0
"""A reason that lasts is told again after this long, so that a silent wait never looks dead."""


class Installer(Protocol):
    """The cell's function, or a stand-in that does the same."""

    async def call(self, op: str, **values: Any) -> dict[str, Any]:
        """Ask for one op and return its answer."""
        ...


class Seen(Protocol):
    """A cell, as the Control Plane has it."""

    cell_id: str
    name: str
    state: str
    connected: bool
    provider: str
    region_name: str


class Grant(Protocol):
    """A token for one thumbprint, in ``raw`` as the agent reads it."""

    raw: Any


class Cells(Protocol):
    """The part of the SDK that a joining cell needs."""

    async def list(self) -> list[Any]:
        """Return every cell of the organization."""
        ...

    async def register(self, **fields: Any) -> Any:
        """Make a record of a cell."""
        ...

    async def enrolment(self, cell_id: str, thumbprint: str) -> Any:
        """Return a token for these keys and no others."""
        ...

    async def get(self, cell_id: str) -> Any:
        """Return one cell."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """A cell that is to be connected.

    Attributes:
        name: of the cell.
        region: short name of its region; AWS's code there.
        provider: as the Management API names it.
        again: the command that goes on where this one stopped.
        timeout: seconds to wait in all.
        tell: shows what is waited for.
    """

    name: str
    region: str
    timeout: float
    tell: Tell
    provider: str = "AWS"
    again: str = "byoc bootstrap"


async def join(joining: Joining, installer: Installer, cells: Cells, clock: Clock) -> str:
    """Return the cell's id once its tunnel stands.

    Raises:
        StillPending: the time is over; the message has the reason of the wait.
        Conflict: the Control Plane holds a cell of this name that was retired or is contested.
        ByocError: the function or the Control Plane refused.
    """
    waiting = _Waiting(joining, clock)
    cell = await _registered(joining, cells)
    if not cell.connected:
        thumbprint = await waiting.until(lambda: _thumbprint(installer))
        grant = await cells.enrolment(cell.cell_id, thumbprint)
        # A grant for keys that are enrolled already changes nothing at the agent.
        await installer.call("enrol", thumbprint=thumbprint, **_handed(grant))
        await waiting.until(lambda: _connected(cells, cell.cell_id, installer))
    await waiting.until(lambda: _ready(installer))
    return str(cell.cell_id)


def _handed(grant: Grant) -> dict[str, Any]:
    return {"token": grant.raw["token"], "rootKey": grant.raw["rootKey"]}


async def _registered(joining: Joining, cells: Cells) -> Seen:
    """Return the Control Plane's record of the cell, made if there is none."""
    known: list[Seen] = [cell for cell in await cells.list() if cell.name == joining.name]
    living = [cell for cell in known if cell.state.upper() != "RETIRED"]
    if not living:
        made: Seen = await cells.register(
            name=joining.name, provider=joining.provider, region=joining.region, regionName=joining.region
        )
        return made
    cell = living[0]
    if (cell.provider, cell.region_name) != (joining.provider, joining.region):
        raise Conflict(
            f"a cell `{cell.name}` in {cell.provider} {cell.region_name} is registered already",
            hint="choose another name for this one, or retire that one",
        )
    if cell.state.upper() == "CONTESTED":
        raise Conflict(
            f"somebody tried to enrol as cell `{cell.name}` with other keys",
            hint=f"byoc cell show {cell.name}; retire it if you do not know why",
        )
    return cell


Found = tuple[str, str]
"""What a look found (empty: not yet) and, where it did not, the reason."""


async def _thumbprint(installer: Installer) -> Found:
    seen = await installer.call("status")
    return seen.get("thumbprint", ""), _reason(seen, "the agent has not shown its keys yet")


async def _ready(installer: Installer) -> Found:
    seen = await installer.call("status")
    return "ready" if seen.get("ready") else "", _reason(seen, "the agent's pods are not ready yet")


async def _connected(cells: Cells, cell_id: str, installer: Installer) -> Found:
    cell: Seen = await cells.get(cell_id)
    if cell.connected:
        return cell_id, ""
    seen = await installer.call("status")
    return "", seen.get("standing", "") or "the agent has not dialled the gateway yet"


def _reason(seen: dict[str, Any], otherwise: str) -> str:
    reasons = seen.get("reasons") or []
    return str(reasons[0]) if reasons else otherwise


class _Waiting:
    """One wait for several things, with one deadline; a reason is told when it changes, and now and then."""

    def __init__(self, joining: Joining, clock: Clock) -> None:
        self._joining = joining
        self._clock = clock
        self._end = clock.monotonic() + joining.timeout
        self._told = ("", float("-inf"))

    async def until(self, look: Callable[[], Awaitable[Found]]) -> str:
        while True:
            found, reason = await look()
            if found:
                return found
            if self._clock.monotonic() >= self._end:
                name, seconds = self._joining.name, self._joining.timeout
                raise StillPending(
                    f"cell {name} is not connected after {seconds:.0f} s: {reason}",
                    hint=f"{self._joining.again} goes on where it stands",
                )
            self._say(reason)
            await self._clock.sleep(POLL_SECONDS)

    def _say(self, reason: str) -> None:
        now, (last, when) = self._clock.monotonic(), self._told
        if reason != last or now - when >= _REPEAT_SECONDS:
            self._joining.tell(f"waiting: {reason}")
            self._told = (reason, now)
