"""Both faces of the SDK over the same scripted network."""

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from byoc import client as sdk
from byoc.client import AsyncClient, Changed, Client, Goal, Step, aio, sync
from byoc.client.http import check_address
from byoc.errors import (
    CellAway,
    Failed,
    NotFound,
    RefusedByCell,
    StillPending,
    Unreachable,
    UsageError,
)

URL = "http://127.0.0.1:8787"
ACTIVE = {"workspaceID": "w", "workspaceGroupID": "g", "name": "orders", "state": "ACTIVE"}

Do = Callable[[Callable[[Any], Any]], Awaitable[Any]]


def _event(
    number: int, kind: str, state: str = "PENDING", generation: int = 1, **more: Any
) -> dict[str, Any]:
    event = {"number": number, "kind": kind, "generation": generation, "state": state, "text": kind}
    return event | more


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest, network: Any) -> Do:
    """Run one operation on either face."""
    transport = httpx2.MockTransport(network.handle)

    async def run(operation: Callable[[Any], Any]) -> Any:
        if request.param == "sync":
            with Client(
                URL, "key", transport=transport, clock=network.clock, sleep=network.sleep, chance=lambda: 0.5
            ) as face:
                return operation(face)
        async with AsyncClient(
            URL,
            "key",
            transport=transport,
            clock=network.clock,
            sleep=network.async_sleep,
            chance=lambda: 0.5,
        ) as waiting:
            return await operation(waiting)

    return run


async def test_a_request_carries_the_key_and_the_answer_is_typed(do: Do, network: Any) -> None:
    network.json([{"workspaceGroupID": "g", "name": "sales", "state": "ACTIVE"}])
    found = await do(lambda face: face.groups.list())
    assert [each.name for each in found] == ["sales"]
    assert network.asked[0].headers["authorization"] == "Bearer key"
    assert network.asked[0].headers["user-agent"].startswith("byoc/")


async def test_a_change_returns_its_generation(do: Do, network: Any) -> None:
    network.json({"workspaceID": "w"}, byoc_generation="7")
    assert await do(lambda face: face.workspaces.suspend("w")) == Changed("w", 7)
    assert network.paths == ["POST /v1/workspaces/w/suspend"]


async def test_fields_that_are_none_are_not_sent(do: Do, network: Any) -> None:
    network.json({"workspaceGroupID": "g", "adminPassword": "once"})
    created = await do(lambda face: face.groups.create(name="sales", firewallRanges=[], expiresAt=None))
    assert (created.id, created.admin_password) == ("g", "once")
    assert json.loads(network.asked[0].content) == {"name": "sales", "firewallRanges": []}


async def test_ids_cannot_leave_their_place_in_the_path(do: Do, network: Any) -> None:
    network.json(ACTIVE)
    await do(lambda face: face.workspaces.get("../cells?x=1#"))
    assert network.paths == ["GET /v1/workspaces/..%2Fcells%3Fx%3D1%23"]


async def test_a_generated_password_is_asked_for_by_its_own_route(do: Do, network: Any) -> None:
    network.json({"adminPassword": "made"})
    assert await do(lambda face: face.groups.set_password("g")) == "made"
    network.json({"workspaceGroupID": "g"})
    assert await do(lambda face: face.groups.set_password("g", "mine")) == "mine"
    assert network.paths == ["POST /byoc/v1/workspaceGroups/g/password", "PATCH /v1/workspaceGroups/g"]


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        (lambda f: f.groups.terminate("g", force=True), "DELETE /v1/workspaceGroups/g?force=true"),
        (lambda f: f.workspaces.terminate("w"), "DELETE /v1/workspaces/w"),
        (lambda f: f.workspaces.update("w", size="S-0"), "PATCH /v1/workspaces/w"),
        (lambda f: f.workspaces.create(name="n"), "POST /v1/workspaces"),
        (lambda f: f.workspaces.resume("w", disable_auto_suspend=True), "POST /v1/workspaces/w/resume"),
    ],
)
async def test_every_change_has_its_route(do: Do, network: Any, operation: Any, path: str) -> None:
    network.json({"workspaceID": "w", "workspaceGroupID": "g"})
    await do(operation)
    assert network.paths == [path]


@pytest.mark.parametrize(
    ("operation", "path", "answer"),
    [
        (lambda f: f.groups.list(include_terminated=True), "/v1/workspaceGroups?includeTerminated=true", []),
        (lambda f: f.workspaces.list("g"), "/v1/workspaces?workspaceGroupID=g", []),
        (lambda f: f.cells.list(), "/byoc/v1/cells", []),
        (lambda f: f.cells.connections("c"), "/byoc/v1/cells/c/sessions", []),
        (lambda f: f.cells.events("c"), "/byoc/v1/cells/c/events", []),
        (lambda f: f.groups.metrics("g"), "/byoc/v1/workspaceGroups/g/metrics", []),
        (lambda f: f.regions(), "/v1/regions", []),
        (lambda f: f.whoami(), "/byoc/v1/whoami", {"email": "a@b"}),
        (lambda f: f.organization(), "/v1/organizations/current", {"orgID": "o"}),
    ],
)
async def test_every_question_has_its_route(
    do: Do, network: Any, operation: Any, path: str, answer: Any
) -> None:
    network.json(answer)
    await do(operation)
    assert network.paths == [f"GET {path}"]


