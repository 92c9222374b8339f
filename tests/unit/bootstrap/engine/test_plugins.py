"""Which provider plugins are missing."""

from importlib import metadata

import pytest

from byoc.bootstrap.engine.plugins import KUBERNETES, Plugin, installed, missing, needed
from byoc.errors import Failed


def test_the_versions_needed_are_the_sdks() -> None:
    assert needed() == (Plugin("aws", metadata.version("pulumi-aws")),)
    assert needed(KUBERNETES) == (Plugin("kubernetes", metadata.version("pulumi-kubernetes")),)


def test_another_version_is_as_good_as_none() -> None:
    there = installed(
        '[{"name": "aws", "kind": "resource", "version": "v7.51.1"},'
        ' {"name": "kubernetes", "kind": "language", "version": "4.0.0"}, {"name": "x", "kind": "resource"}]'
    )
    assert there == {Plugin("aws", "7.51.1"), Plugin("x", "")}
    wanted = (Plugin("aws", "7.51.1"), Plugin("aws", "7.51.2"), Plugin("kubernetes", "4.0.0"))
    assert missing(wanted, there) == wanted[1:]


@pytest.mark.parametrize("listing", ["", "{}", "[1]", '[{"kind": "resource"}]', "warning: update\n[]"])
def test_a_listing_of_another_kind_is_an_error(listing: str) -> None:
    if listing == "{}":
        assert installed(listing) == frozenset()
        return
    with pytest.raises(Failed):
        installed(listing)
