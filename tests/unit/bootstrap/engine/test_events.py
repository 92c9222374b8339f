"""Progress: what is told of the engine's events, and what never is."""

from typing import Any

import pytest
from pulumi.automation.events import EngineEvent

from byoc.bootstrap.engine.events import (
    Broken,
    Ended,
    Progress,
    Said,
    Started,
    Step,
    Subject,
    Summed,
    Tracker,
    Violated,
    clean,
)

CLUSTER = "urn:pulumi:prod::byoc::byoc:cell:Cell$aws:eks/cluster:Cluster::cell"
STACK = "urn:pulumi:prod::byoc::pulumi:pulumi:Stack::byoc-prod"
SUBJECT = Subject(CLUSTER, "aws:eks/cluster:Cluster", "cell")


class Watch:
    """A tracker with a clock moved by hand."""

    def __init__(self, total: int = 0) -> None:
        self.now = 100.0
        self.told: list[Progress] = []
        self.tracker = Tracker(lambda: self.now, self.told.append, total)

    def feed(self, **event: Any) -> None:
        self.tracker.feed(EngineEvent.from_json({"sequence": 1, "timestamp": 1, **event}))

    def step(self, event: str, op: str, urn: str = CLUSTER, **more: Any) -> None:
        state = {"type": "", "urn": urn, "custom": True, "inputs": {"password": "hush-hush"}}
        metadata = {"op": op, "urn": urn, "type": Subject.of(urn).type, "provider": "", "new": state}
        self.feed(**{event: {"metadata": metadata | more.pop("metadata", {}), **more}})


def test_a_urn_is_read_into_type_and_name() -> None:
    assert Subject.of(CLUSTER) == SUBJECT
    assert Subject.of("urn:pulumi:s::p::aws:s3/bucket:Bucket::a::b").name == "a::b"
    assert Subject.of("nonsense").name == "nonsense"


def test_a_call_is_in_flight_from_its_start_to_its_end() -> None:
    watch = Watch(total=2)
    watch.step("resourcePreEvent", "create")
    assert watch.tracker.in_flight == 1
    watch.now += 4.5
    watch.step("resOutputsEvent", "create")
    assert watch.tracker.in_flight == 0
    assert watch.told == [Started(SUBJECT, "create"), Ended(SUBJECT, "create", 4.5, 1, 2)]


def test_a_failed_call_is_no_more_in_flight_and_counts_for_nothing() -> None:
    watch = Watch()
    watch.step("resourcePreEvent", "create")
    watch.now += 2
    watch.step("resOpFailedEvent", "create", status=1, steps=1)
    assert watch.told[-1] == Broken(SUBJECT, "create", 2.0)
    assert (watch.tracker.in_flight, watch.tracker.done) == (0, 0)


def test_a_component_is_told_but_nobody_is_called_for_it() -> None:
    watch = Watch()
    watch.step("resourcePreEvent", "create", metadata={"new": {"type": "", "urn": STACK, "custom": False}})
    assert watch.told == [Started(SUBJECT, "create")]
    assert watch.tracker.in_flight == 0


@pytest.mark.parametrize("op", ["same", "read", "refresh"])
def test_what_changes_nothing_is_not_told(op: str) -> None:
    watch = Watch()
    watch.step("resourcePreEvent", op)
    watch.step("resOutputsEvent", op)
    assert (watch.told, watch.tracker.done) == ([], 0)


def test_providers_are_no_objects_of_the_account() -> None:
    watch = Watch()
    provider = "urn:pulumi:prod::byoc::pulumi:providers:aws::default"
    watch.step("resourcePreEvent", "create", provider)
    watch.step("resourcePreEvent", "create", provider, planning=True)
    assert (watch.told, watch.tracker.steps) == ([], ())


def test_a_preview_gives_steps_each_once_and_tells_nothing_as_done() -> None:
    watch = Watch()
    for event in ("resourcePreEvent", "resOutputsEvent"):
        watch.step(event, "update", planning=True, metadata={"diffs": ["version"]})
    assert watch.tracker.steps == (Step(SUBJECT, "update", ("version",)),)
    assert (watch.told, watch.tracker.done) == ([], 0)


def test_a_look_at_drift_says_at_its_end_what_differs() -> None:
    watch = Watch()
    watch.step("resourcePreEvent", "refresh", planning=True)
    watch.step("resOutputsEvent", "update", planning=True, metadata={"diffs": ["tags"]})
    assert watch.tracker.steps == (Step(SUBJECT, "update", ("tags",)),)


def test_messages_lose_colours_origins_and_secrets() -> None:
    text = (
        "<{%reset%}>1 error occurred:\n\t* sdk-v2/provider2.go:572: sdk.helper_schema: "
        "creating EKS Cluster (cell): Authorization: Bearer abc.def.ghi\n<{%reset%}>"
    )
    assert clean(text) == "creating EKS Cluster (cell): Authorization: [redacted]"
    assert clean("\x1b[31m  \n\n") == ""


def test_errors_are_remembered_with_their_resource() -> None:
    watch = Watch()
    watch.feed(diagnosticEvent={"severity": "error", "message": "no quota\n", "color": "", "urn": CLUSTER})
    watch.feed(diagnosticEvent={"severity": "info#err", "message": "plugin chatter", "color": ""})
    watch.feed(diagnosticEvent={"severity": "warning", "message": "old version", "color": ""})
    assert watch.tracker.errors == [Said("error", "no quota", SUBJECT)]
    assert watch.told == [Said("error", "no quota", SUBJECT), Said("warning", "old version", None)]


def test_policies_and_the_summary_are_facts() -> None:
    watch = Watch()
    rule = {"policyName": "private", "enforcementLevel": "mandatory", "color": ""}
    rule["message"] = "endpoints are private\n<{%red%}>is public<{%reset%}>\n"
    watch.feed(policyEvent=rule | {"resourceUrn": CLUSTER})
    watch.feed(summaryEvent={"resourceChanges": {"create": 3, "same": 1}, "durationSeconds": 7})
    assert watch.tracker.violations == [
        Violated("private", True, "endpoints are private: is public", SUBJECT)
    ]
    assert watch.told[-1] == Summed({"create": 3, "same": 1}, 7.0)
    assert watch.tracker.changes == {"create": 3, "same": 1}


def test_states_never_pass() -> None:
    watch = Watch()
    for event in ("resourcePreEvent", "resOutputsEvent", "resOpFailedEvent"):
        watch.step(event, "create")
    assert "hush" not in repr(watch.told) + repr(vars(watch.tracker))
