"""What machines offer, zone by zone: who counts, who is ready, and what of a Node can do harm."""

from typing import Any

import pytest

from byoc.dataplane.kubernetes.capacity import Node, zones
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
    assert zones(map(Node.read, found), OURS) == (
        Zone("a", 3, 1, 15890, 60 * GIB, "v1.9.4"),
        Zone("b", 1, 1, 15890, 60 * GIB, "v1.36.1"),
    )


def test_without_labels_that_are_asked_for_every_machine_counts() -> None:
    bare: Json = {"metadata": {"name": "bare"}}
    assert zones([Node.read(bare)], {}) == (Zone("", 1, 0, 0, 0, ""),)
    assert zones([], OURS) == ()


def test_no_machine_is_named() -> None:
    assert "ip-10-0-3-7" not in repr(zones([Node.read(node("ip-10-0-3-7", "a"))], OURS))


@pytest.mark.parametrize(
    ("cpu", "memory", "offered"),
    [
        ("10k", "64Gi", (10_000_000, 64 * GIB)),
        ("1500u", "5n", (2, 1)),
        ("100n", "1e3", (1, 1000)),
        ("1.5", "1.5Gi", (1500, 3 * GIB // 2)),
        ("12E", "12E", (2**53 - 1, 2**53 - 1)),
    ],
)
def test_whatever_form_a_machine_chooses_its_zone_is_told(
    cpu: str, memory: str, offered: tuple[int, int]
) -> None:
    found = node("1", "a")
    found["status"]["allocatable"] = {"cpu": cpu, "memory": memory}
    (zone,) = zones([Node.read(found)], OURS)
    assert (zone.millicores, zone.memory_bytes) == offered


@pytest.mark.parametrize("version", ["v1.².3", "1" * 5000, "v1." + "9" * 5000, "kwok", "v1.2 secret", "²"])
def test_what_is_no_version_is_not_told_and_hides_no_other(version: str) -> None:
    found = [Node.read(node("1", "a", version=version)), Node.read(node("2", "a", version="v1.36.1"))]
    (zone,) = zones(found, OURS)
    assert (zone.machines, zone.version) == (2, "v1.36.1")


def changed(**status: Any) -> Json:
    found = node("1", "a")
    found["status"] |= status
    return found


def conditions(*found: Any) -> Json:
    return changed(conditions=list(found))


STRANGE = {
    "negative processors": changed(allocatable={"cpu": "-1", "memory": "1Gi"}),
    "negative memory": changed(allocatable={"cpu": "1", "memory": "-1"}),
    "words for processors": changed(allocatable={"cpu": "many", "memory": "1Gi"}),
    "an infinity": changed(allocatable={"cpu": "inf", "memory": "nan"}),
    "a list of what it has": changed(allocatable=["cpu"]),
    "no type of a condition": conditions({"status": "True"}),
    "a time before all times": conditions(
        {"type": "Ready", "status": "Unknown", "lastTransitionTime": "0000-01-01T00:00:00Z"}
    ),
    "no time": conditions({"type": "Ready", "status": "True", "lastTransitionTime": "yesterday"}),
    "a number for a time": conditions({"type": "Ready", "status": "True", "lastTransitionTime": 7}),
    "words for its status": {"metadata": {"name": "1"}, "status": "well"},
    "words for its conditions": changed(conditions=["Ready"]),
    "words for its taints": node("1", "a", taints=["NoSchedule"]),
    "no metadata": {"status": {}},
}


@pytest.mark.parametrize("found", [pytest.param(each, id=name) for name, each in STRANGE.items()])
def test_a_machine_that_is_not_understood_is_one_kind_of_error(found: Json) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the words
        Node.read(found)
