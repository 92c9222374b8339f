"""What a signed delivery may change: pure, so every case is a line or two."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from byoc.dataplane.delivery import Decision, Refused, Situation, check
from byoc.dataplane.policy import default_policy
from byoc.ids import GroupID, WorkspaceID
from byoc.model.spec import Desired, GroupSpec, Spec, WorkspaceSpec
from byoc.model.verbs import Verb
from byoc.wire.cell import spec_digest
from byoc.wire.tokens import Change, RequestClaims

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ID = WorkspaceID("0b9e4c1e-6a3f-4c55-9a9e-0f1f6f6f2d11")
HELD = WorkspaceSpec(ID, GroupID("g"), 3, "orders", "S-00")


def change(generation: int, verb: Verb, at: datetime = NOW) -> Change:
    return Change(generation, verb, "ann", at)


def deliver(
    new: Spec,
    *changes: Change,
    base: int = 3,
    held: Spec | None = HELD,
    effective: Spec | None = None,
    terminated: bool = False,
) -> Decision:
    kind = "workspaces" if isinstance(new, WorkspaceSpec) else "groups"
    claims = RequestClaims(
        issuer="cp",
        cell="c",
        sub="ann",
        issued_at=NOW,
        expires_at=NOW + timedelta(seconds=60),
        jti="1",
        method="PUT",
        target=f"/cell/v1/{kind}/{new.id}",
        body_hash="",
        base=base,
        changes=changes,
    )
    return check(claims, Situation(held, effective or held, terminated), new, default_policy(), NOW)


def deliver_refused(*arguments: Any, **named: Any) -> Refused:
    with pytest.raises(Refused) as error:
        deliver(*arguments, **named)
    return error.value


def changed(generation: int, **fields: Any) -> WorkspaceSpec:
    return replace(HELD, generation=generation, **fields)


def test_a_lawful_change_is_applied() -> None:
    resize = change(4, Verb.WORKSPACE_RESIZE)

    assert deliver(changed(4, size="S-0"), resize) is Decision.APPLY


def test_a_new_workspace_is_created_from_base_zero() -> None:
    create = change(1, Verb.WORKSPACE_CREATE)

    assert deliver(changed(1), create, base=0, held=None) is Decision.APPLY


def test_a_suspend_cannot_smuggle_a_resize() -> None:
    new = changed(4, size="S-4", desired=Desired.SUSPENDED, desired_generation=4)

    refused = deliver_refused(new, change(4, Verb.WORKSPACE_SUSPEND))

    assert (refused.rule, refused.generation, refused.digest) == ("verb-not-signed", 4, spec_digest(HELD))
    assert "workspace.resize" in refused.reason


def test_changes_made_while_offline_arrive_as_one_delivery() -> None:
    new = changed(8, size="S-1", name="bills", desired=Desired.RUNNING, desired_generation=7)
    verbs = (
        Verb.WORKSPACE_SUSPEND,
        Verb.WORKSPACE_RESIZE,
        Verb.WORKSPACE_UPDATE,
        Verb.WORKSPACE_RESUME,
        Verb.REVERT,
    )

    changes = [change(4 + place, verb) for place, verb in enumerate(verbs)]

    assert deliver(new, *changes) is Decision.APPLY


def test_several_verbs_of_one_generation_are_one_change() -> None:
    verbs = (Verb.WORKSPACE_RESIZE, Verb.WORKSPACE_UPDATE)

    changes = [change(4, verb) for verb in verbs]

    assert deliver(changed(4, size="S-1", name="bills"), *changes) is Decision.APPLY


@pytest.mark.parametrize("generations", [(5,), (4,), (4, 6), (3, 4, 5), (4, 5, 6), (4, 10**12), ()])
def test_a_hole_or_a_stranger_among_the_generations_is_refused(generations: tuple[int, ...]) -> None:
    changes = [change(generation, Verb.WORKSPACE_RESIZE) for generation in generations]

    assert deliver_refused(changed(5, size="S-0"), *changes).rule == "generation-missing"


def test_a_generation_from_afar_costs_nothing() -> None:
    resize = change(10**15, Verb.WORKSPACE_RESIZE)

    assert deliver_refused(changed(10**15, size="S-0"), resize).rule == "generation-missing"


@pytest.mark.parametrize(("base", "generation"), [(2, 4), (4, 5), (0, 1), (1, 2), (3, 2)])
def test_a_base_that_is_not_what_the_cell_holds_asks_for_a_new_signature(base: int, generation: int) -> None:
    resize = change(generation, Verb.WORKSPACE_RESIZE)

    refused = deliver_refused(changed(generation, size="S-0"), resize, base=base)

    assert (refused.rule, refused.status, refused.generation) == ("base-moved", 409, 3)
    assert refused.digest == spec_digest(HELD)


def test_a_cell_that_holds_nothing_says_so() -> None:
    refused = deliver_refused(changed(4), change(4, Verb.WORKSPACE_RESIZE), held=None)

    assert (refused.rule, refused.generation, refused.digest) == ("base-moved", 0, "")


def test_the_same_generation_and_content_is_acknowledged_again() -> None:
    resize = change(3, Verb.WORKSPACE_RESIZE)

    assert deliver(HELD, resize, base=2) is Decision.NOOP


def test_a_group_does_not_become_a_workspace() -> None:
    group = GroupSpec(GroupID(ID), 4, "sales")

    assert deliver_refused(group, change(4, Verb.GROUP_CREATE)).rule == "wrong-object"


@pytest.mark.parametrize("buried", [True, False])
def test_nothing_brings_back_what_was_terminated(buried: bool) -> None:
    gone = replace(HELD, desired=Desired.TERMINATED)
    new = changed(4, desired=Desired.RUNNING, desired_generation=4)
    changes = [change(4, verb) for verb in (Verb.WORKSPACE_RESUME, Verb.WORKSPACE_CREATE)]

    refused = deliver_refused(new, *changes, held=gone, terminated=buried)

    assert (refused.rule, refused.status, refused.generation) == ("terminated", 409, 3)


def test_a_termination_may_be_delivered_again() -> None:
    gone = replace(HELD, desired=Desired.TERMINATED)
    end = change(4, Verb.WORKSPACE_TERMINATE)

    assert deliver(gone, end, base=2, held=gone, terminated=True) is Decision.NOOP
    later = replace(gone, generation=4)
    assert deliver(later, end, held=gone, terminated=True) is Decision.APPLY


def test_a_resize_does_not_need_to_be_signed_as_a_resume_where_the_cell_stays_suspended() -> None:
    # The cell's own decision stands, so both sides are compared without it.
    resize = change(4, Verb.WORKSPACE_RESIZE)

    assert deliver(changed(4, size="S-0"), resize, effective=HELD) is Decision.APPLY


def test_a_resume_after_an_auto_suspend_must_be_signed() -> None:
    asleep = replace(HELD, desired=Desired.SUSPENDED)
    new = changed(4, desired_generation=4)

    resume = change(4, Verb.WORKSPACE_RESUME)
    assert deliver(new, resume, effective=asleep) is Decision.APPLY
    refused = deliver_refused(new, change(4, Verb.WORKSPACE_UPDATE), effective=asleep)
    assert refused.rule == "verb-not-signed"


def test_the_newest_asking_of_a_verb_counts() -> None:
    long_ago = NOW - timedelta(days=8)
    old, new = (
        change(4, Verb.WORKSPACE_RESIZE, long_ago),
        change(5, Verb.WORKSPACE_RESIZE),
    )

    assert deliver(changed(5, size="S-0"), new, old) is Decision.APPLY
    assert deliver_refused(changed(4, size="S-0"), old).rule == "too-old"


def test_a_termination_asked_for_a_day_ago_is_too_old() -> None:
    at = NOW - timedelta(hours=24, seconds=1)
    end = change(4, Verb.WORKSPACE_TERMINATE, at)

    refused = deliver_refused(changed(4, desired=Desired.TERMINATED, desired_generation=4), end)

    assert (refused.rule, refused.refusal().generation) == ("too-old", 4)
