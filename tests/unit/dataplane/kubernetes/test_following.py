"""What is followed of a pod's steps before its engine: found, brought up to date, or at an end."""

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from byoc.clock import parse_stamp
from byoc.dataplane.kubernetes import engine_files, names
from byoc.dataplane.kubernetes.cache import View
from byoc.dataplane.kubernetes.following import STARTING_AT_MOST, Following, waiting_for
from byoc.dataplane.kubernetes.views import Pod, Set
from byoc.dataplane.runtime import Failures, Process
from byoc.model.report import Reason
from tests.unit.dataplane.kubernetes.goldens import WORKSPACE

Json = dict[str, Any]
CREATED = "2026-01-01T00:00:00Z"
BEGUN = parse_stamp(CREATED)
RUNNING: Json = {"running": {"startedAt": CREATED}}
WAITING: Json = {"waiting": {"reason": "PodInitializing"}}


def ended(code: int = 0, message: str = "") -> Json:
    return {"terminated": {"exitCode": code, **({"message": message} if message else {})}}


OLDER = ended(message=f"{engine_files.OLDER}\n")


def told(prepare: Json, upgrade: Json, engine: Json = WAITING, uid: str = "u", restarts: int = 0) -> Pod:
    """Return a pod whose steps are so."""
    states = {names.PREPARE: prepare, names.UPGRADE: upgrade, names.ENGINE: engine}
    first, second, third = (
        {"name": name, "restartCount": restarts if name == names.UPGRADE else 0, "state": deepcopy(state)}
        for name, state in states.items()
    )
    return Pod.read(
        {
            "metadata": {
                "name": names.POD, "uid": uid, "resourceVersion": "1", "creationTimestamp": CREATED
            },
            "spec": {"nodeName": "a1", "containers": [{"name": names.ENGINE}]},
            "status": {"initContainerStatuses": [first, second], "containerStatuses": [third]},
        }
    )  # fmt: skip


def view(pod: Pod | None) -> View:
    pods = {names.POD: pod} if pod is not None else {}
    return View(WORKSPACE, sets={names.ENGINE: Set(1, deleting=False, replicas=1, current=True)}, pods=pods)


def counted(pod: Pod) -> Failures:
    following = Following()
    following.look(view(pod), 1, BEGUN, 0.0)
    return following.failures


def test_older_data_is_named_from_when_it_was_found_until_it_is_up_to_date() -> None:
    said = [
        waiting_for(told(*steps), None, BEGUN)
        for steps in (
            (RUNNING, WAITING),
            (OLDER, WAITING),
            (OLDER, RUNNING),
            (OLDER, ended(1)),
            (OLDER, ended(), RUNNING),
            (ended(), RUNNING),
        )
    ]
    assert said == [None, *[Reason.UPGRADING_DATA] * 3, None, None]


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (told(ended(engine_files.VOLUME_EMPTY), WAITING), Reason.VOLUME_MISSING),
        (told(ended(engine_files.ENGINE_TOO_OLD), WAITING), Reason.ENGINE_TOO_OLD),
        (told(ended(engine_files.TOOL_MISSING), WAITING), Reason.UPGRADE_TOOL_MISSING),
        (told(ended(1), WAITING), Reason.ENGINE_CANNOT_START),
        (told(ended(1, "mv: No space left on device"), WAITING), Reason.DISK_FULL),
        (told(OLDER, ended(1, "no")), Reason.DATA_NOT_UPGRADED),
        (told(OLDER, ended(137)), Reason.DATA_NOT_UPGRADED),
        (told(OLDER, ended(engine_files.ENGINE_TOO_OLD)), Reason.DATA_NOT_UPGRADED),
        (told(OLDER, ended(1, "cat: write error: No space left on device")), Reason.DISK_FULL),
        (told(OLDER, ended(), ended(engine_files.ENGINE_TOO_OLD)), Reason.ENGINE_CANNOT_START),
    ],
)
def test_the_end_of_a_step_has_its_reason_and_is_one_failed_start(pod: Pod, reason: Reason) -> None:
    failures = counted(pod)
    assert (failures.starts, failures.crashes, failures.last) == (1, 0, reason)


def test_each_try_of_an_upgrade_is_a_run_of_its_own() -> None:
    assert told(OLDER, RUNNING).run != told(OLDER, RUNNING, restarts=1).run


def test_a_machine_that_is_lost_in_the_middle_of_an_upgrade_counts_for_nothing() -> None:
    following = Following()
    for pod in (
        told(OLDER, RUNNING),
        None,
        told(WAITING, WAITING, uid="next"),
        told(OLDER, RUNNING, uid="next"),
    ):
        following.look(view(pod), 1, BEGUN, 0.0)
    assert following.failures == Failures()
    assert following.process(view(pod), 0.0) is Process.STARTING


def test_an_upgrade_may_take_longer_than_a_start_and_the_start_has_its_time_afterwards() -> None:
    following = Following()
    following.begin(0.0)
    late = STARTING_AT_MOST * 5
    seen = view(told(OLDER, RUNNING))
    following.look(seen, 1, BEGUN + timedelta(seconds=late), late)
    assert following.process(seen, late) is Process.STARTING
    seen = view(told(OLDER, ended(), RUNNING))
    following.look(seen, 1, BEGUN, late + 60)
    assert following.process(seen, late + 60) is Process.STARTING
    assert following.process(seen, late + STARTING_AT_MOST + 1) is Process.UNRESPONSIVE
