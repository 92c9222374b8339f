"""What a break-glass machine may do, and that it may do nothing once its time is over."""

import json
from datetime import timedelta

import pytest

from byoc.bootstrap.breakglass import documents, plan
from byoc.bootstrap.breakglass.plan import Session, State
from byoc.cell import arns
from byoc.cell.boundary import boundary
from byoc.cell.keypolicy import key_policy
from byoc.clock import parse_stamp
from byoc.errors import UsageError
from tests.unit.cell import definitions
from tests.unit.cell.evaluator import Request, judge, may
from tests.unit.cell.examples import ACCOUNT, REGION, cell

NOW = parse_stamp("2026-01-02T03:04:05Z")
UUID = "0b9e4c1e-6a3f-4c55-9a9e-0f1f6f6f2d11"
LOG = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/byoc/main/breakglass"
HERE = {"aws:RequestedRegion": REGION, "aws:ResourceAccount": ACCOUNT}


def session(hours: int = 1, reason: str = "incident 7") -> Session:
    ttl = timedelta(hours=hours)
    return plan.begin("main", unique=UUID, by="arn:aws:iam::1:user/ann", reason=reason, ttl=ttl, now=NOW)


def can(action: str, resource: str, at: str) -> bool:
    request = Request(action, resource, HERE | {"aws:CurrentTime": at})
    return may(request, [documents.rights(cell(), session()).plain()], boundary(cell()).plain())


ALLOWED = [
    (action, f"{LOG}:log-stream:x" if action.startswith("logs:") and "Describe" not in action else "*")
    for each in documents.rights(cell(), session()).statements
    if each.effect == "Allow"
    for action in each.actions
    if action != "logs:DescribeLogStreams"
]


@pytest.mark.parametrize(("action", "resource"), ALLOWED)
def test_the_role_is_worth_something_until_the_deadline_and_nothing_after(action: str, resource: str) -> None:
    assert can(action, resource, "2026-01-02T04:04:04Z")
    assert not can(action, resource, "2026-01-02T04:04:05Z")
    assert not can(action, resource, "2027-01-01T00:00:00Z")


def test_after_the_deadline_everything_is_denied_whoever_else_allows_it() -> None:
    late = Request("s3:GetObject", "arn:aws:s3:::x/y", {"aws:CurrentTime": "2026-01-02T04:04:05Z"})
    assert judge(documents.rights(cell(), session()).plain(), late) == "denied"


def test_every_action_of_the_role_exists_and_takes_its_resource() -> None:
    for each in documents.rights(cell(), session()).statements:
        for action in each.actions:
            if action == "*":
                assert each.effect == "Deny"
                continue
            assert definitions.action(action), action
            assert each.resources == ("*",) or definitions.matched(action, each.resources[0]), action
    assert len(documents.trust().text()) < 2048


def test_the_cells_key_opens_the_log_of_sessions() -> None:
    request = Request(
        "kms:GenerateDataKey",
        "*",
        {"kms:EncryptionContext:aws:logs:arn": arns.log_group_arn(cell(), "breakglass")},
        f"logs.{REGION}.amazonaws.com",
    )
    assert judge(key_policy(cell()).plain(), request) == "allowed"


def test_sessions_are_logged_as_they_happen_and_end_within_the_hour() -> None:
    said = json.loads(documents.session_document(cell()))["inputs"]
    assert said["cloudWatchLogGroupName"] == "/byoc/main/breakglass"
    assert said["cloudWatchEncryptionEnabled"]
    assert said["cloudWatchStreamingEnabled"]
    assert int(said["maxSessionDuration"]) <= 60


def test_the_machine_holds_nothing_that_somebody_typed() -> None:
    text = documents.user_data(session(reason="$(reboot)"))
    assert "reboot" not in text
    assert "OnCalendar=2026-01-02 04:04:05 UTC" in text
    assert text.startswith("#cloud-boothook\n#!/bin/bash\n")
    assert f"-ge {int(session().until.timestamp())} ]" in text


@pytest.mark.parametrize("text", ["", "x", "1", "9h", "8h1m", "481m", "5m", "0h", "-1h", "1h ", "1d"])
def test_no_session_is_longer_than_a_shift_nor_too_short_to_use(text: str) -> None:
    with pytest.raises(UsageError):
        plan.parse_ttl(text)


@pytest.mark.parametrize(("text", "minutes"), [("10m", 10), ("1h", 60), ("1h30m", 90), ("8h", 480)])
def test_a_time_is_read(text: str, minutes: int) -> None:
    assert plan.parse_ttl(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "\x1b[2J", "x" * 257])
def test_a_session_has_a_reason_that_can_be_read(text: str) -> None:
    with pytest.raises(UsageError):
        session(reason=text)


def test_the_longest_name_of_a_cell_leaves_room_for_a_session() -> None:
    assert len(plan.role_name("a" * 24, session().id)) <= 64


@pytest.mark.parametrize(
    ("minutes", "machine", "alive", "state"),
    [
        (1, "", False, State.OPENING),
        (16, "", True, State.INTERRUPTED),
        (1, "i-1", True, State.OPEN),
        (1, "i-1", False, State.ENDED),
        (60, "i-1", True, State.OVERDUE),
        (60, "i-1", False, State.EXPIRED),
    ],
)
def test_a_session_is_what_its_record_and_its_machine_say(
    minutes: int, machine: str, alive: bool, state: State
) -> None:
    made = Session(
        id="x", cell="c", reason="r", by="b", opened_at=NOW, until=NOW + timedelta(hours=1), machine=machine
    )
    assert plan.state_of(made, NOW + timedelta(minutes=minutes), alive=alive) is state
