import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from byoc.clock import SystemClock
from byoc.errors import CellAway, PreconditionFailed, Unreachable, UsageError
from byoc.nimbus.admission import Limits
from byoc.nimbus.client import Phase, TunnelClient, request_unenrolled
from byoc.nimbus.dialling import dialler
from byoc.nimbus.handshake import Code
from byoc.nimbus.http import HttpRequest
from byoc.nimbus.session import CREDIT
from byoc.nimbus.stream import Stream
from byoc.wire.certificates import make_authority, make_server_certificate
from byoc.wire.keys import SigningKey

Site = Any
WireTo = Any
LARGE = bytes(range(256)) * 12 * 1024


async def until(condition: Any, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def ask(client: TunnelClient, service: str, body: bytes = b"") -> bytes:
    answered = await client.request(service, HttpRequest("POST", "/echo", (), body), timeout=10)
    assert answered.status == 200
    return answered.body


async def test_requests_go_both_ways_through_tls(site: Site) -> None:
    async with site.gateway():
        controlplane, cell = site.controlplane(), site.cell("cell-a")
        await cell.wait_connected(timeout=10)
        assert await ask(controlplane, "cell/cell-a", LARGE) == LARGE
        assert await ask(cell, "controlplane", LARGE) == LARGE
        assert "cell POST /echo" in site.asked
        assert "cell:cell-a POST /echo" in site.asked
        with pytest.raises(CellAway):
            await controlplane.open("cell/cell-b")


async def test_a_cell_with_another_cells_name_is_refused(site: Site) -> None:
    site.cells["cell-a"] = SigningKey.generate()
    async with site.gateway():
        await site.controlplane().wait_connected(timeout=10)
        impostor = site.cell("cell-a", key=SigningKey.generate())
        await until(lambda: impostor.state.phase is Phase.REFUSED)
        assert impostor.state.code == Code.NOT_AUTHENTICATED


async def test_a_retired_cell_is_put_out_at_once_and_not_let_in_again(site: Site) -> None:
    async with site.gateway():
        controlplane, cell = site.controlplane(), site.cell("cell-a")
        await cell.wait_connected(timeout=10)
        site.retired.add("cell-a")
        async with await controlplane.open("close/cell-a") as closing:
            assert await closing.read() == b""
        await until(lambda: cell.state.phase is Phase.REFUSED)
        assert cell.state.code == Code.RETIRED
        again = site.cell("cell-a")
        await until(lambda: again.state.phase is Phase.REFUSED)
        assert again.state.reason == "the cell is retired"


async def test_a_control_plane_of_another_root_is_refused(site: Site) -> None:
    stranger = type(site.provider)()
    async with site.gateway():
        client = site.controlplane(stranger)
        await until(lambda: client.state.phase is Phase.REFUSED)
        assert client.state.code == Code.NOT_AUTHENTICATED


async def test_an_older_key_set_is_refused_after_a_restart_too(site: Site) -> None:
    site.provider.version = 5
    async with site.gateway():
        await site.controlplane().wait_connected(timeout=10)
    await site.close()
    assert json.loads((site.data / "gateway" / "keyset.json").read_text()) == {"version": 5}
    site.provider.version = 4
    async with site.gateway():
        client = site.controlplane()
        await until(lambda: client.state.phase is Phase.REFUSED)
        assert client.state.code == Code.NOT_AUTHENTICATED


async def test_enrolling_needs_no_key(site: Site) -> None:
    async with site.gateway():
        await site.controlplane().wait_connected(timeout=10)
        asked = HttpRequest("POST", "/cell/v1/enrol", (), b"a token")
        dial = dialler(site.url, ca=site.ca)
        answered = await request_unenrolled(dial, asked, clock=SystemClock(), timeout=10)
        assert answered.body == b"a token"
        assert "enrol POST /cell/v1/enrol" in site.asked


async def test_a_slow_reader_does_not_slow_the_others(site: Site) -> None:
    async def handler(stream: Stream) -> None:
        if not slow:
            slow.append(stream)
            await stream.wait_lost()
        else:
            await site.serve(stream)

    slow: list[Stream] = []
    async with site.gateway():
        controlplane, cell = site.controlplane(), site.cell("cell-a", handler=handler)
        await cell.wait_connected(timeout=10)
        stalled = await controlplane.open("cell/cell-a")
        writing = asyncio.create_task(stalled.write(bytes(CREDIT * 8)))
        for _ in range(10):
            assert await ask(controlplane, "cell/cell-a", LARGE) == LARGE
        assert not writing.done()
        await stalled.reset("cancelled")
        await asyncio.gather(writing, return_exceptions=True)


async def test_fifty_requests_at_once(site: Site) -> None:
    async with site.gateway():
        controlplane, cell = site.controlplane(), site.cell("cell-a")
        await cell.wait_connected(timeout=10)
        bodies = [bytes([number]) * 50_000 for number in range(50)]
        answers = await asyncio.gather(*(ask(controlplane, "cell/cell-a", body) for body in bodies))
        assert answers == bodies


async def test_a_line_cut_in_the_middle_of_a_request_is_unreachable_and_then_mended(
    site: Site, wire_to: WireTo
) -> None:
    async def handler(stream: Stream) -> None:
        started.set()
        await (site.serve(stream) if mended.is_set() else stream.wait_lost())

    started, mended = asyncio.Event(), asyncio.Event()
    async with site.gateway(), wire_to(site.port) as wire:
        url = f"wss://127.0.0.1:{wire.port}"
        controlplane, cell = site.controlplane(), site.cell("cell-a", handler=handler, url=url)
        await cell.wait_connected(timeout=10)
        asking = asyncio.create_task(ask(controlplane, "cell/cell-a", LARGE))
        await asyncio.wait_for(started.wait(), 10)
        mended.set()
        wire.cut()
        with pytest.raises(Unreachable):
            await asyncio.wait_for(asking, 10)
        await until(lambda: cell.state.phase is not Phase.CONNECTED)
        await cell.wait_connected(timeout=10)
        assert await ask(controlplane, "cell/cell-a", b"again") == b"again"


async def test_a_new_login_takes_over_from_a_session_that_went_silent(site: Site, wire_to: WireTo) -> None:
    async with site.gateway(), wire_to(site.port) as wire:
        controlplane = site.controlplane()
        silent = site.cell("cell-a", url=f"wss://127.0.0.1:{wire.port}")
        await silent.wait_connected(timeout=10)
        wire.stall()
        newer = site.cell("cell-a")
        await newer.wait_connected(timeout=10)
        assert await ask(controlplane, "cell/cell-a", b"hello") == b"hello"


async def test_a_proxy_is_used_for_a_gateway_that_is_not_on_loopback(
    site: Site, wire_to: WireTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.gateway(), wire_to(site.port, proxy=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        await site.controlplane().wait_connected(timeout=10)
        assert proxy.asked == []
        cell = site.cell("cell-a", url="wss://gateway.test:8443")
        await cell.wait_connected(timeout=10)
        assert proxy.asked == ["CONNECT gateway.test:8443 HTTP/1.1"]
        assert await ask(cell, "controlplane", b"hello") == b"hello"


async def test_a_gateway_of_another_authority_is_not_trusted(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(make_authority(name="other", now=SystemClock().now()).certificate)
    async with site.gateway():
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await dialler(site.url, ca=other)()


def len_or_none(said: bytes | None) -> str:
    return "connected" if said is None else f"{len(said)} bytes"


async def test_nothing_older_than_tls_1_3_is_spoken(site: Site) -> None:
    async with site.gateway():
        context = ssl.create_default_context(cafile=str(site.ca))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("127.0.0.1", site.port, ssl=context)


async def test_nothing_but_the_tunnel_is_served(site: Site) -> None:
    async with site.gateway():
        context = ssl.create_default_context(cafile=str(site.ca))
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=context)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        assert b" 4" in (await reader.read()).split(b"\r\n")[0]
        writer.close()
        await writer.wait_closed()


UPGRADE = (
    b"GET /nimbus/v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: nimbus.v1\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.mark.parametrize("said", [None, b"", b"GET /nimbus/v1 HTT", UPGRADE], ids=len_or_none)
async def test_strangers_who_say_nothing_keep_nobody_out(site: Site, said: bytes | None) -> None:
    """Before TLS, before the request, in its middle, and after it: far more than the gateway keeps."""
    async with site.gateway():
        tls = None if said is None else ssl.create_default_context(cafile=str(site.ca))
        strangers = [await asyncio.open_connection("127.0.0.1", site.port, ssl=tls) for _ in range(300)]
        for _, writer in strangers:
            writer.write(said or b"")
        await site.controlplane().wait_connected(timeout=8)
        kept = sum(not reader.at_eof() for reader, _ in strangers)
        assert kept <= Limits().pending + 1
        for _, writer in strangers:
            writer.transport.abort()


async def test_a_gateway_that_restarts_gets_its_peers_back(site: Site) -> None:
    async with site.gateway():
        controlplane, cell = site.controlplane(), site.cell("cell-a")
        await cell.wait_connected(timeout=10)
    await until(lambda: not cell.connected)
    assert "the gateway is stopping" in cell.state.reason
    async with site.gateway():
        await cell.wait_connected(timeout=15)
        await controlplane.wait_connected(timeout=15)
        assert await ask(controlplane, "cell/cell-a", b"hello") == b"hello"


async def test_a_new_certificate_is_shown_without_a_restart(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byoc.nimbus.serve.LOOK_SECONDS", 0.02)
    folder = site.data / "gateway"
    async with site.gateway():
        first = await shown_certificate(site)
        plane, before = site.controlplane(), site.cell("cell-1")
        await until(lambda: before.connected and plane.connected)
        authority = make_authority(name="next", now=SystemClock().now())
        server = make_server_certificate(authority, now=SystemClock().now())
        (folder / "tls.crt").write_bytes(server.certificate)
        await asyncio.sleep(0.1)
        assert await shown_certificate(site) == first, "half a pair changes nothing"
        (folder / "tls.key").write_bytes(server.key)

        while await shown_certificate(site) == first:
            await asyncio.sleep(0.02)

        assert before.connected, "tunnels that stand go on"
        (folder / "ca.crt").write_bytes(authority.certificate)
        after = site.cell("cell-2")
        await until(lambda: after.connected)


async def shown_certificate(site: Site) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return bytes(shown)


async def test_a_port_that_is_taken_is_named(site: Site, tmp_path: Path) -> None:
    async with site.gateway():
        second = type(site)(tmp_path / "second")
        second.port = site.port
        with pytest.raises(PreconditionFailed, match=f"port {site.port}"):
            async with second.gateway():
                pass


@pytest.mark.parametrize(
    ("name", "content"), [("root.json", "{}"), ("root.json", None), ("tls.key", None), ("keyset.json", "[]")]
)
async def test_a_file_that_is_missing_or_wrong_is_named(site: Site, name: str, content: str | None) -> None:
    path = site.data / "gateway" / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content)
    with pytest.raises(PreconditionFailed, match=name):
        async with site.gateway():
            pass


@pytest.mark.parametrize("url", ["https://127.0.0.1:8443", "wss://", "127.0.0.1:8443"])
def test_a_url_that_is_no_gateways_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not a gateway's URL"):
        dialler(url)


def test_a_ca_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no CA certificate"):
        dialler("wss://127.0.0.1:1", ca=tmp_path / "missing.crt")


PROGRAM = """
import asyncio, sys
from pathlib import Path
from byoc import log
from byoc.nimbus.serve import GatewaySettings, serve
log.configure("warning", component="gateway")
settings = GatewaySettings(Path(sys.argv[1]), int(sys.argv[2]))
asyncio.run(serve(settings, asyncio.Event(), on_ready=lambda port: print(port, flush=True)))
"""


@asynccontextmanager
async def process(site: Site) -> AsyncIterator[psutil.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(site.data), str(site.port), stdout=asyncio.subprocess.PIPE
    )
    assert started.stdout is not None
    try:
        site.port = int(await asyncio.wait_for(started.stdout.readline(), 20))
        yield psutil.Process(started.pid)
    finally:
        if started.returncode is None:
            os.kill(started.pid, signal.SIGKILL)
        await started.communicate()


async def test_a_gateway_that_is_killed_gets_its_peers_back_and_stays_light(site: Site) -> None:
    async with process(site):
        controlplane, cell = site.controlplane(), site.cell("cell-a")
        await cell.wait_connected(timeout=10)
    await until(lambda: not cell.connected)
    async with process(site) as second:
        await cell.wait_connected(timeout=15)
        await controlplane.wait_connected(timeout=15)
        for _ in range(20):
            assert await ask(controlplane, "cell/cell-a", LARGE) == LARGE
        assert second.memory_info().rss < 80 * 1024 * 1024
