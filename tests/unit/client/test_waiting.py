from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from byoc.client.models import Detail, Event
from byoc.client.waiting import Goal, Step, Story, ago
from byoc.errors import CellAway, Conflict, EngineFailed, RefusedByCell, StillPending

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _event(number: int, kind: str, *, generation: int = 4, state: str = "PENDING", **more: Any) -> Event:
    return Event(number, kind, generation, state, **{"text": f"text of {kind}", **more})


def _story(goal: Goal = Goal.SUSPENDED) -> Story:
    return Story(4, goal, "orders")


def test_events_before_the_change_are_not_its_story() -> None:
    story = _story()
    assert story.hear(_event(1, "suspended", generation=3, state="SUSPENDED")) is None
    assert not story.done
    assert story.last == 1


def test_each_step_is_shown_until_the_goal() -> None:
    story = _story()
    shown = [
        story.hear(_event(2, "accepted")),
        story.hear(_event(3, "delivered")),
        story.hear(_event(4, "stopping", progress=50)),
        story.hear(_event(5, "suspended", state="SUSPENDED")),
    ]
    assert shown == [
        Step("accepted", "text of accepted"),
        Step("delivered", "text of delivered"),
        Step("stopping", "text of stopping (50 %)"),
        Step("suspended", "text of suspended"),
    ]
    assert story.done


def test_running_is_shown_as_the_public_state() -> None:
    shown = _story(Goal.RUNNING).hear(_event(2, "running", state="ACTIVE"))
    assert shown == Step("active", "text of running")


def test_an_event_heard_again_after_a_cut_is_not_shown_again() -> None:
    story = _story()
    assert story.hear(_event(2, "accepted")) is not None
    assert story.hear(_event(2, "accepted")) is None


def test_a_refusal_names_the_rule() -> None:
    with pytest.raises(RefusedByCell, match="rule `no-suspends`"):
        _story().hear(_event(2, "refused", reason="no-suspends", state="ACTIVE"))


def test_an_expired_change_ends_as_a_refused_one_does() -> None:
    with pytest.raises(RefusedByCell, match="expired"):
        _story().hear(_event(2, "expired", state="ACTIVE"))


def test_a_failed_workspace_is_named_with_its_reason() -> None:
    with pytest.raises(EngineFailed, match="engine-cannot-start") as caught:
        _story(Goal.RUNNING).hear(_event(2, "failed", state="FAILED", reason="engine-cannot-start"))
    assert "workspace resume orders" in caught.value.hint


def test_a_failed_workspace_can_still_be_terminated() -> None:
    story = _story(Goal.TERMINATED)
    assert story.hear(_event(2, "failed", state="FAILED")) is not None
    story.hear(_event(3, "terminated", state="TERMINATED"))
    assert story.done


def test_a_newer_change_that_settles_elsewhere_took_the_place() -> None:
    story = _story(Goal.SUSPENDED)
    assert story.hear(_event(2, "accepted", generation=5)) is not None
    with pytest.raises(Conflict, match="generation 5"):
        story.hear(_event(3, "running", generation=5, state="ACTIVE"))


def test_a_newer_change_that_settles_at_the_goal_is_as_good() -> None:
    story = _story(Goal.SUSPENDED)
    story.hear(_event(3, "suspended", generation=5, state="SUSPENDED"))
    assert story.done


def test_a_terminated_workspace_ends_every_wait() -> None:
    with pytest.raises(Conflict, match="TERMINATED"):
        _story(Goal.RUNNING).hear(_event(2, "terminated", state="TERMINATED"))


def test_settled_anywhere_is_enough_for_a_resize() -> None:
    story = _story(Goal.SETTLED)
    story.hear(_event(2, "suspended", state="SUSPENDED"))
    assert story.done


def test_an_absent_cell_is_the_reason_of_the_wait_and_of_its_end() -> None:
    story = _story()
    story.look(
        Detail(4, cell_name="prod", cell_connected=False, cell_last_seen_at=NOW - timedelta(minutes=14)),
        NOW,
    )
    assert story.step == Step("waiting", "cell `prod` is not connected (last seen 14 min ago)")
    end = story.out_of_time(60)
    assert isinstance(end, CellAway)
    assert end.exit_code == 8
    assert "byoc doctor --cell prod" in end.hint


def test_a_cell_never_seen_is_called_that() -> None:
    story = _story()
    story.look(Detail(4, cell_name="prod", cell_connected=False), NOW)
    assert "last seen never" in story.step.text


def test_a_cell_that_came_back_is_no_longer_the_reason() -> None:
    story = _story()
    story.look(Detail(4, cell_name="prod", cell_connected=False), NOW)
    story.hear(_event(2, "delivered"))
    end = story.out_of_time(90)
    assert type(end) is StillPending
    assert "text of delivered" in end.message
    assert "90 s" in end.message


def test_a_wait_for_approval_that_ends_says_how_it_is_given() -> None:
    story = _story()
    story.hear(_event(2, "waiting", reason="waiting-for-approval"))
    assert "`byoc policy approve ID`" in story.out_of_time(90).hint
    story.hear(_event(3, "delivered"))
    assert "policy" not in story.out_of_time(90).hint


def test_a_look_can_find_the_change_done() -> None:
    story = _story()
    story.look(Detail(4, state="SUSPENDED"), NOW)
    assert story.done


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago"), (1e6, "11 d ago")],
)
def test_times_are_said_in_their_largest_unit(seconds: float, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_a_clock_that_is_ahead_is_not_said() -> None:
    assert ago(NOW + timedelta(hours=1), NOW) == "0 s ago"
