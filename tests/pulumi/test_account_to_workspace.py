"""Account -> cell -> workspace -> nothing, offline: the commands a user types, on an empty account."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from byoc.bootstrap.engine.find import Pulumi
from byoc.testing.instance import Instance, eventually
from tests.emulated.functions import running as functions
from tests.pulumi.journey import (
    CELL,
    ClusterSite,
    bootstrap_words,
    bootstrapped,
    cluster_site,
    destroyed,
    end_workspace,
    nothing_drifted,
    served,
    way_to,
    workspace_in,
)


@pytest.fixture
def site(engine: Pulumi, short_path: Path) -> Iterator[ClusterSite]:
    # By the key id of its role a function is known where it comes in.
    with (
        cluster_site(engine, short_path) as made,
        functions(lambda name: {**made.reached, "AWS_ACCESS_KEY_ID": name}),
    ):
        yield made


@contextmanager
def somebody_elses_lock(site: ClusterSite) -> Iterator[str]:
    """Let another machine be at work on the cell; yield the bucket of its data, with an object in it."""
    s3 = site.account.aws()("s3")
    names = [one["Name"] for one in s3.list_buckets()["Buckets"]]
    states, data = (next(name for name in names if kind in name) for kind in ("state", "data"))
    lock = {"pid": 7, "username": "anna", "hostname": "build-3", "timestamp": "2026-11-29T08:00:00Z"}
    where = {"Bucket": states, "Key": f".pulumi/locks/organization/byoc/{CELL}/one.json"}
    s3.put_object(**where, Body=json.dumps(lock).encode())
    s3.put_object(Bucket=data, Key="kept", Body=b"data")
    yield data
    s3.delete_object(**where)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with Instance(tmp_path / "instance") as made:
        yield made


@pytest.mark.timeout(1200)
def test_account_to_workspace_and_back_to_nothing(
    site: ClusterSite, instance: Instance, tmp_path: Path
) -> None:
    reach, look = way_to(instance), (*bootstrap_words(instance), "--dry-run", "--exit-code", "-o", "json")
    foretold = json.loads(site.byoc(*look, code=10).stdout)["changes"]
    assert site.account.aws()("s3").list_buckets()["Buckets"] == [], "a look makes nothing"
    assert [op for op, number in foretold.items() if number] == ["create"]
    answer = bootstrapped(site, instance)
    assert answer["changes"] == foretold
    again = json.loads(site.byoc(*look).stdout)["changes"]
    assert [op for op, number in again.items() if number] == ["same"]
    assert sorted(site.entrance.came.values()) == [("system:masters",)]

    workspace = workspace_in(site, instance, answer["cellID"], tmp_path)
    served(site, workspace, "CREATE DATABASE shop")
    served(site, workspace, "CREATE TABLE shop.orders AS SELECT 7 AS n")
    site.byoc("workspace", "suspend", "orders", env=reach)
    pods = f"/api/v1/namespaces/byoc-ws-{workspace['workspaceID']}/pods"
    eventually("its pod is gone", lambda: site.listed(pods) == [])
    site.byoc("workspace", "resume", "orders", env=reach)
    assert served(site, workspace, "SELECT n FROM shop.orders") == ((7,),)

    end_workspace(site, instance, workspace)
    nothing_drifted(site, instance)
    with somebody_elses_lock(site) as data:
        refused = site.byoc("cell", "destroy", CELL, "--confirm", CELL, "-o", "json", code=9, env=reach)
        assert "locked by anna@build-3" in refused.stderr
        assert site.account.aws()("s3").get_object(Bucket=data, Key="kept")["Body"].read() == b"data"
    destroyed(site, instance)
