"""What stands between cells and gateways in other people's networks."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from byoc.clock import SystemClock
from byoc.errors import Unreachable
from byoc.model.check import Result
from byoc.nimbus import dialling
from byoc.nimbus.dialling import Busy, dialler
from byoc.nimbus.prechecks import prechecks
from byoc.nimbus.serve import GatewaySettings, serve
from byoc.wire.certificates import make_authority, make_server_certificate

Site = Any
WireTo = Any
OUTSIDE = "wss://gateway.test:8443"


def server_side(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


async def test_a_proxy_that_wants_a_password_gets_it(
    site: Site, wire_to: WireTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.gateway(), wire_to(site.port, proxy=True) as proxy:
        proxy.wants = "Proxy-Authorization: Basic YW5uOnMzY3JldA=="
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Unreachable, match="the proxy wants to know who asks") as refused:
            await dialler(OUTSIDE, ca=site.ca)()
        assert "HTTPS_PROXY" in refused.value.hint
        monkeypatch.setenv("HTTPS_PROXY", f"http://ann:s3cret@127.0.0.1:{proxy.port}")
        await site.controlplane().wait_connected(timeout=10)
        await site.cell("cell-a", url=OUTSIDE).wait_connected(timeout=10)


@pytest.mark.parametrize("status", ["302 Found", "403 Forbidden", "502 Bad Gateway"])
async def test_what_a_proxy_refuses_is_named(
    site: Site, wire_to: WireTo, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    async with wire_to(0, proxy=True) as proxy:
        proxy.answers = status
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Unreachable, match=f"it answered {status[:3]}"):
            await dialler(OUTSIDE, ca=site.ca)()


async def test_a_password_for_the_proxy_is_in_no_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:s3cret@127.0.0.1:1")
    with pytest.raises(Unreachable) as failed:
        await dialler(OUTSIDE, ca=site.ca)()
    assert "s3cret" not in failed.value.message + failed.value.hint


async def test_a_gateway_that_is_not_to_be_proxied_is_dialled_straight(
    site: Site, wire_to: WireTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.gateway(), wire_to(site.port, proxy=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "gateway.test")
        answers_at(monkeypatch, {"gateway.test": ["127.0.0.1"]})
        line = await dialler(f"wss://gateway.test:{site.port}", ca=site.ca)()
        await line.close()
        assert proxy.asked == []


def answers_at(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """Have names answer with one address after the other; the last one stays."""
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **more: Any) -> Any:
        addresses = names.get(host)
        if addresses:
            host = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


async def test_a_name_is_looked_up_anew_at_each_dial(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site.gateway():
        answers_at(monkeypatch, {"gateway.test": ["127.0.0.9", "127.0.0.1"]})
        await site.controlplane().wait_connected(timeout=10)
        cell = site.cell("cell-a", url=f"wss://gateway.test:{site.port}")
        await cell.wait_connected(timeout=10)


async def test_a_gateway_is_reached_by_ipv6(site: Site) -> None:
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    settings = GatewaySettings(site.data, 0, host="::1")
    running = asyncio.create_task(serve(settings, stop, on_ready=port.set_result))
    site.port = await asyncio.wait_for(port, 10)
    url = f"wss://[::1]:{site.port}"
    answering = site.dial("controlplane", site.controlplane_login(), {"login": site.serve}, url=url)
    await answering.wait_connected(timeout=10)
    await site.cell("cell-a", url=url).wait_connected(timeout=10)
    await site.close()
    stop.set()
    await running


def certify(folder: Path) -> Path:
    """Make an authority and a certificate of its own in the gateway's name; return the authority's file."""
    now = datetime.now(UTC)
    authority = make_authority(name="inspector", now=now)
    own = make_server_certificate(authority, names=("gateway.test",), now=now)
    folder.mkdir()
    files = {"ca.crt": authority.certificate, "tls.crt": own.certificate, "tls.key": own.key}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / "ca.crt"


@asynccontextmanager
async def inspecting(site: Site, folder: Path) -> AsyncIterator[int]:
    """A proxy that reads along: TLS with the certificate in ``folder``, and TLS to the gateway behind it."""
    onward = ssl.create_default_context(cafile=str(site.ca))

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, there = await asyncio.open_connection("127.0.0.1", site.port, ssl=onward)
        try:
            await asyncio.gather(copy(reader, there), copy(back, writer))
        except OSError:
            pass
        finally:
            for end in (writer, there):
                end.transport.abort()

    server = await asyncio.start_server(carry, "127.0.0.1", 0, ssl=server_side(folder))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_proxy_that_inspects_tls_is_taken_where_its_authority_is_given(
    site: Site, tmp_path: Path, wire_to: WireTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector = tmp_path / "inspector"
    ca = certify(inspector)
    async with site.gateway(), inspecting(site, inspector) as port, wire_to(port, proxy=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Unreachable, match="certificate verify failed") as refused:
            await dialler(OUTSIDE, ca=site.ca)()
        assert "if a proxy inspects TLS here" in refused.value.hint
        line = await dialler(OUTSIDE, ca=ca)()
        await line.close()


@asynccontextmanager
async def answering(site: Site, answer: bytes) -> AsyncIterator[str]:
    """Something with the gateway's certificate that is no gateway."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0, ssl=server_side(site.data / "gateway"))
    try:
        yield f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: https://portal.test/\r\nContent-Length: 0\r\n\r\n", "https://portal.test/"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "it answered 403"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "it answered 200"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is not a gateway"),
    ],
    ids=["captive", "forbidden", "page", "other"],
)  # fmt: skip
async def test_what_answers_in_the_gateways_place_is_named_and_never_followed(
    site: Site, answer: bytes, said: str
) -> None:
    async with answering(site, answer) as url:
        with pytest.raises(Unreachable) as failed:
            await dialler(url, ca=site.ca)()
        assert said in failed.value.message


async def test_a_gateway_without_room_says_so_and_when(site: Site) -> None:
    answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"
    async with answering(site, answer) as url:
        with pytest.raises(Busy) as busy:
            await dialler(url, ca=site.ca)()
        assert busy.value.retry_after == 5


async def test_a_line_knows_what_time_it_is_at_the_gateway(site: Site) -> None:
    async with site.gateway():
        line = await dialler(site.url, ca=site.ca)()
        assert line.their_clock is not None
        assert abs(line.their_clock - datetime.now(UTC)) < timedelta(seconds=5)
        await line.close()


async def test_a_network_that_swallows_large_packets_is_suspected(
    site: Site, wire_to: WireTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "OPEN_SECONDS", 1.0)
    async with site.gateway(), wire_to(site.port) as wire:
        wire.largest = 500
        with pytest.raises(Unreachable, match="did not answer in 1 s") as failed:
            await dialler(f"wss://127.0.0.1:{wire.port}", ca=site.ca)()
        assert "MTU" in failed.value.hint


async def test_the_way_to_a_gateway_that_stands_passes_step_by_step(site: Site) -> None:
    async with site.gateway():
        checks = await prechecks(site.url, ca=site.ca, environment={}, clock=SystemClock())
    assert [each.result for each in checks] == [Result.PASS] * 3
