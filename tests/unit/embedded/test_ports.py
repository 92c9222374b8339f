import socket
from collections.abc import Iterator

import pytest

from byoc.embedded import ports
from byoc.errors import PreconditionFailed


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_taken_port_is_refused_with_its_holder(taken: int) -> None:
    with pytest.raises(PreconditionFailed, match=rf"port {taken} is taken by .*pid \d+") as caught:
        ports.api_port(taken, 0)
    assert caught.value.exit_code == 9
    assert "--port" in caught.value.hint


def test_the_port_used_before_is_used_again() -> None:
    kept = ports.any_free()
    assert ports.api_port(None, kept) == kept


def test_what_was_asked_for_beats_what_was_used_before(taken: int) -> None:
    asked = ports.any_free()
    assert ports.api_port(asked, taken) == asked


def test_zero_is_any_free_port() -> None:
    assert ports.is_free(ports.api_port(0, 0))


def test_the_gateway_keeps_its_port_while_it_is_free(taken: int) -> None:
    kept = ports.any_free()
    assert ports.gateway_port(kept, taken) == kept
    assert ports.gateway_port(taken, taken) > taken


def test_the_gateway_never_takes_the_api_s_port() -> None:
    port = ports.any_free()
    assert ports.gateway_port(port, port) != port
