"""What `byoc cell destroy --context --keep-data` keeps and refuses: against an emulated API server."""

from typing import Any

import pytest

from byoc.bootstrap.keeping import refuse_forgetting
from byoc.cell.incluster import DATABASES_RECORD, NAMESPACE, STORAGE_CLASS, WORKSPACE_LABEL
from byoc.dataplane.kubernetes.inventory import Database, Inventory, Stage
from byoc.errors import IllegalState
from byoc.model.report import Reason
from tests.bootstrap.test_removal import (
    CLASSES,
    SPACES,
    VOLUMES,
    Make,
    cluster,
    make,
    names,
    policy,
    take_out,
    volume,
)
from tests.emulated.kubernetes import Cluster

__all__ = ["cluster", "make"]

ONE = "byoc-ws-one"
ATTACHED, DETACHED = Database("shop", "8c"), Database("orders", "5f", detached=True)
AWAY = Inventory(Stage.DETACHED, "bucket/one", "eu-west-1", (DETACHED,))


def space(inventory: Inventory | str | None) -> dict[str, Any]:
    text = inventory.to_text() if isinstance(inventory, Inventory) else inventory
    annotations = {} if text is None else {DATABASES_RECORD: text}
    return {"metadata": {"name": ONE, "annotations": annotations, "labels": {WORKSPACE_LABEL: "one"}}}


def workspace(cluster: Cluster, make: Make, inventory: Inventory | None = None) -> None:
    make(SPACES, ONE, labels={WORKSPACE_LABEL: "one"})
    metadata = space(inventory)["metadata"]
    change = {"metadata": {"annotations": metadata["annotations"]}}
    target = f"{SPACES}/{ONE}?fieldManager=byoc-agent"
    status, said = cluster.answer("PATCH", target, "token", change, "application/merge-patch+json")
    assert status == 200, said


def content(cluster: Cluster) -> dict[str, Any]:
    return {path: held.content() for path, held in cluster.objects.items()}


@pytest.mark.parametrize(
    "inventory",
    [
        AWAY,
        Inventory(Stage.DETACHED, "bucket/one", "eu-west-1"),
        Inventory(Stage.RETURNING, "bucket/one", "eu-west-1", (DETACHED,)),
        Inventory(Stage.BACK, "bucket/one", "eu-west-1", (ATTACHED, DETACHED)),
        Inventory(Stage.DETACHING, "bucket/one", "eu-west-1", (ATTACHED,)),
        Inventory(
            Stage.DETACHING, "bucket/one", "eu-west-1", (ATTACHED, DETACHED), kept=Reason.DETACH_REFUSED
        ),
        "{",
        "[]",
    ],
    ids=["away", "empty", "returning", "not all back", "under way", "half refused", "cut off", "no record"],
)
def test_databases_that_only_a_record_remembers_refuse(inventory: Inventory | str) -> None:
    with pytest.raises(IllegalState, match=ONE) as caught:
        refuse_forgetting([space(None), space(inventory)])
    assert "resume" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "inventory",
    [
        None,
        Inventory(Stage.BACK, "bucket/one", "eu-west-1", (ATTACHED,)),
        Inventory(Stage.DETACHING, "bucket/one", "eu-west-1", (ATTACHED,), kept=Reason.DATABASE_ON_VOLUMES),
    ],
    ids=["never detached", "all back", "kept on volumes"],
)
def test_databases_that_volumes_hold_do_not(inventory: Inventory | None) -> None:
    refused = None
    try:
        refuse_forgetting([space(inventory)])
    except IllegalState as error:
        refused = error
    assert refused is None


def test_a_removal_that_would_forget_databases_touches_nothing_though_forced(
    cluster: Cluster, make: Make
) -> None:
    workspace(cluster, make, AWAY)
    before = content(cluster)
    with pytest.raises(IllegalState, match=ONE):
        take_out(cluster, keep_data=True)
    assert content(cluster) == before


def test_what_was_kept_is_named_again_and_goes_with_a_removal_that_keeps_nothing(
    cluster: Cluster, make: Make
) -> None:
    workspace(cluster, make)
    volume(make, "ours", ONE)

    for _ in range(2):
        removed = take_out(cluster, keep_data=True)
        assert removed.left == []
        assert removed.kept == ["PersistentVolume ours", f"Namespace {NAMESPACE}"]
        assert policy(cluster, "ours") == "Retain"

    for _ in range(2):
        # No driver works in the emulation, so what was let go is still there and is named.
        assert take_out(cluster).left == ["PersistentVolume ours"]
        assert policy(cluster, "ours") == "Delete"
    assert STORAGE_CLASS not in names(cluster, CLASSES)


def test_volumes_that_an_earlier_removal_let_go_are_kept_before_their_claims_go(
    cluster: Cluster, make: Make
) -> None:
    workspace(cluster, make)
    volume(make, "ours", ONE)
    let_go(cluster, "ours", "Bound")

    assert "PersistentVolume ours" in take_out(cluster, keep_data=True).kept

    assert policy(cluster, "ours") == "Retain"
    kept, ended = (cluster.asked.index(each) for each in (f"PATCH {VOLUMES}/ours", f"DELETE {SPACES}/{ONE}"))
    assert kept < ended


def test_a_volume_on_its_way_out_is_named_and_no_workspace_ends(cluster: Cluster, make: Make) -> None:
    workspace(cluster, make)
    volume(make, "ours", ONE)
    let_go(cluster, "ours", "Released")

    with pytest.raises(IllegalState, match="ours"):
        take_out(cluster, keep_data=True)

    assert ONE in names(cluster, SPACES)
    assert policy(cluster, "ours") == "Retain"
    assert "PersistentVolume ours" in take_out(cluster, keep_data=True).kept


def let_go(cluster: Cluster, name: str, phase: str) -> None:
    change = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}, "status": {"phase": phase}}
    target = f"{VOLUMES}/{name}?fieldManager=test"
    status, said = cluster.answer("PATCH", target, "token", change, "application/merge-patch+json")
    assert status == 200, said
