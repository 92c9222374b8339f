"""The blocking face of the SDK.

Example::

    with Client("http://127.0.0.1:8787", token) as byoc:
        created = byoc.groups.create(name="sales", firewallRanges=["127.0.0.0/8"], regionID=region)
        change = byoc.workspaces.create(name="orders", workspaceGroupID=created.id, size="S-00")
        workspace = byoc.workspaces.wait(change, Goal.RUNNING, timeout=600)

Keyword arguments of create and update are the fields of the Management API, under its own names.
"""

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import Any, Self

import httpx2

from byoc import __version__
from byoc.client import calls
from byoc.client.answers import Answer
from byoc.client.http import Cut, SyncHTTP, lost, read_event
from byoc.client.models import (
    Cell,
    CellEvent,
    Changed,
    Connection,
    Created,
    Deed,
    Detail,
    Enrolment,
    Event,
    Group,
    Identity,
    Metrics,
    OpenedService,
    Organization,
    Region,
    Workspace,
)
from byoc.client.retry import pause
from byoc.client.waiting import FIRST_QUIET, GRACE, QUIET, Goal, OnStep, Story, ignore
from byoc.clock import Clock, SystemClock
from byoc.errors import Unreachable


class Groups:
    """Workspace groups."""

    def __init__(self, http: SyncHTTP) -> None:
        self._http = http

    def metrics(self, group_id: str) -> list[Metrics]:
        """Return what each workspace of a group uses now, read from its cell."""
        return self._http.send(calls.group_metrics(group_id))

    def list(self, *, include_terminated: bool = False) -> list[Group]:
        """Return all groups."""
        return self._http.send(calls.groups(include_terminated=include_terminated))

    def get(self, group_id: str) -> Group:
        """Return one group."""
        return self._http.send(calls.group(group_id))

    def create(self, **fields: Any) -> Created:
        """Make a group. A generated admin password is in the answer, once."""
        return self._http.send(calls.create_group(fields))

    def update(self, group_id: str, **fields: Any) -> Changed:
        """Change a group."""
        return self._http.send(calls.update_group(group_id, fields))

    def set_password(self, group_id: str, password: str | None = None) -> str:
        """Set the admin password, or have one generated; returns it."""
        return self._http.send(calls.set_password(group_id, password))

    def terminate(self, group_id: str, *, force: bool = False) -> Changed:
        """End a group; with ``force`` its workspaces too."""
        return self._http.send(calls.terminate_group(group_id, force=force))


