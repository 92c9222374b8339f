"""What an agent shows of itself: whatever a write ends with, the newest word gets there."""

import asyncio
import json
from collections.abc import Callable

import httpx2
import pytest
from lightkube import Client, KubeConfig
from lightkube.core.exceptions import ConfigError

from byoc.dataplane.kubernetes.notice import Notice
from tests.unit.dataplane.kubernetes.test_client import CONFIG, QuickClock, refusal

MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "byoc-enrolment", "namespace": "n"}}


def noticed(answer: Callable[[httpx2.Request], httpx2.Response]) -> Notice:
    single = KubeConfig.from_dict(CONFIG).get()
    transport = httpx2.MockTransport(answer)
    return Notice(Client(single, namespace="n", transport=transport, trust_env=False), QuickClock())


@pytest.mark.parametrize(
    "trouble",
    [
        httpx2.ConnectError("down"),
        httpx2.Response(200, content=b"cut in the mid"),
        refusal(404),
        ConfigError("the token is gone"),
        RuntimeError("nobody thought of it"),
    ],
    ids=["down", "cut", "missing", "token", "unthought-of"],
)
async def test_a_word_that_could_not_be_shown_is_shown_later(trouble: Exception | httpx2.Response) -> None:
    shown: list[dict[str, str]] = []
    troubles, done = [trouble], asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(request: httpx2.Request) -> httpx2.Response:
        if troubles:
            found = troubles.pop()
            if isinstance(found, Exception):
                raise found
            return found
        shown.append(json.loads(request.content)["data"])
        loop.call_soon_threadsafe(done.set)
        return httpx2.Response(200, json=MAP)

    notice = noticed(answer)
    notice.show(thumbprint="abc")
    showing = asyncio.create_task(notice.run())
    async with asyncio.timeout(60):
        await done.wait()
        notice.show(standing="waiting")
        done.clear()
        await done.wait()
    showing.cancel()
    assert shown == [{"thumbprint": "abc"}, {"thumbprint": "abc", "standing": "waiting"}]
