"""The buckets: closed, encrypted, kept; and the zone in which endpoints have their names."""

import json
from functools import cache
from typing import Any

import pytest

from byoc.cell.args import CellArgs
from byoc.cell.plan import make_plan
from byoc.cell.recorder import Recording
from tests.unit.cell.examples import ACCOUNT, EXAMPLES, REGION, cell

S3 = "aws:s3/bucket"
WHICH = ("data", "ledger")


@cache
def made(name: str = "default") -> Recording:
    return make_plan(EXAMPLES[name]).recording


def _inputs(kind: str, name: str, recording: Recording | None = None) -> Any:
    (found,) = (each for each in (recording or made()).of(kind) if each.name == name)
    return found.inputs


def _setting(kind: str, name: str) -> Any:
    return _inputs(f"{S3}{kind}:Bucket{kind}", name)


@pytest.mark.parametrize("which", WHICH)
def test_no_later_policy_can_open_a_bucket(which: str) -> None:
    block = _setting("PublicAccessBlock", f"{which}-private")
    assert all(
        block[key] is True
        for key in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    )
    rule = _setting("OwnershipControls", f"{which}-ownership")["rule"]
    assert rule == {"objectOwnership": "BucketOwnerEnforced"}


@pytest.mark.parametrize("which", WHICH)
def test_objects_are_encrypted_with_the_cells_key(which: str) -> None:
    (rule,) = _setting("ServerSideEncryptionConfiguration", f"{which}-encryption")["rules"]
    assert rule["bucketKeyEnabled"] is True
    assert rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"] == "aws:kms"
    kind = f"{S3}ServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    (given,) = _inputs(kind, f"{which}-encryption", made("given"))["rules"]
    assert given["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"] == EXAMPLES["given"].key_arn


@pytest.mark.parametrize("which", WHICH)
def test_a_bucket_refuses_plain_connections_and_other_accounts(which: str) -> None:
    said = json.loads(_setting("Policy", f"{which}-policy")["policy"])["Statement"]
    arn = f"arn:aws:s3:::byoc-main-{which}-{ACCOUNT}"
    assert all(one["Effect"] == "Deny" and one["Principal"] == "*" for one in said)
    assert all(one["Resource"] == [arn, f"{arn}/*"] and one["Action"] == "s3:*" for one in said)
    conditions = {one["Sid"]: one["Condition"] for one in said}
    assert conditions["TlsOnly"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert conditions["OwnAccountOnly"]["StringNotEquals"] == {"aws:PrincipalAccount": ACCOUNT}


@pytest.mark.parametrize("which", WHICH)
def test_what_is_replaced_or_deleted_can_be_had_back_for_a_while(which: str) -> None:
    versions = _setting("Versioning", f"{which}-versions")["versioningConfiguration"]
    assert versions == {"status": "Enabled"}
    (rule,) = _setting("LifecycleConfiguration", f"{which}-lifecycle")["rules"]
    kept = {"data": 30, "ledger": EXAMPLES["default"].ledger_days}[which]
    assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": kept}
    assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}
    assert "days" not in rule["expiration"]


def _lock(args: CellArgs) -> Any:
    recording = make_plan(args).recording
    kind = f"{S3}ObjectLockConfiguration:BucketObjectLockConfiguration"
    return _inputs(kind, "ledger-lock", recording)["rule"]["defaultRetention"]


def test_the_ledger_is_locked_for_as_long_as_wanted() -> None:
    assert _inputs(f"{S3}:Bucket", "ledger")["objectLockEnabled"] is True
    assert _inputs(f"{S3}:Bucket", "data")["objectLockEnabled"] is False
    assert _lock(cell(ledger_days=90)) == {"mode": "GOVERNANCE", "days": 90}


@pytest.mark.parametrize("which", WHICH)
def test_what_closes_a_bucket_stays_as_long_as_it_does(which: str) -> None:
    beside = [each for each in made().resources if each.name.startswith(f"{which}-")]
    assert len(beside) >= 6
    assert all(each.protect and each.within.endswith(f"::{which}") for each in beside)


def test_the_zone_answers_in_the_cells_vpc_only() -> None:
    zone = _inputs("aws:route53/zone:Zone", "zone", made("given"))
    assert zone["name"] == "main.byoc.internal"
    assert zone["vpcs"] == [{"vpcId": "vpc-1", "vpcRegion": REGION}]