class Workspaces:
    """Workspaces."""

    def __init__(self, http: SyncHTTP, clock: Clock, sleep: Callable[[float], None]) -> None:
        self._http = http
        self._clock = clock
        self._sleep = sleep

    def list(self, group_id: str, *, include_terminated: bool = False) -> list[Workspace]:
        """Return the workspaces of one group."""
        return self._http.send(calls.workspaces(group_id, include_terminated=include_terminated))

    def get(self, workspace_id: str) -> Workspace:
        """Return one workspace."""
        return self._http.send(calls.workspace(workspace_id))

    def detail(self, workspace_id: str) -> Detail:
        """Return generation, phase, reason and whether its cell is connected."""
        return self._http.send(calls.detail(workspace_id))

    def create(self, **fields: Any) -> Changed:
        """Make a workspace; returns as soon as the intent is recorded."""
        return self._http.send(calls.create_workspace(fields))

    def update(self, workspace_id: str, **fields: Any) -> Changed:
        """Change size, scale factor, cache config or the automatic rules."""
        return self._http.send(calls.update_workspace(workspace_id, fields))

    def suspend(self, workspace_id: str) -> Changed:
        """Stop a workspace and keep its data."""
        return self._http.send(calls.suspend_workspace(workspace_id))

    def resume(self, workspace_id: str, *, disable_auto_suspend: bool = False) -> Changed:
        """Start a suspended workspace."""
        return self._http.send(
            calls.resume_workspace(workspace_id, disable_auto_suspend=disable_auto_suspend)
        )

    def terminate(self, workspace_id: str) -> Changed:
        """End a workspace and remove its data."""
        return self._http.send(calls.terminate_workspace(workspace_id))

    def logs(self, workspace_id: str) -> str:
        """Return the engine's own log, if the cell's policy lets it out."""
        return self._http.send(calls.logs(workspace_id))

    def metrics(self, workspace_id: str) -> Metrics:
        """Return what a workspace uses now, read from its cell."""
        return self._http.send(calls.workspace_metrics(workspace_id))

    def events(
        self, workspace_id: str, *, after: int = 0, newest: int | None = None, follow: bool = False
    ) -> Iterator[Event]:
        """Yield the story of a workspace, or its ``newest`` events; with ``follow`` for ever, across cuts."""
        failures = 0
        while True:
            query = calls.events_query(after, follow=follow, newest=newest)
            try:
                with closing(self._stream(workspace_id, query, QUIET)) as stream:
                    for event in stream:
                        failures = 0
                        if event is not None:
                            after, newest = max(after, event.number), None
                            yield event
                if not follow:
                    return
                failures += 1
            except (Cut, Unreachable) as error:
                if not follow:
                    raise lost(error) from error
                failures += 0 if isinstance(error, Cut) and error.silent else 1
            self._sleep(pause(failures, 1.0) if failures else 0)

    def wait(
        self,
        change: Changed,
        goal: Goal,
        *,
        timeout: float,
        name: str = "",
        on_step: OnStep | None = None,
    ) -> Workspace:
        """Return the workspace once ``change`` has taken effect.

        Args:
            change: what a changing call returned.
            goal: the states that end the wait.
            timeout: seconds; the change goes on after them.
            name: what to call the workspace in messages.
            on_step: told of each step, with its reason.

        Raises:
            StillPending: the time is over; :class:`CellAway` if the cell is not connected.
            ByocError: the change was refused, superseded, or failed; see :class:`Story`.
        """
        generation = change.generation or self.detail(change.id).generation
        story = Story(generation, goal, name or change.id)
        self._until_over(change.id, story, on_step or ignore, timeout)
        return self.get(change.id)

    def _until_over(self, workspace_id: str, story: Story, show: OnStep, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        failures, quiet = 0, FIRST_QUIET
        while not story.done:
            left = end - self._clock.monotonic()
            if left <= 0:
                raise story.out_of_time(seconds)
            try:
                self._listen(workspace_id, story, show, min(left, quiet), end)
                # Left because the time is nearly over, it is taken up again with a shorter patience.
                failures += 0 if end - self._clock.monotonic() < min(left, quiet) - GRACE else 1
            except Unreachable as error:
                show(story.lost(error.message))
                failures += 1
            except Cut as cut:
                failures = 0 if cut.silent else failures + 1
                if cut.silent:
                    once = quiet is FIRST_QUIET or self._clock.monotonic() >= end
                    self._look(workspace_id, story, show, repeat=not once)
                    quiet = QUIET
            if failures and not story.done:
                self._sleep(min(pause(failures, 1.0), max(0.0, end - self._clock.monotonic())))

    def _listen(self, workspace_id: str, story: Story, show: OnStep, silence: float, end: float) -> None:
        heard = self._clock.monotonic()
        query = calls.events_query(story.last, follow=True, generation=story.generation)
        with closing(self._stream(workspace_id, query, silence)) as stream:
            for event in stream:
                now = self._clock.monotonic()
                if event is None and (now - heard >= silence or end - now < silence):
                    raise Cut(silent=True)
                heard = now if event else heard
                step = story.hear(event) if event else None
                if step is not None:
                    show(step)
                if story.done or end - now < silence - GRACE:
                    return

    def _look(self, workspace_id: str, story: Story, show: OnStep, *, repeat: bool) -> None:
        before = story.step
        try:
            story.look(self.detail(workspace_id), self._clock.now())
        except Unreachable as error:
            story.lost(error.message)
        if not story.done and (repeat or story.step.word != before.word):
            show(story.step)

    def _stream(
        self, workspace_id: str, query: dict[str, str], silence: float
    ) -> Generator[Event | None, None, None]:
        path = calls.events_path(workspace_id)
        with self._http.lines(path, query, silence=silence) as lines:
            for line in lines:
                # A blank line says only that the other end is still there.
                yield read_event(line) if line.strip() else None


class Cells:
    """Cells."""

    def __init__(self, http: SyncHTTP) -> None:
        self._http = http

    def get(self, cell_id: str) -> Cell:
        """Return one cell."""
        return self._http.send(calls.cell(cell_id))

    def register(self, **fields: Any) -> Cell:
        """Make a record of a cell that is to be enrolled."""
        return self._http.send(calls.register_cell(fields))

    def enrolment(self, cell_id: str, thumbprint: str) -> Enrolment:
        """Return a token that enrols the cell with this thumbprint within 15 minutes."""
        return self._http.send(calls.enrolment(cell_id, thumbprint))

    def rotate_keys(self, cell_id: str) -> str:
        """Have a cell replace its own keys; return the thumbprint of the new signing key."""
        return self._http.send(calls.rotate_keys(cell_id))

    def open_service(
        self, cell_id: str, service: str, *, certificate: str, life_seconds: int | None = None
    ) -> OpenedService:
        """Open a way to a service that the cell's policy names; the certificate is for this one alone."""
        return self._http.send(calls.open_service(cell_id, service, certificate, life_seconds))

    def retire(self, cell_id: str) -> None:
        """End a cell's right to connect."""
        self._http.send(calls.retire_cell(cell_id))

    def connections(self, cell_id: str) -> list[Connection]:
        """Return the tunnel sessions of a cell."""
        return self._http.send(calls.connections(cell_id))

    def events(self, cell_id: str) -> list[CellEvent]:
        """Return what happened to a cell, in order."""
        return self._http.send(calls.cell_events(cell_id))

    def list(self) -> list[Cell]:
        """Return all cells."""
        return self._http.send(calls.cells())


class Client:
    """A Control Plane, seen with one key.

    Args:
        url: its address; plain HTTP is refused for other machines.
        token: a Management API key.
        transport: replaces the network, for tests.
        clock: time, for waits.
        sleep: how to pause between attempts.
        chance: random numbers in [0, 1) for the jitter of pauses.

    Raises:
        UsageError: ``url`` is not an address a key may be sent to.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._http = SyncHTTP(
            url, token, version=__version__, chance=chance, sleep=sleep, transport=transport
        )
        self.groups = Groups(self._http)
        self.workspaces = Workspaces(self._http, clock or SystemClock(), sleep)
        self.cells = Cells(self._http)

    def whoami(self) -> Identity:
        """Return who the key speaks for."""
        return self._http.send(calls.whoami())

    def audit(self, *, after: int = 0, newest: int = 100) -> list[Deed]:
        """Return who did what: the ``newest`` calls with a number above ``after``, in order."""
        return self._http.send(calls.audit(after, newest))

    def organization(self) -> Organization:
        """Return the organization that the key belongs to."""
        return self._http.send(calls.organization())

    def regions(self) -> list[Region]:
        """Return where groups can be made."""
        return self._http.send(calls.regions())

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send any request; return the answer as it is.

        Raises:
            ByocError: the answer is not a success.
        """
        return self._http.send(calls.raw(method, path, body, query or {}))

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
