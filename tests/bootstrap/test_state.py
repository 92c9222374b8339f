import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from byoc.bootstrap import record, state
from byoc.bootstrap.aws import Account
from byoc.bootstrap.record import Record, Stage
from byoc.errors import Failed, Forbidden, PreconditionFailed
from tests.emulated.bucket_policies import honour_conditions


def bucket_of(account: Account) -> str:
    return state.bucket_name(account.identity.account, account.region)


def keys(account: Account) -> list[str]:
    kms = account.client("kms")
    return [
        key["KeyId"]
        for key in kms.list_keys()["Keys"]
        if kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["Description"].startswith("byoc")
    ]


def test_the_state_bucket_is_closed_encrypted_and_versioned(account: Account) -> None:
    state.make(account)
    s3, name = account.client("s3"), bucket_of(account)
    assert all(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    (key,) = keys(account)
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"].endswith(key)
    assert account.client("kms").get_key_rotation_status(KeyId=key)["KeyRotationEnabled"]
    statements = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"]
    assert {one["Sid"]: one["Effect"] for one in statements} == {"OnlyTLS": "Deny", "OnlyThisAccount": "Deny"}


@pytest.mark.parametrize(
    "stranger", [{"aws:SecureTransport": "false"}, {"aws:PrincipalAccount": "999999999999"}], ids=str
)
def test_the_state_is_read_over_tls_and_by_this_account_only(
    account: Account, stranger: dict[str, str]
) -> None:
    state.make(account)
    objects = state.backend(account).objects
    objects.write("a", b"1")
    undo = honour_conditions(stranger)
    with pytest.raises(Forbidden):
        objects.read("a")
    undo()
    assert objects.read("a") == b"1"


def test_making_it_again_makes_nothing_twice(account: Account) -> None:
    state.make(account)
    first = keys(account)
    state.make(account)
    assert keys(account) == first
    assert [one["Name"] for one in account.client("s3").list_buckets()["Buckets"]] == [bucket_of(account)]


STEPS = (
    ("kms", "enable_key_rotation"),
    ("kms", "create_alias"),
    ("s3", "create_bucket"),
    ("s3", "put_public_access_block"),
    ("s3", "put_bucket_versioning"),
    ("s3", "put_bucket_encryption"),
    ("s3", "put_bucket_lifecycle_configuration"),
    ("s3", "put_bucket_tagging"),
    ("s3", "put_bucket_policy"),
)


class Killed(BaseException):
    """The process is gone: nothing after this runs."""


@pytest.mark.parametrize(("service", "step"), STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_at_any_step_is_finished_by_the_next(
    account: Account, monkeypatch: pytest.MonkeyPatch, service: str, step: str, when: str
) -> None:
    client = account.client(service)
    real = getattr(client, step)

    def killed(**arguments: Any) -> None:
        if when == "after":
            real(**arguments)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(client, step, killed)
        with pytest.raises(Killed):
            state.make(account)
    state.make(account)
    assert len(keys(account)) == 1
    assert account.client("kms").describe_key(KeyId=state.ALIAS)["KeyMetadata"]["KeyId"] == keys(account)[0]
    assert account.client("s3").get_bucket_policy(Bucket=bucket_of(account))


def test_a_bucket_of_somebody_else_is_refused(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "BucketAlreadyExists", "Message": "taken"}}, "CreateBucket")

    monkeypatch.setattr(account.client("s3"), "create_bucket", taken)
    with pytest.raises(PreconditionFailed, match="belongs to another account"):
        state.make(account)


def test_the_engine_is_told_bucket_region_and_key(account: Account) -> None:
    backend = state.backend(account)
    assert backend.url == f"s3://{bucket_of(account)}?region=eu-west-1"
    assert backend.secrets == "awskms://alias/byoc-state?region=eu-west-1"


RECORD = Record(cell="sales", version="0.1.0", stage=Stage.APPLYING, values={"cidr": "10.20.0.0/16"})


def test_a_record_reads_as_it_was_written_and_the_bucket_keeps_the_one_before(account: Account) -> None:
    state.make(account)
    objects = state.backend(account).objects
    assert record.read(objects, "sales") is None
    record.write(objects, RECORD)
    record.write(objects, Record(cell="sales", version="0.2.0", stage=Stage.APPLIED, values={}))
    found = record.read(objects, "sales")
    assert found is not None
    assert (found.version, found.stage) == ("0.2.0", Stage.APPLIED)
    versions = account.client("s3").list_object_versions(Bucket=bucket_of(account))["Versions"]
    assert len(versions) == 2
    assert record.cells(objects) == ["sales"]


def test_a_record_that_cannot_be_read_is_no_empty_one(account: Account) -> None:
    state.make(account)
    objects = state.backend(account).objects
    objects.write(record.key("sales"), b'{"cell": "sales"}')
    with pytest.raises(Failed, match="no record of a cell"):
        record.read(objects, "sales")


def test_before_the_bucket_is_made_there_is_nothing_in_it(account: Account) -> None:
    objects = state.backend(account).objects
    assert objects.read("anything") is None
    assert objects.keys("") == []
