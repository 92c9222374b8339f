import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import Unreachable
from byoc.ids import CellID
from byoc.nimbus import handshake
from byoc.nimbus.handshake import Challenge, Code, Denial, Login, Role, Welcome
from byoc.wire import cell
from byoc.wire.keys import encode_bytes

LOGIN = {"role": "cell", "token": "t", "versions": [1]}


def test_messages_come_back_as_they_were() -> None:
    challenge = Challenge(bytes(range(32)), "gateway-1", (1, 2))
    welcome = Welcome("session", 7, 1)
    denial = Denial(Code.RETIRED, "no longer")
    assert handshake.read_challenge(challenge.members()) == challenge
    assert handshake.read_welcome(welcome.members()) == welcome
    assert handshake.read_denial(denial.members()) == denial


def test_unknown_members_are_left_to_whoever_knows_them() -> None:
    members = LOGIN | {"keySet": "abc", "later": True}
    assert handshake.read_login(members) == Login(Role.CELL, "t", (1,), members)


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [((1,), (1,), 1), ((1, 2, 3), (2, 3, 9), 3), ((1,), (2,), None), ((1, 2), (2, 1), 2)],
)
def test_the_highest_common_version_is_spoken(
    ours: tuple[int, ...], theirs: tuple[int, ...], chosen: int | None
) -> None:
    assert handshake.choose_version(ours, theirs) == chosen


def test_no_common_version_names_what_both_speak() -> None:
    denial = handshake.no_common_version((1, 2), (7,))
    assert denial.code == Code.VERSION
    assert "speaks 1, 2" in denial.message
    assert "its peer 7" in denial.message


@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "admin"},
        {"role": None},
        {"token": ""},
        {"token": 5},
        {"versions": []},
        {"versions": "1"},
        {"versions": [True]},
        {"versions": [-1]},
        {"versions": ["1"]},
        {"versions": list(range(100))},
    ],
)
def test_a_malformed_login_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Unreachable, match="broke the tunnel protocol"):
        handshake.read_login(LOGIN | wrong)


@pytest.mark.parametrize("wrong", [{"challenge": "AAAA"}, {"challenge": "***"}, {"gateway": ""}])
def test_a_malformed_challenge_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Unreachable, match="broke the tunnel protocol"):
        handshake.read_challenge(Challenge(bytes(32), "gateway").members() | wrong)


@pytest.mark.parametrize("wrong", [{"epoch": "1"}, {"epoch": None}, {"version": 1.5}, {"session": None}])
def test_a_malformed_welcome_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Unreachable, match="broke the tunnel protocol"):
        handshake.read_welcome(Welcome("session", 1, 1).members() | wrong)


def test_the_gateways_question_is_the_login_of_the_cell_api() -> None:
    asked = handshake.cell_login(gateway="g", challenge=bytes(32), token="t", session="s")
    login = cell.decode(cell.Login, asked)
    assert login == cell.Login(gateway="g", challenge=encode_bytes(bytes(32)), token="t", session="s")
    assert cell.encode(login) == asked


def test_the_control_planes_answer_is_the_logged_in_of_the_cell_api() -> None:
    body = json.dumps(cell.encode(cell.LoggedIn(CellID("cell-a"), 7))).encode()
    assert handshake.read_logged_in(body) == ("cell-a", 7)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 90_000,
        b'{"cellID": "a"}',
        b'{"cellID": "", "epoch": 1}',
        b'{"cellID": 5, "epoch": 1}',
    ],
)
def test_another_answer_to_a_login_is_refused(body: bytes) -> None:
    with pytest.raises(Unreachable, match="the control plane's answer"):
        handshake.read_logged_in(body)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
_names = st.sampled_from(["role", "token", "versions", "challenge", "gateway", "session", "epoch", "version"])


@given(st.dictionaries(_names, _json))
def test_any_json_is_read_or_refused_and_nothing_else(members: dict[str, Any]) -> None:
    for read in (handshake.read_login, handshake.read_challenge, handshake.read_welcome):
        try:
            assert read(members) is not None
        except Unreachable as error:
            assert "broke" in error.message  # noqa: PT017 - either outcome is right
    assert handshake.read_denial(members).code == str(members.get("code", ""))
