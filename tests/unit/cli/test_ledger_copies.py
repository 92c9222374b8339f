"""``ledger verify --bucket``: the copies prove themselves (moto)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from byoc.dataplane.bucket import PREFIX, Bucket
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.shipping import Shipper
from byoc.testing import ManualClock

NAME = "acme-prod-ledger"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: ManualClock) -> Iterator[Any]:
    """A bucket with the copies of a ledger of 30 records, ten an object."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    ledger = Ledger(tmp_path / "cell" / "ledger", clock, lambda: "chain-1")
    left = iter([9, 10, 10])

    def pause() -> bool:
        more = next(left, 0)
        for _ in range(more):
            ledger.record("note")
        return bool(more)

    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=NAME)
        ledger.open()
        Shipper(tmp_path / "cell" / "ledger", Bucket(NAME), clock, pause).run()
        yield client


def test_the_copies_verify(byoc: Any, s3: Any) -> None:
    ended = byoc("ledger", "verify", "--bucket", NAME, "-o", "json")
    assert ended.code == 0
    assert (ended.json["records"], ended.json["chain"]) == (30, "chain-1")


def test_a_copy_that_lacks_an_object_is_found(byoc: Any, s3: Any) -> None:
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=NAME)["Contents"]]
    s3.delete_object(Bucket=NAME, Key=keys[1])
    ended = byoc("ledger", "verify", "--bucket", NAME, "-o", "json")
    assert (ended.code, ended.json["problem"]) == (1, "gap")
    assert NAME in ended.error["message"]


def test_a_copy_that_was_changed_is_found(byoc: Any, s3: Any) -> None:
    key = s3.list_objects_v2(Bucket=NAME)["Contents"][1]["Key"]
    body = s3.get_object(Bucket=NAME, Key=key)["Body"].read()
    s3.put_object(Bucket=NAME, Key=key, Body=body.replace(b"note", b"nose", 1))
    ended = byoc("ledger", "verify", "--bucket", NAME, "-o", "json")
    assert (ended.code, ended.json["problem"]) == (1, "edited")


def test_an_object_with_a_hostile_name_is_put_nowhere(byoc: Any, s3: Any, tmp_path: Path) -> None:
    for name in ("../../evil/1.jsonl", "/evil", ".hidden/1.jsonl"):
        s3.put_object(Bucket=NAME, Key=PREFIX + name, Body=b"evil\n")
    assert byoc("ledger", "verify", "--bucket", NAME).code == 0
    assert not list(tmp_path.rglob("evil"))


def test_an_empty_bucket_and_none_are_4(byoc: Any, s3: Any) -> None:
    s3.create_bucket(Bucket="empty")
    assert byoc("ledger", "verify", "--bucket", "empty").code == 4
    assert byoc("ledger", "verify", "--bucket", "no-such-bucket").code == 4
