"""Which one sentence is told of a run that ended badly."""

import pytest
from pulumi.automation import CommandResult
from pulumi.automation.errors import CommandError, create_command_error

from byoc.bootstrap.engine.events import Said, Subject, Tracker, Violated
from byoc.bootstrap.engine.failures import Circumstances, translate
from byoc.errors import ByocError, Cancelled, Failed, NotFound, PreconditionFailed, StillPending, UsageError

CLUSTER = Subject("urn", "aws:eks/cluster:Cluster", "cell")
STACK = Subject("urn", "pulumi:pulumi:Stack", "byoc-prod")


def seen(
    *,
    changing: bool = True,
    asks: int = 0,
    stopped: bool = False,
    abandoned: bool = False,
    raised: ByocError | None = None,
) -> Circumstances:
    return Circumstances("prod", changing, asks, stopped, abandoned, raised, "see the log")


def ended(code: int = 255, out: str = "", err: str = "") -> CommandError:
    return create_command_error(CommandResult(out, err, code))


def told(error: Exception, tracker: Tracker | None = None, **facts: object) -> ByocError:
    return translate(error, tracker or Tracker(lambda: 0.0), seen(**facts))  # type: ignore[arg-type]


def test_a_persons_wish_explains_everything_else() -> None:
    tracker = Tracker(lambda: 0.0)
    tracker.errors.append(Said("error", "update canceled", STACK))
    first = told(ended(1), tracker, asks=1, stopped=True)
    assert isinstance(first, Cancelled)
    assert first.message == "prod: stopped; what was begun is finished and recorded"
    second = told(ended(8), tracker, asks=2, stopped=True, abandoned=True)
    assert isinstance(second, Cancelled)
    assert "byoc cell repair prod" in second.hint


def test_a_preview_that_is_stopped_leaves_nothing_to_repair() -> None:
    for abandoned in (False, True):
        stopped = told(ended(8), changing=False, asks=2, stopped=True, abandoned=abandoned)
        assert stopped.message == "prod: stopped; nothing was changed"
        assert "repair" not in stopped.hint


def test_a_deadline_is_no_persons_wish() -> None:
    assert isinstance(told(ended(1), stopped=True), StillPending)
    assert "took too long" in told(ended(8), stopped=True, abandoned=True).message


def test_an_error_of_the_program_stays_what_it_is() -> None:
    own = UsageError("two zones", hint="give three")
    assert told(ended(1, out="python inline source runtime error: two zones"), raised=own) is own


def test_a_lock_taken_in_the_last_moment_and_a_missing_stack_are_named() -> None:
    locked = told(ended(err="error: the stack is currently locked by 1 lock(s)"))
    assert isinstance(locked, PreconditionFailed)
    assert isinstance(told(ended(err="error: no stack named 'prod' found")), NotFound)


def test_the_resource_that_broke_comes_before_the_stacks_summary() -> None:
    tracker = Tracker(lambda: 0.0)
    tracker.errors += [Said("error", "update failed", STACK), Said("error", "no quota", CLUSTER)]
    failure = told(ended(1), tracker)
    assert failure.message == "cell (aws:eks/cluster:Cluster): no quota"
    assert failure.hint.endswith("see the log")


def test_a_mandatory_policy_is_a_refusal_and_an_advisory_one_is_not() -> None:
    tracker = Tracker(lambda: 0.0)
    tracker.violations += [
        Violated("tags", False, "no owner", None),
        Violated("private", True, "is public", CLUSTER),
    ]
    refusal = told(ended(1), tracker)
    assert isinstance(refusal, PreconditionFailed)
    assert refusal.message == "policy private of cell: is public"
    tracker.violations.pop()
    assert not isinstance(told(ended(1), tracker), PreconditionFailed)


def test_a_killed_engine_asks_for_a_repair() -> None:
    killed = told(ended(-9))
    assert isinstance(killed, Failed)
    assert "byoc cell repair prod" in killed.hint


@pytest.mark.parametrize(
    ("err", "sentence"),
    [
        (
            "warning: old\nerror: could not open bucket: Bearer abc.def\n  more",
            "could not open bucket: [redacted]",
        ),
        ("error: get: decrypt failed", "get: decrypt failed"),
        ("", "ended without a reason"),
    ],
)
def test_otherwise_the_engines_own_error_line_is_told_redacted(err: str, sentence: str) -> None:
    assert told(ended(err=err)).message == f"prod: {sentence}"


def test_every_message_is_one_line() -> None:
    tracker = Tracker(lambda: 0.0)
    for error in (ended(err="error: a\nb\nc"), RuntimeError("summary event never found"), ended(-9)):
        assert "\n" not in told(error, tracker).message
