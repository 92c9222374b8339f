import gzip
import json
from pathlib import Path
from typing import Any

import pytest

NAMED = ("--name", "main", "--region", "eu-west-1", "--account", "123456789012")


def printed(byoc: Any, tmp_path: Path, *more: str) -> Path:
    ended = byoc("cell", "permissions", *NAMED, *more, "-o", "json")
    assert ended.code == 0, ended.err
    path = tmp_path / "old.json"
    path.write_text(ended.out)
    return path


def test_the_policies_are_printed_with_what_they_are(byoc: Any) -> None:
    ended = byoc("cell", "permissions", *NAMED)
    assert ended.code == 0
    assert "# byoc-main-bootstrap-network: makes and changes the cell's network" in ended.out
    assert "# role byoc-main-agent: " in ended.out
    assert "derived, not yet observed on AWS" in ended.err
    assert "assumed, because nobody said: " in ended.err


def test_what_stands_in_for_the_customers_own_is_said(byoc: Any) -> None:
    ended = byoc("cell", "permissions", *NAMED, "--mode", "existing-vpc", "-o", "json")
    assert ended.json["mode"] == "existing-vpc"
    assert "vpc" in ended.json["assumed"]


def test_the_names_alone_are_one_a_line(byoc: Any) -> None:
    ended = byoc("cell", "permissions", *NAMED, "-o", "name")
    assert ended.out.splitlines()[-1] == "byoc-main-control"


def test_a_difference_is_told_and_ends_in_10(byoc: Any, tmp_path: Path) -> None:
    old = printed(byoc, tmp_path, "--mode", "existing-vpc")
    ended = byoc("cell", "permissions", *NAMED, "--diff", str(old))
    assert ended.code == 10
    assert "bootstrap:\n  + ec2:AllocateAddress\n" in ended.out
    told = byoc("cell", "permissions", *NAMED, "--diff", str(old), "-o", "json")
    assert told.code == 10
    assert told.json[0]["holder"] == "bootstrap"


def test_no_difference_ends_in_0(byoc: Any, tmp_path: Path) -> None:
    old = printed(byoc, tmp_path)
    ended = byoc("cell", "permissions", *NAMED, "--diff", str(old))
    assert (ended.code, ended.out) == (0, "no difference\n")


@pytest.mark.parametrize("packed", [False, True])
def test_a_trail_is_compared(byoc: Any, tmp_path: Path, packed: bool) -> None:
    call = {"eventSource": "sns.amazonaws.com", "eventName": "CreateTopic", "userIdentity": {"arn": "a"}}
    text = json.dumps({"Records": [call]}).encode()
    folder = tmp_path / "trail" / "2026"
    folder.mkdir(parents=True)
    file = folder / ("one.json.gz" if packed else "one.json")
    file.write_bytes(gzip.compress(text) if packed else text)
    for path in (file, tmp_path / "trail"):
        ended = byoc("cell", "permissions", *NAMED, "--observed", str(path))
        assert ended.code == 10
        assert "  seen, not granted: sns:CreateTopic\n" in ended.out
    told = byoc("cell", "permissions", *NAMED, "--observed", str(file), "-o", "json")
    assert told.json[0]["missing"] == ["sns:CreateTopic"]


@pytest.mark.parametrize(
    "asked",
    [
        ("--mode", "both"),
        ("--principal", "ada"),
        ("--diff", "missing.json"),
        ("--observed", "missing.json"),
        ("--diff", "a", "--observed", "b"),
    ],
)
def test_what_cannot_be_answered_is_refused(byoc: Any, asked: tuple[str, ...]) -> None:
    assert byoc("cell", "permissions", *NAMED, *asked).code == 2
