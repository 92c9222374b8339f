"""The engine at work, as it is shown without a terminal and with one."""

import io

import pytest

from byoc.bootstrap.engine.events import Broken, Ended, Progress, Said, Started, Subject, Violated
from byoc_cli.applying import applying, told
from byoc_cli.output import Output
from tests.unit.cli.conftest import Terminal

VPC = Subject.of("urn:pulumi:prod::byoc::aws:ec2/vpc:Vpc::vpc")
KEY = Subject.of("urn:pulumi:prod::byoc::aws:kms/key:Key::key")
RUN: list[Progress] = [
    Started(VPC, "create"),
    Started(KEY, "create"),
    Ended(VPC, "create", 2.0, 1, 2),
    Broken(KEY, "create", 3.0),
]


def shown(err: io.StringIO, *, quiet: bool = False) -> str:
    with applying(Output(io.StringIO(), err, {"COLUMNS": "80"}, quiet=quiet)) as listener:
        for fact in RUN:
            listener(fact)
    return err.getvalue()


def test_without_a_terminal_each_end_is_a_plain_line() -> None:
    first, second = shown(io.StringIO()).splitlines()
    assert first.split()[-6:] == ["created", "Vpc", "vpc", "(1", "of", "2)"]
    assert second.split()[-3:] == ["failed", "Key", "key"]


def test_a_terminal_gets_the_same_lines_above_a_bar_that_is_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    text = shown(Terminal())
    assert text.count("created") == 1
    assert text.count("failed") == 1
    assert "1/2" in text
    assert "\x1b[?25h" in text, "the cursor is shown again"


def test_quiet_is_quiet_on_a_terminal_too() -> None:
    assert shown(Terminal(), quiet=True) == ""


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (Violated("no-public", True, "a port is open", None), ["refused", "no-public:"]),
        (Violated("tags", False, "one is missing", None), ["advised", "tags:"]),
        (Said("warning", "slow", VPC), ["warning", "slow"]),
        (Said("info", "creating", VPC), []),
        (Started(VPC, "create"), []),
        (Ended(VPC, "delete", 1.0, 1, 0), ["deleted", "Vpc", "vpc"]),
    ],
)
def test_what_somebody_needs_is_told_and_nothing_else(fact: Progress, words: list[str]) -> None:
    line = told(fact)
    if not words:
        assert line is None
    else:
        assert line is not None
        assert [word for word in words if word in line.split()] == words
