"""Which engines are taken, warned of or refused, by what they answer."""

from pathlib import Path

import pytest

from byoc.bootstrap.engine.find import find, judge, own
from byoc.errors import PreconditionFailed

HERE = Path("/usr/bin/pulumi")


@pytest.mark.parametrize("answer", ["v3.259.0\n", "3.259.0", "v3.260.1", "v3.301.0-alpha.1+dirty"])
def test_the_sdks_minor_and_newer_ones_are_taken(answer: str) -> None:
    assert judge(HERE, answer, "3.259.0").warning == ""


def test_an_older_minor_warns() -> None:
    found = judge(HERE, "v3.205.0", "3.259.0")
    assert (found.version, found.text) == ((3, 205, 0), "3.205.0")
    assert found.warning == "/usr/bin/pulumi is v3.205.0; byoc is tested with 3.259.0"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "tells no version: it was built without one"),
        ("\n", "tells no version: it was built without one"),
        ("command not found", "tells no version but `command not found`"),
        ("v3.204.9", "is v3.204.9; 3.205 or newer is needed"),
        ("v2.300.0", "is v2.300.0; byoc works with major version 3"),
        ("v4.0.0", "is v4.0.0; byoc works with major version 3"),
    ],
)
def test_others_are_refused_with_the_way_out(answer: str, reason: str) -> None:
    with pytest.raises(PreconditionFailed) as refusal:
        judge(HERE, answer, "3.259.0")
    assert refusal.value.message == f"/usr/bin/pulumi {reason}"
    assert "--install-pulumi" in refusal.value.hint


def test_no_engine_at_all_is_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed, match="pulumi is not installed") as refusal:
        find(tmp_path, {"PATH": str(tmp_path)})
    assert "--install-pulumi" in refusal.value.hint


def test_our_own_engine_lies_in_our_own_folder() -> None:
    assert own(Path("/data")) == Path("/data/pulumi/3.259.0/bin/pulumi")
