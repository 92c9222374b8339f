"""``byoc breakglass``: what is refused before AWS is asked for anything."""

import pytest

from tests.unit.cli.conftest import Byoc


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--ttl", "9h", "--reason", "x"), "not broken for 9h"),
        (("--ttl", "soon", "--reason", "x"), "no duration"),
        (("--ttl", "1h", "--reason", " "), "a reason is needed"),
        (("--ttl", "1h"), "--reason"),
        (("--reason", "x"), "--ttl"),
        (("--ttl", "1h", "--reason", "x"), "AWS region"),
    ],
)
def test_what_cannot_be_is_refused_at_once(byoc: Byoc, more: tuple[str, ...], says: str) -> None:
    ended = byoc("breakglass", "open", "sales", *more)
    assert ended.code == 2
    assert says in ended.err


def test_it_stands_with_what_is_inside_the_cell(byoc: Byoc, capsys: pytest.CaptureFixture[str]) -> None:
    byoc("--help")
    text = capsys.readouterr().out
    assert "breakglass" in text.partition("Inside the cell:")[2].partition("Operate:")[0]