async def test_a_lost_connection_is_tried_again_with_jitter_and_then_said(do: Do, network: Any) -> None:
    network.script += [httpx2.ConnectError("refused")] * 4
    with pytest.raises(Unreachable, match="cannot reach"):
        await do(lambda face: face.workspaces.suspend("w"))
    assert len(network.asked) == 4
    assert network.slept == [0.1, 0.2, 0.4]


async def test_a_change_whose_answer_is_lost_is_not_sent_twice(do: Do, network: Any) -> None:
    network.script.append(httpx2.ReadError("gone"))
    with pytest.raises(Unreachable, match="was lost"):
        await do(lambda face: face.workspaces.suspend("w"))
    assert len(network.asked) == 1


async def test_a_question_is_asked_again_when_the_other_end_is_busy(do: Do, network: Any) -> None:
    network.json({}, status=503, retry_after="2")
    network.json([])
    assert await do(lambda face: face.cells.list()) == []
    assert network.slept == [2.0]


async def test_an_answer_that_is_not_json_is_an_error_of_our_tree(do: Do, network: Any) -> None:
    network.script.append(httpx2.Response(200, text="<html>"))
    with pytest.raises(Failed, match="not JSON"):
        await do(lambda face: face.cells.list())


async def test_a_redirect_is_not_followed(do: Do, network: Any) -> None:
    network.script.append(httpx2.Response(302, headers={"location": "https://elsewhere"}))
    with pytest.raises(Failed):
        await do(lambda face: face.cells.list())
    assert len(network.asked) == 1


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x", "http://", "localhost:1", "http://example.com", "http://u:p@127.0.0.1", "http://[::1"],
)
def test_an_address_a_key_may_not_be_sent_to_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        check_address(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://localhost", "http://[::1]:9", "https://a.b"])
def test_loopback_and_https_are_addresses(url: str) -> None:
    assert check_address(url) == url.rstrip("/")


async def _wait(do: Do, *, within: float = 100, generation: int = 1) -> Any:
    steps: list[Step] = []
    done = await do(
        lambda face: face.workspaces.wait(
            Changed("w", generation), Goal.RUNNING, timeout=within, name="orders", on_step=steps.append
        )
    )
    return done, [each.word for each in steps]


async def test_a_wait_follows_the_events_and_returns_the_workspace(do: Do, network: Any) -> None:
    network.stream(
        _event(1, "accepted"),
        "",
        _event(2, "delivered"),
        _event(3, "starting"),
        _event(4, "running", "ACTIVE"),
    )
    network.json(ACTIVE)
    done, words = await _wait(do)
    assert (done.state, words) == ("ACTIVE", ["accepted", "delivered", "starting", "active"])
    assert network.paths == [
        "GET /byoc/v1/workspaces/w/events?after=0&follow=true&generation=1",
        "GET /v1/workspaces/w",
    ]


async def test_a_cut_stream_is_taken_up_where_it_ended(do: Do, network: Any) -> None:
    network.stream(_event(1, "accepted"), "cut")
    network.script.append(httpx2.ConnectError("restarting"))
    network.stream(_event(2, "running", "ACTIVE"))
    network.json(ACTIVE)
    done, words = await _wait(do)
    assert (done.state, words) == ("ACTIVE", ["accepted", "active"])
    assert [p.partition("?")[2] for p in network.paths[:3]] == [
        "after=0&follow=true&generation=1",
        "after=1&follow=true&generation=1",
        "after=1&follow=true&generation=1",
    ]


async def test_half_a_line_at_a_cut_is_read_again_whole(do: Do, network: Any) -> None:
    network.stream(_event(1, "accepted"), '{"number": 2, "ki')
    network.stream(_event(2, "running", "ACTIVE"))
    network.json(ACTIVE)
    done, words = await _wait(do)
    assert (done.state, words) == ("ACTIVE", ["accepted", "active"])


async def test_a_wait_for_an_absent_cell_says_so_and_ends_only_by_the_timeout(do: Do, network: Any) -> None:
    away = {"generation": 1, "cellName": "prod", "cellConnected": False}
    network.stream(_event(1, "accepted"), "silence")
    network.json(away)
    network.stream("silence")
    network.json(away)
    network.stream("silence")
    network.json(away)
    steps: list[Step] = []
    with pytest.raises(CellAway, match="`prod` is not connected") as caught:
        await do(
            lambda face: face.workspaces.wait(
                Changed("w", 1), Goal.RUNNING, timeout=40, name="orders", on_step=steps.append
            )
        )
    assert caught.value.exit_code == 8
    assert [each.word for each in steps] == ["accepted", "waiting", "waiting"]
    assert network.passed() == pytest.approx(40)


async def test_keep_alives_do_not_make_a_wait_longer(do: Do, network: Any) -> None:
    network.stream(_event(1, "accepted"), "silence")
    network.json({"generation": 1})
    network.stream("keep-alive", "keep-alive", "keep-alive")
    network.json({"generation": 1})
    network.stream("silence")
    network.json({"generation": 1})
    with pytest.raises(StillPending):
        await _wait(do, within=25)
    assert network.passed() == pytest.approx(25)


async def test_steps_that_keep_coming_do_not_make_a_wait_longer(do: Do, network: Any) -> None:
    network.stream(_event(1, "accepted"), "silence")
    network.json({"generation": 1})
    network.stream((_event(2, "starting"),), (_event(3, "starting"),), (_event(4, "starting"),))
    network.stream("silence")
    network.json({"generation": 1})
    with pytest.raises(StillPending):
        await _wait(do, within=20)
    assert network.passed() == pytest.approx(20)


async def test_a_change_without_effect_is_found_done(do: Do, network: Any) -> None:
    network.stream("silence")
    network.json({"generation": 1, "state": "ACTIVE"})
    network.json(ACTIVE)
    done, words = await _wait(do)
    assert (done.state, words) == ("ACTIVE", [])


async def test_a_refusal_ends_the_wait(do: Do, network: Any) -> None:
    network.stream(_event(1, "accepted"), _event(2, "refused", "ACTIVE", reason="no-resumes"))
    with pytest.raises(RefusedByCell, match="no-resumes"):
        await _wait(do)


async def test_a_generation_not_named_by_the_answer_is_asked_for(do: Do, network: Any) -> None:
    network.json({"generation": 3})
    network.stream(_event(1, "running", "ACTIVE", 2), _event(2, "running", "ACTIVE", 3))
    network.json(ACTIVE)
    _, words = await _wait(do, generation=0)
    assert words == ["active"]


async def test_a_workspace_that_does_not_exist_ends_the_wait(do: Do, network: Any) -> None:
    network.json({"detail": "no such workspace", "code": "not_found"}, status=404)
    with pytest.raises(NotFound):
        await _wait(do)


async def test_a_control_plane_that_goes_away_during_a_wait_is_waited_for(do: Do, network: Any) -> None:
    network.stream("silence")
    network.script += [httpx2.ConnectError("down")] * 4
    network.stream(_event(1, "running", "ACTIVE"))
    network.json(ACTIVE)
    done, words = await _wait(do)
    assert (done.state, words) == ("ACTIVE", ["active"])


def test_events_are_listed_and_followed_across_cuts(network: Any) -> None:
    network.stream(_event(1, "accepted"), _event(2, "delivered"))
    network.stream(_event(1, "accepted"), "cut")
    network.stream("", _event(2, "delivered"))
    with Client(
        URL, "k", transport=httpx2.MockTransport(network.handle), clock=network.clock, sleep=network.sleep
    ) as face:
        assert [each.number for each in face.workspaces.events("w")] == [1, 2]
        stream = face.workspaces.events("w", follow=True)
        assert [next(stream).number, next(stream).number] == [1, 2]
    assert network.paths[-1].endswith("after=1&follow=true")


async def test_events_are_followed_by_the_other_face_too(network: Any) -> None:
    network.stream(_event(1, "accepted"), "cut")
    network.stream(_event(2, "delivered"))
    transport = httpx2.MockTransport(network.handle)
    async with AsyncClient(
        URL, "k", transport=transport, clock=network.clock, sleep=network.async_sleep
    ) as face:
        stream = face.workspaces.events("w", follow=True)
        assert [(await anext(stream)).number, (await anext(stream)).number] == [1, 2]
        await stream.aclose()


def test_the_newest_events_are_asked_for_once(network: Any) -> None:
    network.stream(_event(7, "accepted"), "cut")
    network.stream(_event(8, "delivered"))
    with Client(
        URL, "k", transport=httpx2.MockTransport(network.handle), clock=network.clock, sleep=network.sleep
    ) as face:
        stream = face.workspaces.events("w", newest=1, follow=True)
        assert [next(stream).number, next(stream).number] == [7, 8]
    assert [path.partition("?")[2] for path in network.paths] == [
        "after=0&follow=true&newest=1",
        "after=7&follow=true",
    ]


def test_a_list_of_events_that_is_cut_is_an_error(network: Any) -> None:
    network.stream(_event(1, "accepted"), "cut")
    with (
        Client(URL, "k", transport=httpx2.MockTransport(network.handle)) as face,
        pytest.raises(Unreachable, match="cut"),
    ):
        list(face.workspaces.events("w"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (sync.Client, aio.AsyncClient),
        (sync.Groups, aio.Groups),
        (sync.Workspaces, aio.Workspaces),
        (sync.Cells, aio.Cells),
    ],
)
def test_both_faces_have_the_same_verbs(one: type, other: type) -> None:
    def verbs(kind: type) -> dict[str, list[str]]:
        return {
            name.removeprefix("a") if name == "aclose" else name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert verbs(one) == verbs(other)


def test_what_the_sdk_offers_is_there() -> None:
    assert all(hasattr(sdk, name) for name in sdk.__all__)
