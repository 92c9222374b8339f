"""Which volumes are taken for a workspace, and for which claims."""

from typing import Any

import pytest

from byoc.dataplane.kubernetes.adoption import adoptable, claimed, contested, exists, left
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.views import Claim, Volume
from byoc.ids import WorkspaceID

ORDERS = WorkspaceID("22222222-2222-4222-8222-222222222222")


MASTER = "pv-storage-node-cluster-master-0"


def volume(phase: str = "Released", policy: str = "Retain", claim: str = "data", **metadata: Any) -> Volume:
    return Volume.read(
        {
            "metadata": {"name": f"pv-{claim}", "resourceVersion": "7", **metadata},
            "spec": {
                "persistentVolumeReclaimPolicy": policy,
                "claimRef": {"namespace": f"byoc-ws-{ORDERS}", "name": claim, "uid": "gone"},
                "capacity": {"storage": "12Gi"},
            },
            "status": {"phase": phase},
        }
    )


def view(*volumes: Volume, claim: Claim | None = None) -> View:
    return View(
        ORDERS,
        volumes={each.name: each for each in volumes},
        claims={claim.name: claim} if claim else {},
    )


@pytest.mark.parametrize("phase", ["Released", "Available"])
def test_a_kept_volume_without_its_claim_is_what_a_workspace_starts_from(phase: str) -> None:
    seen = view(volume(phase))
    assert adoptable(seen)
    assert exists(seen)


@pytest.mark.parametrize(
    "found",
    [
        volume(policy="Delete"),
        volume("Bound"),
        volume("Failed"),
        volume(claim="somebody-elses"),
        volume(deletionTimestamp="2030-01-01T00:00:00Z"),
    ],
    ids=["goes with its claim", "bound", "failed", "of another claim", "on its way out"],
)
def test_no_other_volume_is(found: Volume) -> None:
    assert not exists(view(found))


def test_a_claim_that_is_there_or_still_goes_keeps_its_volume() -> None:
    going = Claim("data", 1, deleting=True, bound=True, volume="pv-data", disk_gib=1, password_version=0)
    seen = view(volume(), claim=going)
    assert left(seen) == {}
    assert not adoptable(seen)


@pytest.mark.parametrize("other", ["Released", "Available"])
def test_of_two_volumes_for_one_claim_none_is_taken_and_none_is_made_beside_them(other: str) -> None:
    seen = view(volume(), volume(other, name="by-hand"))
    assert contested(seen) == {"data": ["by-hand", "pv-data"]}
    assert left(seen) == {}
    assert not adoptable(seen)
    assert exists(seen)


def test_an_engine_of_several_volumes_is_not_brought_back_with_one_of_them_in_doubt() -> None:
    leaf = "pv-storage-node-cluster-leaf-ag1-0"
    seen = view(volume(claim=MASTER), volume(claim=leaf), volume(claim=leaf, name="by-hand"))
    assert contested(seen) == {leaf: ["by-hand", f"pv-{leaf}"]}
    assert not adoptable(seen)
    assert exists(seen)


@pytest.mark.parametrize("gone", [{"policy": "Delete"}, {"phase": "Bound"}, {"phase": "Failed"}])
def test_a_volume_that_is_not_free_contests_nothing(gone: dict[str, Any]) -> None:
    seen = view(volume(), volume(name="another", **gone))
    assert contested(seen) == {}
    assert adoptable(seen)


def test_a_volume_is_claimed_by_its_name_at_the_size_that_it_has_and_nothing_is_made_beside_it() -> None:
    claims = [
        {"metadata": {"name": name}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
        for name in ("data", "another")
    ]
    ((taken, claim),) = claimed(left(view(volume())), claims)
    assert taken.name == "pv-data"
    assert claim["metadata"]["name"] == "data"
    assert claim["spec"] == {"resources": {"requests": {"storage": "12Gi"}}, "volumeName": "pv-data"}
    assert claims[0]["spec"] == {"resources": {"requests": {"storage": "1Gi"}}}
