"""The client of a cluster: what it repeats, and what becomes of the server's refusals."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from lightkube import KubeConfig

from byoc.dataplane.kubernetes import kinds
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.connect import open_client
from byoc.errors import (
    Conflict,
    Failed,
    Forbidden,
    IllegalState,
    NotAuthenticated,
    PreconditionFailed,
    TooManyRequests,
    Unreachable,
)
from byoc.testing.clock import ManualClock

Json = dict[str, Any]
Answer = Callable[[httpx2.Request], httpx2.Response]
MAP: Json = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}}


CONFIG: Json = {
    "clusters": [{"name": "c", "cluster": {"server": "https://cluster.invalid"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "c",
}


class QuickClock(ManualClock):
    """Sleeps by moving itself on."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


def refusal(code: int, *, seconds: int = 0) -> httpx2.Response:
    details = {"details": {"retryAfterSeconds": seconds}} if seconds else {}
    body = {"kind": "Status", "apiVersion": "v1", "code": code, "message": "said no", **details}
    return httpx2.Response(code, json=body)


class Server:
    """Answers with each of ``answers`` in turn, then with the object."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        if not self._answers:
            return httpx2.Response(200, json=MAP | {"metadata": MAP["metadata"] | {"resourceVersion": "7"}})
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def opened(server: Server, *, valid: bool = True) -> tuple[Cluster, QuickClock]:
    clock = QuickClock()
    transport = httpx2.MockTransport(server)
    return Cluster(KubeConfig.from_dict(CONFIG), clock, valid=lambda: valid, transport=transport), clock


@pytest.mark.parametrize(
    "trouble",
    [refusal(429), refusal(500), refusal(503), refusal(409), httpx2.ConnectError("down")],
    ids=["busy", "failed", "away", "changed", "down"],
)
async def test_what_may_be_repeated_is(trouble: httpx2.Response | Exception) -> None:
    server = Server(trouble, trouble)
    cluster, _ = opened(server)
    assert (await cluster.apply(MAP))["metadata"]["resourceVersion"] == "7"
    assert len(server.asked) == 3


async def test_a_busy_server_is_left_alone_for_as_long_as_it_asks() -> None:
    cluster, clock = opened(Server(refusal(429, seconds=3)))
    began = clock.monotonic()
    await cluster.apply(MAP)
    assert clock.monotonic() - began == 3


async def test_patience_ends() -> None:
    server = Server(*[httpx2.ConnectError("down")] * 9)
    cluster, _ = opened(server)
    with pytest.raises(Unreachable):
        await cluster.get(kinds.CONFIG_MAP, "a", "b")
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (401, NotAuthenticated),
        (403, Forbidden),
        (409, Conflict),
        (422, Failed),
        (429, TooManyRequests),
        (500, Unreachable),
    ],
)
async def test_a_creation_is_never_repeated_and_its_refusal_is_translated(
    code: int, error: type[Exception]
) -> None:
    server = Server(refusal(code))
    cluster, _ = opened(server)
    with pytest.raises(error):
        await cluster.create(MAP)
    assert len(server.asked) == 1


async def test_what_is_not_there_is_nothing_and_can_be_deleted() -> None:
    cluster, _ = opened(Server(refusal(404), refusal(404)))
    assert await cluster.get(kinds.CONFIG_MAP, "a", "b") is None
    await cluster.delete(kinds.CONFIG_MAP, "a", "b")


async def test_everything_is_applied_by_force_under_one_name() -> None:
    server = Server()
    cluster, _ = opened(server)
    await cluster.apply(MAP)
    (asked,) = server.asked
    assert dict(asked.url.params) == {"force": "true", "fieldManager": "byoc-agent"}
    assert asked.headers["content-type"] == "application/apply-patch+yaml"
    assert json.loads(asked.content) == MAP


async def test_who_leads_no_longer_writes_nothing_and_may_read() -> None:
    server = Server()
    cluster, _ = opened(server, valid=False)
    for write in (cluster.apply(MAP), cluster.create(MAP), cluster.replace(MAP)):
        with pytest.raises(IllegalState):
            await write
    with pytest.raises(IllegalState):
        await cluster.delete(kinds.CONFIG_MAP, "a", "b")
    assert server.asked == []
    assert await cluster.get(kinds.CONFIG_MAP, "a", "b") is not None


@pytest.mark.parametrize("change", [{"current-context": None}, {"current-context": "x"}, {"clusters": []}])
@pytest.mark.parametrize("open_it", [Cluster, open_client])
def test_a_kubeconfig_that_names_no_cluster_is_refused_with_a_sentence(
    change: Json, open_it: Callable[[KubeConfig], object]
) -> None:
    with pytest.raises(PreconditionFailed, match="does not say which cluster it is about"):
        open_it(KubeConfig.from_dict(CONFIG | change))
