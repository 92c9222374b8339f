"""A control plane in a dict behind the command line, which runs in this very process."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from byoc.testing import ManualClock
from byoc_cli.connection import Running
from byoc_cli.context import Context
from byoc_cli.main import main

SALES = "11111111-1111-4111-8111-111111111111"
ORDERS = "22222222-2222-4222-8222-222222222222"
PROD = "33333333-3333-4333-8333-333333333333"


@dataclass
class Ended:
    """What one run of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.err.splitlines()[-1])["error"]
        return found


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class _Stream(httpx2.SyncByteStream):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


@dataclass
class Plane:
    """Answers as the wire rules say; ``story`` is what the event stream tells, "silence" a time-out."""

    clock: ManualClock
    groups: list[dict[str, Any]] = field(default_factory=list)
    workspaces: list[dict[str, Any]] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    regions: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    cell_events: list[dict[str, Any]] = field(default_factory=list)
    deeds: list[dict[str, Any]] = field(default_factory=list)
    patience: int = 100
    """After how many looks at the deeds somebody presses Ctrl-C."""
    looks: list[dict[str, Any]] = field(default_factory=list)
    """What is measured of the workspace, look by look; the last one lasts."""
    detail: dict[str, Any] = field(default_factory=dict)
    story: list[Any] = field(default_factory=list)
    errors: dict[str, tuple[int, str, dict[str, str]]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    down: bool = False
    number: int = 0

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        if self.down:
            raise httpx2.ConnectError("refused")
        body = json.loads(request.content) if request.content else None
        path = request.url.path
        self.asked.append((request.method, request.url.raw_path.decode(), body))
        self.keys.append(request.headers.get("authorization", ""))
        wrong = self.errors.get(f"{request.method} {path}")
        if wrong:
            status, text, headers = wrong
            return httpx2.Response(status, text=text, headers={"content-type": "text/plain"} | headers)
        if path.endswith("/events") and "/workspaces/" in path:
            return httpx2.Response(200, stream=_Stream(self._tell(request)))
        if path == "/byoc/v1/audit":
            return httpx2.Response(200, json=self._audit(int(request.url.params["after"])))
        answer = self._answer(request.method, path, body or {}, request.url.params)
        if answer is None:
            return httpx2.Response(404, text="not found", headers={"content-type": "text/plain"})
        return httpx2.Response(200, json=answer, headers={"byoc-generation": "1", "byoc-request-id": "r-1"})

    def event(self, kind: str, state: str = "PENDING", **more: Any) -> None:
        """Add an event that is told on the next stream."""
        self.number += 1
        told = {"number": self.number, "kind": kind, "generation": 1, "state": state, "text": f"{kind} it"}
        self.story.append(told | {"at": "2026-01-01T00:00:00Z", "workspaceID": ORDERS, "reason": kind} | more)

    def _audit(self, after: int) -> list[dict[str, Any]]:
        self.patience -= 1
        if self.patience < 0:
            raise KeyboardInterrupt
        return [each for each in self.deeds if each["number"] > after]

    def _tell(self, request: httpx2.Request) -> Iterator[bytes]:
        told = self.story[:]
        self.story.clear()
        for piece in told:
            if piece == "silence":
                self.clock.advance(request.extensions["timeout"]["read"])
                raise httpx2.ReadTimeout("silence")
            if piece == "interrupt":
                raise KeyboardInterrupt
            self.clock.advance(0.5)
            yield json.dumps(piece).encode() + b"\n"
        if request.url.params.get("follow") == "true":
            self.clock.advance(request.extensions["timeout"]["read"])
            raise httpx2.ReadTimeout("silence")

    def _answer(self, method: str, path: str, body: dict[str, Any], query: Any) -> Any:
        head, _, rest = path.removeprefix("/byoc").removeprefix("/v1/").partition("/")
        if head == "workspaces" and not rest and method == "GET":
            return [each for each in self.workspaces if each["workspaceGroupID"] == query["workspaceGroupID"]]
        if path.endswith("/metrics"):
            seen = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
            return [seen] if "/workspaceGroups/" in path else seen
        if path.startswith("/byoc/v1/workspaces/"):
            return "the engine's log\n" if path.endswith("/logs") else self.detail
        if head == "organizations":
            return {"orgID": "o", "name": "acme"}
        if head == "whoami":
            return {"userID": "u", "email": "ann@acme.test", "organizationID": "o", "organization": "acme"}
        return self._collection(method, head, rest, body)

    def _collection(self, method: str, head: str, rest: str, body: dict[str, Any]) -> Any:
        places = {
            "workspaceGroups": (self.groups, "workspaceGroupID"),
            "workspaces": (self.workspaces, "workspaceID"),
            "cells": (self.cells, "cellID"),
            "regions": (self.regions, "regionID"),
        }
        items, key = places[head]
        wanted, _, verb = rest.partition("/")
        if not wanted:
            return self._add(head, body) if method == "POST" else items
        found = [each for each in items if each[key] == wanted]
        if not found:
            return None
        answers = {
            "sessions": self.sessions,
            "events": self.cell_events,
            "password": {"adminPassword": "generated!"},
            "enrolment": {"token": "t", "rootKey": {"kty": "OKP"}},
            "rotateKeys": {"cellID": PROD, "thumbprint": "new-thumb"},
        }
        if verb in answers:
            return answers[verb]
        return found[0] if method == "GET" else {key: wanted}

    def _add(self, head: str, body: dict[str, Any]) -> Any:
        if head == "workspaceGroups":
            self.groups.append(group(body["name"]))
            made = {} if "adminPassword" in body else {"adminPassword": "Secret-once-1"}
            return {"workspaceGroupID": SALES} | made
        if head == "cells":
            self.cells.append(cell(body["name"], state="pending"))
            return self.cells[-1]
        self.workspaces.append(workspace(body["name"]))
        return {"workspaceID": ORDERS}


def group(name: str = "sales", **more: Any) -> dict[str, Any]:
    return {
        "workspaceGroupID": SALES,
        "name": name,
        "state": "ACTIVE",
        "createdAt": "2026-01-01T00:00:00Z",
        "regionID": PROD,
        "regionName": "local",
        "provider": "AWS",
        "firewallRanges": ["127.0.0.0/8"],
    } | more


def workspace(name: str = "orders", **more: Any) -> dict[str, Any]:
    return {
        "workspaceID": ORDERS,
        "workspaceGroupID": SALES,
        "name": name,
        "state": "ACTIVE",
        "size": "S-00",
        "scaleFactor": 1,
        "cacheConfig": 1,
        "endpoint": "127.0.0.1:40001",
        "createdAt": "2026-01-01T00:00:00Z",
    } | more


def cell(name: str = "prod", **more: Any) -> dict[str, Any]:
    return {
        "cellID": PROD,
        "name": name,
        "state": "enrolled",
        "connected": True,
        "region": "US Local",
        "regionName": "local",
        "provider": "AWS",
        "createdAt": "2026-01-01T00:00:00Z",
    } | more


@pytest.fixture
def plane(clock: ManualClock) -> Plane:
    """A control plane with one cell, one group and one workspace."""
    return Plane(
        clock,
        groups=[group()],
        workspaces=[workspace()],
        cells=[cell()],
        regions=[{"regionID": PROD, "region": "US Local", "regionName": "local", "provider": "AWS"}],
        detail={
            "workspaceID": ORDERS,
            "generation": 1,
            "acknowledged": 1,
            "state": "ACTIVE",
            "phase": "running",
            "reason": "answered-sql",
            "reasonText": "answered SELECT 1",
            "since": "2026-01-01T00:00:01Z",
            "cellName": "prod",
            "cellConnected": True,
        },
    )


Byoc = Callable[..., Ended]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a run; what a test adds to it is seen by the next run."""
    return {
        "HOME": str(tmp_path),
        "COLUMNS": "80",
        "NO_COLOR": "1",
        "PATH": "",
        "BYOC_URL": "http://127.0.0.1:8787",
        "BYOC_TOKEN": "key",
    }


@pytest.fixture
def running() -> list[Running]:
    """The instances of the machine."""
    return []


@pytest.fixture
def byoc(plane: Plane, environment: dict[str, str], running: list[Running], clock: ManualClock) -> Byoc:
    """Run the command line in this process."""

    def run(*words: str, stdin: str | io.StringIO = "", terminal: bool = False, **seams: Any) -> Ended:
        out = io.StringIO()
        err = Terminal() if terminal else io.StringIO()
        typed = (Terminal(stdin) if terminal else io.StringIO(stdin)) if isinstance(stdin, str) else stdin
        given = Context(
            environment,
            typed,
            out,
            err,
            clock=clock,
            transport=httpx2.MockTransport(plane.handle),
            sleep=clock.advance,
            running=lambda _: running,
            **seams,
        )
        code = main(list(words), given)
        return Ended(code, out.getvalue(), err.getvalue())

    return run
