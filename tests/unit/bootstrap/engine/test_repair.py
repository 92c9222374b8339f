"""What becomes of calls whose end nobody wrote down."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from byoc.bootstrap.engine import repair
from byoc.bootstrap.engine.events import Step, Subject
from byoc.bootstrap.engine.repair import Fate
from byoc.errors import Failed

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:abc"}


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:prod::byoc::byoc:cell:Cell${kind}::{name}"


def resource(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "urn": urn(kind, name),
        "custom": True,
        "type": kind,
        "inputs": {"name": name},
        "parent": "urn:pulumi:prod::byoc::byoc:cell:Cell::cell",
        "provider": "urn:pulumi:prod::byoc::pulumi:providers:aws::default::1",
        **more,
    }


def state(*operations: tuple[str, dict[str, Any]], resources: list[dict[str, Any]] | None = None) -> Any:
    pending = [{"type": kind, "resource": one} for kind, one in operations]
    deployment = {"manifest": {"version": "v3.259.0"}, "resources": resources or []}
    return {"version": 3, "deployment": deployment | ({"pending_operations": pending} if pending else {})}


VPC = "aws:ec2/vpc:Vpc"
CLUSTER = "aws:eks/cluster:Cluster"


def test_what_exists_is_adopted_and_what_does_not_is_dropped() -> None:
    before = state(("creating", resource(CLUSTER, "cell")), ("creating", resource(VPC, "network")))
    operations = repair.pending(before)
    assert [one.subject.name for one in repair.to_find(operations)] == ["cell", "network"]
    decisions = repair.decide(operations, {urn(CLUSTER, "cell"): "cell-id"})
    assert [(one.fate, one.id) for one in decisions] == [(Fate.ADOPT, "cell-id"), (Fate.DROP, "")]
    after = repair.healed(before, decisions, NOW)
    assert "pending_operations" not in after["deployment"]
    assert after["deployment"]["manifest"] == before["deployment"]["manifest"]
    (made,) = after["deployment"]["resources"]
    assert made == resource(CLUSTER, "cell") | {
        "id": "cell-id",
        "outputs": {"name": "cell"},
        "created": "2026-11-24T10:00:00Z",
        "modified": "2026-11-24T10:00:00Z",
    }


def test_a_pending_invocation_is_run_again_and_never_looked_for() -> None:
    before = state(("creating", resource(repair.INVOCATION, "install")))
    operations = repair.pending(before)
    assert repair.to_find(operations) == ()
    (decision,) = repair.decide(operations, {urn(repair.INVOCATION, "install"): "found-by-accident"})
    assert decision.fate is Fate.AGAIN
    assert repair.healed(before, [decision], NOW)["deployment"]["resources"] == []


@pytest.mark.parametrize("kind", ["updating", "deleting", "reading", "importing"])
def test_what_was_not_a_creation_is_left_to_the_refresh(kind: str) -> None:
    there = resource(VPC, "network", id="vpc-1")
    before = state((kind, there), resources=[there])
    operations = repair.pending(before)
    assert repair.to_find(operations) == ()
    (decision,) = repair.decide(operations, {urn(VPC, "network"): "vpc-2"})
    assert decision.fate is Fate.DROP
    assert kind in decision.reason
    assert repair.healed(before, [decision], NOW)["deployment"]["resources"] == [there]


def test_providers_and_components_are_not_looked_for_in_the_account() -> None:
    before = state(
        ("creating", resource("pulumi:providers:aws", "default")),
        ("creating", resource("byoc:cell:Cell", "cell", custom=False)),
    )
    assert repair.to_find(repair.pending(before)) == ()


def test_secret_inputs_stay_ciphertext() -> None:
    before = state(("creating", resource(CLUSTER, "cell", inputs={"token": SECRET})))
    decisions = repair.decide(repair.pending(before), {urn(CLUSTER, "cell"): "x"})
    (made,) = repair.healed(before, decisions, NOW)["deployment"]["resources"]
    assert made["inputs"] == made["outputs"] == {"token": SECRET}


def test_the_state_given_is_not_touched() -> None:
    before = state(("creating", resource(VPC, "network")), resources=[resource(VPC, "network", id="old")])
    kept = copy.deepcopy(before)
    repair.healed(before, repair.decide(repair.pending(before), {urn(VPC, "network"): "new"}), NOW)
    assert before == kept


def test_adopting_a_replacement_lets_the_old_one_be_deleted() -> None:
    before = state(("creating", resource(VPC, "network")), resources=[resource(VPC, "network", id="old")])
    after = repair.healed(before, repair.decide(repair.pending(before), {urn(VPC, "network"): "new"}), NOW)
    assert [(one["id"], one.get("delete", False)) for one in after["deployment"]["resources"]] == [
        ("old", True),
        ("new", False),
    ]
    waiting = repair.replaced(after)
    step = Step(Subject.of(urn(VPC, "network")), "delete-replaced")
    repair.check([step], waiting, "key")
    with pytest.raises(Failed):
        repair.check([step], frozenset(), "key")


def test_a_plan_that_takes_something_away_is_refused_once_per_resource() -> None:
    network = Subject.of(urn(VPC, "network"))
    steps = [
        Step(network, "create-replacement"),
        Step(network, "replace"),
        Step(network, "delete-replaced"),
        Step(Subject.of(urn(CLUSTER, "cell")), "delete"),
        Step(Subject.of(urn(CLUSTER, "new")), "create"),
    ]
    with pytest.raises(Failed) as refusal:
        repair.check(steps, frozenset(), ".byoc/backup.json")
    assert refusal.value.message == (
        "after the repair the next run would replace network (aws:ec2/vpc:Vpc), and 1 more like it"
    )
    assert ".byoc/backup.json" in refusal.value.hint


@pytest.mark.parametrize("op", ["create", "update", "same", "read", "refresh", "import"])
def test_a_plan_that_only_adds_or_changes_is_let_through(op: str) -> None:
    harmless = Step(Subject.of(urn(VPC, "network")), op)
    repair.check([harmless], frozenset(), "")
    with pytest.raises(Failed, match=r"would delete cell .* and 0 more"):
        repair.check([harmless, Step(Subject.of(urn(CLUSTER, "cell")), "delete")], frozenset(), "")


@pytest.mark.parametrize("empty", [{}, {"deployment": None}, state()])
def test_a_state_without_calls_has_nothing_pending(empty: Any) -> None:
    assert repair.pending(empty) == ()
    assert repair.replaced(empty) == frozenset()
