"""Bad input to any command: one line that says what is wrong, the right code, never a traceback."""

from typing import Any

import pytest

from byoc_cli import reference

# As arguments of a process may be: empty, with controls, with bytes that are no text, far too long.
HOSTILE = ("", "\x1b[31mred", "../..", "a/b?c#d%2e", "\udcff💥", "x" * 5000)
NAMED = (
    "group show NAME",
    "group update NAME --name other",
    "group set-password NAME",
    "group terminate NAME --confirm NAME",
    "workspace show NAME",
    "workspace resize NAME --size S-0",
    "workspace suspend NAME",
    "workspace resume NAME",
    "workspace terminate NAME --confirm NAME",
    "workspace connect NAME --exec select",
    "workspace events NAME",
    "workspace logs NAME",
    "workspace metrics NAME",
    "workspace create orders --group NAME",
    "cell show NAME",
    "cell connections NAME",
    "cell events NAME",
    "cell retire NAME --confirm NAME",
)


@pytest.mark.parametrize("command", reference.commands())
def test_an_option_that_a_command_does_not_know_is_one_line_and_2(byoc: Any, command: str) -> None:
    ended = byoc(*command.removeprefix("byoc ").split(), "--no-such-option")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: no such option `--no-such-option`")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", NAMED)
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_that_nothing_has_is_said_in_one_line(byoc: Any, command: str, name: str) -> None:
    ended = byoc(*(name if word == "NAME" else word for word in command.split()), "--no-input")
    assert ended.code in {2, 4}, ended.err
    assert ended.out == ""
    message = ended.err.partition("\n\nhint: ")[0].strip("\n")
    assert message.startswith("error: ")
    assert "\n" not in message
    assert "\x1b" not in message
