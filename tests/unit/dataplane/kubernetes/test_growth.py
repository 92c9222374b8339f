"""When a volume is grown, to what, and what is said where it is not."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube import KubeConfig

from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.growth import Growth, Volumes, most_gib, room
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.kubernetes.views import Claim, Space
from byoc.dataplane.runtime import Failures, Limits, Room
from byoc.model.report import Reason
from byoc.testing.clock import ManualClock
from tests.unit.dataplane.kubernetes.goldens import OPERATED, OPERATED_SETTINGS, WORKSPACE
from tests.unit.dataplane.kubernetes.test_client import CONFIG

GIB = 2**30
HELD = Claim(
    "data", 1, deleting=False, bound=True, volume="v", disk_gib=10, password_version=1, capacity_gib=10
)
FULL = Failures(1, 1, 0, Reason.DISK_FULL, datetime(2026, 1, 1, tzinfo=UTC))


def used(gib: float, **more: object) -> Growth:
    return Growth(used=gib * GIB, **more)


@pytest.mark.parametrize(
    ("claim", "growth", "ready", "said"),
    [
        (HELD, Growth(), True, None),
        (HELD, used(7.9), True, None),
        (HELD, used(8), True, Room(Reason.EXPANDING_VOLUME, 15, 10)),
        (HELD, used(8), False, None),
        (None, used(8), True, None),
        (replace(HELD, deleting=True), used(8), True, None),
        (replace(HELD, bound=False), used(8), True, None),
        (replace(HELD, disk_gib=15), used(8), True, Room(Reason.EXPANDING_VOLUME, 0, 15)),
        (replace(HELD, disk_gib=15, infeasible=True), used(8), True, Room(Reason.VOLUME_CANNOT_GROW, 0, 15)),
        (HELD, used(8, fixed=True), True, Room(Reason.VOLUME_CANNOT_GROW, 0, 10)),
        (HELD, used(1, fixed=True), True, None),
        (replace(HELD, disk_gib=35, capacity_gib=35), used(34), True, Room(Reason.EXPANDING_VOLUME, 40, 35)),
        (replace(HELD, disk_gib=40, capacity_gib=40), used(39), True, Room(Reason.VOLUME_AT_LIMIT, 0, 40)),
    ],
)
def test_a_volume_is_grown_by_half_within_its_limit(
    claim: Claim | None, growth: Growth, ready: bool, said: Room | None
) -> None:
    assert room(claim, growth, Failures(), 40, ready=ready) == said


def test_a_start_that_found_the_volume_full_is_answered_by_one_growth() -> None:
    assert room(HELD, Growth(), FULL, 40, ready=False) == Room(Reason.EXPANDING_VOLUME, 15, 10)
    assert room(HELD, Growth(grown_for=FULL.at), FULL, 40, ready=False) is None
    assert room(HELD, Growth(fixed=True), FULL, 40, ready=False) == Room(Reason.VOLUME_CANNOT_GROW, 0, 10)


def test_the_volumes_of_an_operator_are_never_grown_one_by_one() -> None:
    view = View(WORKSPACE, space=Space(1, OPERATED["singlestore-S-1"], deleting=False))
    view.claims["pv-storage-node-cluster-master-0"] = replace(HELD, name="pv-storage-node-cluster-master-0")
    volumes = Volumes(Cluster(KubeConfig.from_dict(CONFIG)), OPERATED_SETTINGS, ManualClock())
    assert volumes.room(view, Growth(), FULL, ready=False) is None


def test_the_limit_follows_the_size_and_ends_where_volumes_do() -> None:
    assert most_gib(Limits("S-00"), ClusterSettings()) == 4 * 80
    assert most_gib(Limits("S-00"), ClusterSettings(volume_growth=1)) == 80
    assert most_gib(Limits("S-8"), ClusterSettings(volume_growth=100)) == 16 * 1024


@given(st.floats(0, 60), st.integers(1, 60), st.integers(1, 60))
def test_no_growth_shrinks_or_passes_the_limit(gib: float, has: int, most: int) -> None:
    found = room(replace(HELD, disk_gib=has, capacity_gib=has), used(gib), Failures(), most, ready=True)
    if found is not None and found.grow_to_gib:
        assert has < found.grow_to_gib <= most
