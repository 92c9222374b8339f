import ssl

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage, InvalidProxyStatus, InvalidStatus, ProxyError
from websockets.http11 import Response

from byoc.errors import Unreachable, UsageError
from byoc.nimbus.dialling import Busy, address, dialler, explain, is_loopback


def answer(status: int, **headers: str) -> Response:
    fields = Headers([(name.replace("_", "-"), value) for name, value in headers.items()])
    return Response(status, "", fields, b"")


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "said", "hint"),
    [
        (InvalidStatus(answer(302, Location="https://p.test/")), "whoever asks to https://p.test/", "portal"),
        (InvalidStatus(answer(403)), "refuses the tunnel: it answered 403", "WebSocket upgrades"),
        (InvalidStatus(answer(511)), "it answered 511", "WebSocket upgrades"),
        (InvalidStatus(answer(200)), "is not a gateway: it answered 200", ""),
        (InvalidProxyStatus(answer(407)), "the proxy wants to know who asks", "HTTPS_PROXY"),
        (InvalidProxyStatus(answer(403)), "refuses to connect to g:443: it answered 403", "allow CONNECT"),
        (ProxyError("no answer"), "the proxy cannot be used to reach g:443: no answer", "HTTPS_PROXY"),
        (InvalidMessage("no HTTP"), "is not a gateway", "firewall"),
        (EOFError(), "is not a gateway", "firewall"),
        (untrusted(), "certificate verify failed: self-signed certificate", "`ca`"),
        (TimeoutError(), "did not answer in 10 s", "MTU"),
        (ConnectionRefusedError(111, "Connection refused"), "cannot be reached: [Errno 111]", ""),
        (OSError(), "cannot be reached: OSError", ""),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_named_with_what_to_do(error: Exception, said: str, hint: str) -> None:
    found = explain("g:443", error)
    assert type(found) is Unreachable
    assert said in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry_After": "5"}, 5.0), ({}, 0.0), ({"Retry_After": "soon"}, 0.0), ({"Retry_After": "-1"}, 0.0),
     ({"Retry_After": "nan"}, 0.0), ({"Retry_After": "1e9"}, 300.0)],
)  # fmt: skip
def test_a_gateway_without_room_says_when_within_reason(headers: dict[str, str], seconds: float) -> None:
    found = explain("g:443", InvalidStatus(answer(503, **headers)))
    assert isinstance(found, Busy)
    assert found.retry_after == seconds


@pytest.mark.parametrize("url", ["https://g", "wss://", "wss://g:0", "wss://g:x", "wss://[::1", "g:443", ""])
def test_a_url_that_is_no_gateways_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(UsageError, match="not a gateway's URL"):
        address(url)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("a.localhost", True), ("10.0.0.1", False),
     ("localhost.example.com", False)],
)  # fmt: skip
def test_this_machine_is_never_looked_for_through_a_proxy(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    "proxy",
    [
        "http://ann:s3cret@proxy.test:3128/path",
        "ftp://ann:s3cret@proxy.test:1",
        "socks5h://ann:s3cret@proxy.test:1",
        "http://ann:s3cret@proxy.test:99999",
        "http://ann:s3cret/more@proxy.test:1",
        "http://ann:s3cret@:1",
    ],
)
async def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(Unreachable, match="proxy") as error:
        await dialler("wss://gateway.test:443")()
    assert "s3cret" not in f"{error.value.message} {error.value.hint}"
    assert "HTTPS_PROXY" in error.value.hint
