"""The ledger's copies, in a bucket with Object Lock (moto): late, killed, doubled, verified."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from byoc.dataplane.bucket import PREFIX, Bucket
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_verify import read_records
from byoc.dataplane.shipping import SHIPPED, Shipped, Shipper, Watch, behind, lay_out
from byoc.errors import NotFound, Unreachable
from byoc.testing import ManualClock

NAME = "acme-prod-ledger"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=NAME, ObjectLockEnabledForBucket=True)
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 365}}
        client.put_object_lock_configuration(
            Bucket=NAME, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
        )
        yield client


@pytest.fixture
def ledger(tmp_path: Path, clock: ManualClock) -> Ledger:
    made = Ledger(tmp_path / "ledger", clock, lambda: "chain-1", full=1500)
    for number in range(20):
        made.record("note", number=number)
    return made


def ship(folder: Path, copies: Any, clock: ManualClock, pauses: int = 0, between: Any = None) -> None:
    left = iter(range(pauses))

    def pause() -> bool:
        if next(left, None) is None:
            return False
        if between is not None:
            between()
        return True

    Shipper(folder, copies, clock, pause).run()


def keys(s3: Any) -> list[str]:
    found = s3.list_object_versions(Bucket=NAME).get("Versions", [])
    return sorted(version["Key"].removeprefix(PREFIX) for version in found)


def copied(s3: Any) -> bytes:
    chunks = [key for key in keys(s3) if key.startswith("chain-1/0")]
    return b"".join(s3.get_object(Bucket=NAME, Key=PREFIX + key)["Body"].read() for key in chunks)


def written(folder: Path) -> bytes:
    return (
        b"".join(path.read_bytes() for path in sorted(folder.glob("ledger-*.jsonl")))
        + (folder / "ledger.jsonl").read_bytes()
    )


def test_every_record_is_copied_once_and_locked(
    tmp_path: Path, clock: ManualClock, s3: Any, ledger: Ledger
) -> None:
    ship(tmp_path / "ledger", Bucket(NAME), clock, 3, lambda: ledger.record("later"))

    assert copied(s3) == written(tmp_path / "ledger")
    assert keys(s3)[0] == "chain-1/000000000001-000000000021.jsonl"
    assert len(keys(s3)) == 4
    (first, *_) = s3.list_object_versions(Bucket=NAME)["Versions"]
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=NAME, Key=first["Key"], VersionId=first["VersionId"])


class Dies(Exception):
    """The process ends."""


class Deadly:
    """A bucket at which the shipper is killed: before an object is added, or after."""

    def __init__(self, real: Bucket, at: int, *, after: bool) -> None:
        self.real, self.left, self.after = real, at, after

    def put(self, key: str, body: bytes) -> None:
        if self.left or self.after:
            self.real.put(key, body)
        if not self.left:
            raise Dies
        self.left -= 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(4))
def test_a_shipper_killed_at_any_object_loses_and_doubles_nothing(
    tmp_path: Path, clock: ManualClock, s3: Any, ledger: Ledger, at: int, after: bool
) -> None:
    folder = tmp_path / "ledger"
    with pytest.raises(Dies):
        ship(folder, Deadly(Bucket(NAME), at, after=after), clock, 5, lambda: ledger.record("later"))
    for _ in range(3):
        ledger.record("written while nobody ships")

    ship(folder, Bucket(NAME), clock)

    assert copied(s3) == written(folder)
    found = keys(s3)
    assert len(found) == len(set(found)), "no object has two versions"


def test_a_lost_note_of_how_far_it_is_loses_and_doubles_nothing(
    tmp_path: Path, clock: ManualClock, s3: Any, ledger: Ledger
) -> None:
    folder = tmp_path / "ledger"
    ship(folder, Bucket(NAME), clock)
    (folder / SHIPPED).unlink()
    ledger.record("later")
    ship(folder, Bucket(NAME), clock)

    (place,) = lay_out(Bucket(NAME).read(), tmp_path / "back")
    assert (place / "ledger.jsonl").read_bytes() == written(folder)


def test_a_bucket_out_of_reach_is_tried_until_it_is_there(
    tmp_path: Path, clock: ManualClock, s3: Any, ledger: Ledger
) -> None:
    class Away:
        tries = 0

        def put(self, key: str, body: bytes) -> None:
            self.tries += 1
            if self.tries < 4:
                raise Unreachable("S3 does not answer")
            Bucket(NAME).put(key, body)

    ship(tmp_path / "ledger", Away(), clock, 4)

    assert copied(s3) == written(tmp_path / "ledger")


def test_a_bucket_that_does_not_exist_is_said(s3: Any) -> None:
    with pytest.raises(NotFound):
        list(Bucket("no-such-bucket").read())
    with pytest.raises(NotFound):
        Bucket("no-such-bucket").put("a", b"b")


def test_a_copy_that_is_late_is_an_alarm_on_record_and_so_is_its_end(
    tmp_path: Path, clock: ManualClock, s3: Any, ledger: Ledger
) -> None:
    folder = tmp_path / "ledger"
    watch = Watch(folder, ledger.record, clock)
    ship(folder, Bucket(NAME), clock)
    clock.advance(3600)
    watch.look()
    assert not watch.late, "nothing is late where nothing is missing"
    ledger.record("note")
    clock.advance(59)
    watch.look()
    assert not watch.late
    clock.advance(2)
    watch.look()
    watch.look()
    assert watch.late
    assert behind(folder, clock.now()).total_seconds() == 61

    ship(folder, Bucket(NAME), clock)
    watch.look()

    assert not watch.late
    said = [record for record in read_records(folder) if record["kind"] == "copies"]
    assert [(one["late"], one["behind"]) for one in said] == [(True, 61), (False, 0)]


def test_where_nothing_was_ever_shipped_the_alarm_rises_after_a_minute(
    tmp_path: Path, clock: ManualClock, ledger: Ledger
) -> None:
    watch = Watch(tmp_path / "ledger", ledger.record, clock)
    watch.look()
    assert not watch.late
    clock.advance(61)
    watch.look()
    assert watch.late


def test_a_note_that_cannot_be_read_is_an_alarm(tmp_path: Path, clock: ManualClock, ledger: Ledger) -> None:
    (tmp_path / "ledger" / SHIPPED).write_text("{}")
    watch = Watch(tmp_path / "ledger", ledger.record, clock)
    watch.look()
    assert watch.late


def test_the_copies_of_a_chain_that_was_begun_anew_begin_anew(
    tmp_path: Path, clock: ManualClock, s3: Any, ledger: Ledger
) -> None:
    folder = tmp_path / "ledger"
    ship(folder, Bucket(NAME), clock)
    ledger.close()
    for path in folder.glob("ledger*.jsonl"):
        path.unlink()
    other = Ledger(folder, clock, lambda: "chain-2")
    other.record("note")

    ship(folder, Bucket(NAME), clock)

    assert keys(s3)[-1] == "chain-2/000000000001-000000000002.jsonl"
    held = Shipped.read(folder)
    assert held is not None
    assert (held.chain, held.seq) == ("chain-2", 2)
