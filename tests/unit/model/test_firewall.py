"""Firewall ranges."""

import pytest

from byoc.errors import UsageError
from byoc.model.firewall import parse_ranges


def test_ranges_are_sorted_and_each_kept_once() -> None:
    given = ["192.168.0.0/16", " 10.0.0.0/8 ", "10.0.0.0/8", "203.0.113.7", "2001:db8::/32"]
    expected = ("10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32", "203.0.113.7")
    assert parse_ranges(given) == (expected, False)


def test_no_range_lets_nobody_in() -> None:
    assert parse_ranges([]) == ((), False)


def test_the_range_of_everything_swallows_the_others() -> None:
    assert parse_ranges(["10.0.0.0/8", "0.0.0.0/0"]) == ((), True)


@pytest.mark.parametrize(
    "text", ["", "x", "10.0.0.0/33", "10.0.0", "1.2.3.4:80", "10.0.0.0/8,11.0.0.0/8", "\x00"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^firewallRanges: ") as caught:
        parse_ranges(["10.0.0.0/8", text])
    assert caught.value.message.isprintable()
