"""Which volumes are taken for a workspace, and for which claims."""

from typing import Any

import pytest

from byoc.dataplane.kubernetes.adoption import adoptable, claimed, exists, left
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.views import Claim, Volume
from byoc.ids import WorkspaceID

ORDERS = WorkspaceID("22222222-2222-4222-8222-222222222222")


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
