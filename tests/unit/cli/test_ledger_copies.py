"""``ledger verify --bucket``: the copies prove themselves (moto)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from byoc.dataplane.bucket import PREFIX, Bucket
from byoc.dataplane.files import FileStorage
from byoc.dataplane.keys import PinnedKeys
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_files import read_line
from byoc.dataplane.shipping import Shipper
from byoc.testing import ManualClock
from byoc.wire.keys import SigningKey
from byoc.wire.keysets import certify_key_set_key, issue_key_set
from byoc.wire.tokens import name_report, sign_receipt

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


class Forged:
    """A chain cut at its end, with receipts for what is left, by whoever may write to the bucket."""

    def __init__(self, s3: Any, folder: Path, clock: ManualClock) -> None:
        self.key, mine = SigningKey.generate(), SigningKey.generate()
        chain = f"{PREFIX}chain-1"
        keys = sorted(each["Key"] for each in s3.list_objects_v2(Bucket=NAME)["Contents"])
        newest = s3.get_object(Bucket=NAME, Key=keys[-1])["Body"].read().splitlines()[-1]
        self._put(s3, f"{chain}/receipts/000000000030.jws", self._receipt(self.key, newest, clock))
        s3.delete_object(Bucket=NAME, Key=keys[-1])
        kept = s3.get_object(Bucket=NAME, Key=keys[-2])["Body"].read().splitlines()[-1]
        self._put(s3, f"{chain}/receipts/000000000020.jws", self._receipt(mine, kept, clock))
        folder.mkdir()
        root, sets = SigningKey.generate(), SigningKey.generate()
        certificate = certify_key_set_key(root, sets.public, now=clock.now())
        for name, signed in (("own", self.key), ("forged", mine)):
            text = issue_key_set(sets, certificate, [signed.public], version=1, now=clock.now())
            (folder / name).mkdir()
            PinnedKeys.create(FileStorage(folder / name), root.public, text, clock)
        self.pinned = folder / "own" / "pinned.json"
        self._put(s3, f"{chain}/pinned-0.json", (folder / "forged" / "pinned.json").read_bytes())
        self.mine = mine.kid

    def _receipt(self, key: SigningKey, line: bytes, clock: ManualClock) -> bytes:
        record, digest = read_line(line)
        report = name_report("life", 1, "r.e.port")
        said = {"chain": "chain-1", "seq": record["seq"], "hash": digest, "report": report, "at": clock.now()}
        return sign_receipt(key, cell="c", **said).encode() + b"\n"

    def _put(self, s3: Any, key: str, body: bytes) -> None:
        s3.put_object(Bucket=NAME, Key=key, Body=body)


def test_keys_that_lie_in_the_bucket_prove_nothing_unless_they_are_named(
    byoc: Any, s3: Any, tmp_path: Path, clock: ManualClock
) -> None:
    forged = Forged(s3, tmp_path / "keys", clock)
    ended = byoc("ledger", "verify", "--bucket", NAME)
    assert (ended.code, forged.mine in ended.err, "no receipt counts" in ended.err) == (0, True, True)
    assert "without a receipt, a cut end cannot be ruled out" in ended.out

    named = byoc("ledger", "verify", "--bucket", NAME, "--trust", forged.mine, "-o", "json")
    assert (named.code, named.json["receipted"]) == (0, 20), "whoever names it has to know whose it is"
    assert "no receipt counts" not in named.err


def test_a_cut_copy_is_found_with_keys_that_were_kept_elsewhere(
    byoc: Any, s3: Any, tmp_path: Path, clock: ManualClock
) -> None:
    forged = Forged(s3, tmp_path / "keys", clock)
    for trust in (("--trust", str(forged.pinned)), ("--trust", forged.mine, "--trust", str(forged.pinned))):
        ended = byoc("ledger", "verify", "--bucket", NAME, *trust, "-o", "json")
        assert (ended.code, ended.json["problem"]) == (1, "cut")


def test_what_is_no_key_and_no_file_is_refused(byoc: Any, s3: Any, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    for trust in ("nobody", str(tmp_path / "other.json")):
        assert byoc("ledger", "verify", "--bucket", NAME, "--trust", trust).code == 2
    assert byoc("ledger", "verify", "--trust", "nobody", "--dir", str(tmp_path / "cell")).code == 2


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
