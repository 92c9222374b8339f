"""One suite over every place where things stand beside the engine's state."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from byoc.bootstrap.aws import Account
from byoc.bootstrap.engine.objects import FolderObjects, Objects
from byoc.bootstrap.state import BucketObjects
from byoc.errors import UsageError


@pytest.fixture(params=["folder", "bucket"])
def objects(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Objects]:
    if request.param == "folder":
        yield FolderObjects.of(f"file://{tmp_path}")
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        account = Account(boto3.Session(), "us-east-1")
        account.client("s3").create_bucket(Bucket="state")
        yield BucketObjects(account, "state")


def test_what_is_written_is_read_and_replaced_as_a_whole(objects: Objects) -> None:
    objects.write(".byoc/byoc/prod/outputs.json", b"a longer first content")
    objects.write(".byoc/byoc/prod/outputs.json", b"second")
    assert objects.read(".byoc/byoc/prod/outputs.json") == b"second"


def test_a_missing_object_is_nothing_and_deleting_it_is_no_error(objects: Objects) -> None:
    assert objects.read("never") is None
    objects.delete("never")
    objects.write("once", b"")
    assert objects.read("once") == b""
    objects.delete("once")
    assert objects.read("once") is None


def test_keys_begin_with_the_prefix_whether_it_ends_at_a_folder_or_not(objects: Objects) -> None:
    for key in ("a/b/one.json", "a/b/two.json", "a/bc.json", "a/c.json", "b/one.json"):
        objects.write(key, b"x")
    assert sorted(objects.keys("a/b/")) == ["a/b/one.json", "a/b/two.json"]
    assert sorted(objects.keys("a/b")) == ["a/b/one.json", "a/b/two.json", "a/bc.json"]
    assert len(objects.keys("")) == 5
    assert list(objects.keys("nowhere/at/all/")) == []


def test_more_keys_than_one_page_are_all_there(objects: Objects) -> None:
    wanted = [f"many/{number:04d}" for number in range(1001)]
    for key in wanted:
        objects.write(key, b"")
    assert sorted(objects.keys("many/")) == wanted


@pytest.mark.parametrize("url", ["s3://bucket", "file://relative", "file:relative", "/a/path", ""])
def test_a_folder_is_an_absolute_file_url(url: str) -> None:
    with pytest.raises(UsageError):
        FolderObjects.of(url)


def test_a_folder_with_blanks_and_percents_is_the_one_meant() -> None:
    assert FolderObjects.of("file:///a%20b/c").root == Path("/a b/c")
