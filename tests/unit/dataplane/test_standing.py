"""What the agent notes of its tunnel is what whoever examines the machine reads."""

from pathlib import Path

import pytest

from byoc.dataplane import standing
from byoc.dataplane.standing import Standing
from byoc.testing import ManualClock


def test_what_was_noted_last_is_read(tmp_path: Path, clock: ManualClock) -> None:
    noted = Standing(tmp_path, clock)
    noted.say("connected", "connected")
    noted.say(standing.REVOKED, "access is revoked by ann@laptop")
    assert standing.read(tmp_path) == (standing.REVOKED, "access is revoked by ann@laptop")


@pytest.mark.parametrize("text", [None, "", "[]", "{", '{"phase": "connected"}'])
def test_where_nothing_can_be_read_nothing_is_said(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / standing.FILE).write_text(text)
    assert standing.read(tmp_path) == ("", "")
