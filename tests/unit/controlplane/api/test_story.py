"""Detail, events and logs of a workspace."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from byoc.model.report import Attachments, Phase, Reason


class Stream:
    """A caller who reads an answer as it is written, as no buffering test client can."""

    def __init__(self, app: Any, path: str, query: str, key: str) -> None:
        self.status = 0
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"authorization", f"Bearer {key}".encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._asked = False
        self.task = asyncio.create_task(app(self._scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message.get("body"):
            self._chunks.put_nowait(message["body"])
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._chunks.put_nowait(None)

    async def line(self) -> Any:
        """Return the next event, b"" for a sign of life, None at the end."""
        async with asyncio.timeout(5):
            chunk = await self._chunks.get()
        if chunk is None:
            return None
        return json.loads(chunk) if chunk.strip() else b""

    def go_away(self) -> None:
        self._gone.set()


@asynccontextmanager
async def followed(world: Any, workspace: str, query: str = "follow=true") -> AsyncIterator[Stream]:
    stream = Stream(world.app.asgi, f"/byoc/v1/workspaces/{workspace}/events", query, world.key)
    try:
        yield stream
    finally:
        stream.go_away()
        async with asyncio.timeout(5):
            await stream.task


async def test_events_are_one_json_object_a_line_and_end_without_follow(world: Any) -> None:
    workspace = await world.active()
    answer = await world.client.get(f"/byoc/v1/workspaces/{workspace}/events")
    assert answer.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [(each["kind"], each["state"], each["generation"]) for each in events] == [
        ("accepted", "PENDING", 1),
        ("delivered", "PENDING", 1),
        ("running", "ACTIVE", 1),
    ]
    assert events[0]["by"] == "owner@acme.example"
    assert events[2]["text"] == "answered SELECT 1"
    later = await world.client.get(f"/byoc/v1/workspaces/{workspace}/events?after={events[0]['number']}")
    assert [json.loads(line) for line in later.text.splitlines()] == events[1:]
    last = await world.client.get(f"/byoc/v1/workspaces/{workspace}/events?newest=1")
    assert [json.loads(line) for line in last.text.splitlines()] == events[2:]


async def test_a_followed_stream_can_begin_at_a_generation(world: Any) -> None:
    workspace = await world.active()
    await world.client.post(f"/v1/workspaces/{workspace}/suspend")
    async with followed(world, workspace, "follow=true&generation=2") as stream:
        assert (await stream.line())["generation"] == 2
        await world.settle()
        told = [await stream.line(), await stream.line()]
        assert [(each["generation"], each["state"]) for each in told] == [(2, "PENDING"), (2, "SUSPENDED")]


async def test_a_followed_stream_tells_what_happens_next(world: Any) -> None:
    workspace = await world.workspace()
    async with followed(world, workspace) as stream:
        assert (await stream.line())["kind"] == "accepted"
        await world.report(workspace, Phase.STARTING, Reason.STARTING_ENGINE)
        assert (await stream.line())["kind"] == "delivered"
        event = await stream.line()
        assert (event["reason"], event["text"]) == ("starting-engine", "starting the SQL server")
        await world.settle()
        assert (await stream.line())["state"] == "ACTIVE"


async def test_a_quiet_stream_gives_a_sign_of_life(world: Any) -> None:
    workspace = await world.workspace()
    async with followed(world, workspace) as stream:
        await stream.line()
        await world.clock.elapse(10)
        assert await stream.line() == b""
        await world.clock.elapse(10)
        assert await stream.line() == b""
        await world.settle()
        assert (await stream.line())["kind"] == "delivered"
        assert (await stream.line())["state"] == "ACTIVE"


async def test_a_stream_ends_when_the_process_stops(world: Any) -> None:
    workspace = await world.workspace()
    async with followed(world, workspace) as stream:
        await stream.line()
        world.app.close()
        last = [await stream.line(), await stream.line()]
        assert last == [b"", None]


async def test_a_stream_says_nothing_more_once_its_key_is_revoked(world: Any) -> None:
    workspace = await world.workspace()
    async with followed(world, workspace) as stream, followed(world, workspace) as quiet:
        await stream.line()
        await quiet.line()
        await world.revoke()
        await world.settle()
        assert await stream.line() is None
        await world.clock.elapse(10)
        assert await quiet.line() is None


async def test_a_stream_leaves_nothing_behind_when_the_caller_goes_away(world: Any) -> None:
    workspace = await world.workspace()
    before = len(asyncio.all_tasks())
    async with followed(world, workspace) as stream:
        await stream.line()
        assert "byoc_event_streams 1.0" in (await world.client.get("/metrics")).text
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before
    assert "byoc_event_streams 0.0" in (await world.client.get("/metrics")).text


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=x",
        "follow=maybe",
        "after=1e3",
        "after=99999999999999999999",
        "newest=0",
        "generation=-1",
    ],
)
async def test_a_bad_query_is_400(world: Any, query: str) -> None:
    answer = await world.client.get(f"/byoc/v1/workspaces/{await world.workspace()}/events?{query}")
    assert answer.status_code == 400


async def test_detail_says_phase_reason_and_whether_the_cell_is_there(world: Any) -> None:
    workspace = await world.workspace()
    path = f"/byoc/v1/workspaces/{workspace}"
    detail = await world.ok("GET", path)
    assert (detail["generation"], detail["acknowledged"], "phase" in detail) == (1, 0, False)
    assert (detail["cellName"], detail["cellConnected"]) == ("local", True)
    await world.report(workspace, Phase.STARTING, Reason.WAITING_FOR_SQL, progress=60)
    detail = await world.ok("GET", path)
    assert (detail["state"], detail["phase"], detail["progress"]) == ("PENDING", "starting", 60)
    assert detail["reasonText"] == "waiting for the SQL server to answer"
    await world.report(
        workspace, Phase.SUSPENDED, Reason.AUTO_SUSPENDED_IDLE, auto_suspended_at=world.clock.now()
    )
    detail = await world.ok("GET", path)
    assert (detail["state"], detail["autoSuspendedAt"]) == ("SUSPENDED", "2030-01-01T00:00:00Z")
    assert "databasesMissing" not in detail
    await world.report(workspace, Phase.RUNNING, Reason.DATABASES_NOT_ATTACHED, attachments=Attachments(2, 1))
    detail = await world.ok("GET", path)
    assert (detail["state"], detail["databasesAttached"], detail["databasesMissing"]) == ("ACTIVE", 2, 1)


async def test_logs_are_text_if_the_cell_allows_and_403_if_not(world: Any) -> None:
    path = f"/byoc/v1/workspaces/{await world.active()}/logs"
    answer = await world.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (403, "refused_by_cell")
    world.fleet.log_text = "ready for connections\n"
    answer = await world.client.get(path)
    assert (answer.text, answer.headers["cache-control"]) == ("ready for connections\n", "no-store")
