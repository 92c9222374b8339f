"""A cell that is delivered directly is enrolled past its cluster's own API, without a function."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.bootstrap.aws import Account, Identity
from byoc.bootstrap.reached import ReachedCluster, check_direct
from byoc.cell import arns
from byoc.cell.args import Delivery
from byoc.cell.incluster import ENROLMENT, NAMESPACE, TOKEN
from byoc.cell.installer.kinds import path
from byoc.cell.manifests import bundle
from byoc.errors import Conflict, NotAuthenticated, Unreachable, UsageError
from byoc.model.check import Result
from tests.emulated import kubernetes
from tests.emulated.kubernetes import Cluster
from tests.unit.cell.examples import ACCOUNT, cell

ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/platform"
CELL = cell(delivery=Delivery.DIRECT, administrators=(ROLE,))
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/platform/anna"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"


@pytest.fixture
def cluster(account: Account, short_path: Path) -> Iterator[Cluster]:
    """The cell's cluster, which the account says where to find; its objects are the stack's."""
    with kubernetes.serving(Cluster(admits=_of_eks), short_path) as served:
        _describe(account, served)
        for manifest in bundle(CELL).objects:
            _apply(served, manifest)
        yield served


def _of_eks(token: str) -> bool:
    return token.startswith("k8s-aws-v1.")


def _describe(account: Account, cluster: Cluster) -> None:
    authority = base64.b64encode(cluster.authority.encode()).decode()

    def describe_cluster(name: str) -> dict[str, Any]:
        assert name == arns.cluster_name(CELL)
        return {"cluster": {"endpoint": cluster.url, "certificateAuthority": {"data": authority}}}

    account.client("eks").describe_cluster = describe_cluster


def _apply(cluster: Cluster, manifest: Any) -> None:
    kind = "application/apply-patch+yaml"
    status, said = cluster.answer(
        "PATCH", f"{path(manifest)}?fieldManager=pulumi", "k8s-aws-v1.x", manifest, kind
    )
    assert status == 200, said


def _show(cluster: Cluster, thumbprint: str) -> None:
    metadata = {"name": ENROLMENT, "namespace": NAMESPACE}
    shown = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"thumbprint": thumbprint},
    }
    _apply(cluster, shown)


def call(account: Account, op: str, **values: Any) -> dict[str, Any]:
    return asyncio.run(ReachedCluster(account, CELL).call(op, **values))


def test_what_the_agent_shows_is_read_and_what_is_not_ready_is_told(
    account: Account, cluster: Cluster
) -> None:
    before = call(account, "status")
    _show(cluster, "thumb")

    assert before["thumbprint"] == ""
    assert call(account, "status")["thumbprint"] == "thumb"
    assert [reason.split(" was ")[0] for reason in before["reasons"]] == [
        "StatefulSet byoc-system/byoc-agent",
        "Deployment byoc-system/byoc-autoscaler",
    ], "nothing is said of a mark that only the function leaves"


def test_a_token_is_handed_over_to_the_keys_that_were_seen_only(account: Account, cluster: Cluster) -> None:
    _show(cluster, "thumb")

    with pytest.raises(Conflict, match="other keys"):
        call(account, "enrol", thumbprint="another", token="t", rootKey={"kty": "OKP"})
    assert f"{SECRETS}/{TOKEN}" not in cluster.objects
    call(account, "enrol", thumbprint="thumb", token="t", rootKey={"kty": "OKP"})

    assert f"{SECRETS}/{TOKEN}" in cluster.objects


def test_what_belongs_to_the_stack_is_not_done_past_it(account: Account, cluster: Cluster) -> None:
    asked = len(cluster.asked)

    for op in ("install", "uninstall", "diff"):
        with pytest.raises(UsageError, match=op):
            call(account, op)
    assert len(cluster.asked) == asked


def test_a_cluster_that_cannot_be_reached_says_from_where_it_could(
    account: Account, cluster: Cluster
) -> None:
    cluster.url = "https://127.0.0.1:1"
    _describe(account, cluster)

    with pytest.raises(Unreachable) as refused:
        _at_once(account)

    assert "private endpoint" in refused.value.hint


def test_a_caller_whom_the_cluster_does_not_know_is_told_so(account: Account, cluster: Cluster) -> None:
    cluster.admits = lambda _: False

    with pytest.raises(NotAuthenticated):
        _at_once(account)


def _at_once(account: Account) -> None:
    """Ask without the patience that a cluster is given which has just been made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("byoc.bootstrap.reached._SECONDS", 0.2)
        call(account, "status")


@pytest.mark.parametrize(
    ("arn", "found", "says"),
    [
        (SESSION, "/usr/bin/aws", ""),
        (SESSION, None, "not installed"),
        (
            f"arn:aws:sts::{ACCOUNT}:assumed-role/other/anna",
            "/usr/bin/aws",
            "none of the cluster's administrators",
        ),
        (f"arn:aws:iam::{ACCOUNT}:user/platform", "/usr/bin/aws", "none of the cluster's administrators"),
    ],
)
def test_who_could_not_deliver_is_refused_before_anything_is_made(
    arn: str, found: str | None, says: str
) -> None:
    check = check_direct(Identity(ACCOUNT, arn), CELL, lambda _: found)

    assert check.result is (Result.FAIL if says else Result.PASS)
    assert says in check.detail
