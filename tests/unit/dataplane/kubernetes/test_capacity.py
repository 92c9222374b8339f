"""What machines offer, zone by zone: who counts, who is ready, and how Kubernetes writes numbers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.dataplane.kubernetes.capacity import zones
from byoc.dataplane.kubernetes.views import cores, quantity
from byoc.model.report import Zone

Json = dict[str, Any]
OURS = {"byoc.dev/group": "workspace"}
GIB = 2**30


def node(name: str, zone: str, *, ready: str = "True", version: str = "v1.36.1", **more: Any) -> Json:
    labels = {"topology.kubernetes.io/zone": zone, **more.pop("labels", OURS)}
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": more,
        "status": {
            "conditions": conditions,
            "allocatable": {"cpu": "15890m", "memory": "60Gi"},
            "nodeInfo": {"kubeletVersion": version},
        },
    }


def test_machines_are_summed_zone_by_zone_and_only_ready_ones_offer_anything() -> None:
    found = [
        node("1", "b"),
        node("2", "a", version="v1.36.1-eks-abcdef"),
        node("3", "a", ready="Unknown", version="v1.9.4"),
        node("4", "a", unschedulable=True),
        node("5", "a", labels={"byoc.dev/group": "system"}),
    ]
    assert zones(found, OURS) == (
        Zone("a", 3, 1, 15890, 60 * GIB, "v1.9.4"),
        Zone("b", 1, 1, 15890, 60 * GIB, "v1.36.1"),
    )


def test_without_labels_that_are_asked_for_every_machine_counts() -> None:
    bare: Json = {"metadata": {"name": "bare"}}
    assert zones([bare], {}) == (Zone("", 1, 0, 0, 0, ""),)
    assert zones([], OURS) == ()


def test_no_machine_is_named() -> None:
    assert "ip-10-0-3-7" not in repr(zones([node("ip-10-0-3-7", "a")], OURS))


@pytest.mark.parametrize(
    ("text", "size"),
    [("1.5Gi", 3 * 2**29), ("128974848", 128974848), ("129e6", 129 * 10**6), ("123Mi", 123 * 2**20),
     ("2Ti", 2**41), ("1Pi", 2**50), ("3k", 3000), ("2G", 2 * 10**9), ("128974848000m", 128974848)],
)  # fmt: skip
def test_bytes_are_read_in_whatever_form_kubernetes_writes_them(text: str, size: int) -> None:
    assert quantity(text) == size


@given(st.integers(1, 10**6))
def test_processors_are_read_in_thousandths(millicores: int) -> None:
    assert cores(f"{millicores}m") == cores(str(millicores / 1000)) == millicores
