"""What a pod lacks that does not run yet, and from when on that is said."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from byoc.dataplane.kubernetes.following import waiting_for
from byoc.dataplane.kubernetes.views import Claim, Pod
from byoc.model.report import Reason

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
BOUND = Claim(
    "data", 1, deleting=False, bound=True, volume="v", disk_gib=10, password_version=1, capacity_gib=10
)
UNBOUND = Claim("data", 1, deleting=False, bound=False, volume="", disk_gib=10, password_version=0)


def pod(*conditions: tuple[str, str], container: dict[str, Any] | None = None) -> Pod:
    told = [{"type": name, "status": status, "reason": "Unschedulable"} for name, status in conditions]
    metadata = {"name": "engine-0", "uid": "u", "resourceVersion": "1"}
    return Pod.read(
        {
            "metadata": {**metadata, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"image": "i"}]},
            "status": {"conditions": told, "containerStatuses": [{"state": container or {}}]},
        }
    )


UNHOUSED = pod(("PodScheduled", "True"), ("PodReadyToStartContainers", "False"))
HOUSED = pod(("PodScheduled", "True"), ("PodReadyToStartContainers", "True"))
UNPULLED = pod(("PodScheduled", "True"), container={"waiting": {"reason": "ImagePullBackOff"}})
RUNNING = pod(
    ("PodReadyToStartContainers", "False"), container={"running": {"startedAt": "2026-01-01T00:00:01Z"}}
)


@pytest.mark.parametrize(
    ("found", "claim", "seconds", "said"),
    [
        (None, UNBOUND, 3600, None),
        (pod(("PodScheduled", "False")), UNBOUND, 4, None),
        (pod(("PodScheduled", "False")), UNBOUND, 5, Reason.WAITING_FOR_MACHINE),
        (UNPULLED, BOUND, 5, Reason.IMAGE_UNAVAILABLE),
        (HOUSED, UNBOUND, 5, Reason.WAITING_FOR_VOLUME),
        (UNHOUSED, BOUND, 29, None),
        (UNHOUSED, BOUND, 30, Reason.WAITING_FOR_VOLUME),
        (HOUSED, BOUND, 3600, None),
        (pod(), BOUND, 3600, None),
        (RUNNING, BOUND, 3600, None),
    ],
)
def test_what_is_lacking_is_said_once_it_takes_a_while(
    found: Pod | None, claim: Claim, seconds: int, said: Reason | None
) -> None:
    assert waiting_for(found, claim, CREATED + timedelta(seconds=seconds)) is said
