"""When a machine that stays away is given up, and when it is taken back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.cell.incluster import OUT_OF_SERVICE
from byoc.dataplane.kubernetes.machines import OURS, Machine, Verdict, decide, next_look, tainted

Json = dict[str, Any]

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATIENCE = 300.0


def node(
    name: str, status: str, seconds: float, *, zone: str = "a", taints: list[Json] | None = None
) -> Json:
    changed = (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "metadata": {
            "name": name,
            "resourceVersion": "7",
            "labels": {"topology.kubernetes.io/zone": zone},
        },
        "spec": {"taints": taints or []},
        "status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": changed}]},
    }


def verdicts(*nodes: Json) -> list[Verdict]:
    return decide(map(Machine.read, nodes), NOW, PATIENCE)


def mark(value: str) -> Json:
    return {"key": OUT_OF_SERVICE, "value": value, "effect": "NoExecute"}


def test_a_machine_silent_for_long_is_given_up_where_another_takes_its_pods() -> None:
    assert verdicts(node("dead", "Unknown", 300), node("well", "True", 9999)) == [Verdict("dead", out=True)]


def test_a_machine_silent_for_a_while_is_waited_for() -> None:
    silent, well = node("dead", "Unknown", 290), node("well", "True", 9999)
    assert verdicts(silent, well) == []
    assert next_look(map(Machine.read, (silent, well)), NOW, PATIENCE) == 10


def test_a_machine_that_says_itself_that_it_is_unwell_is_not_given_up() -> None:
    assert verdicts(node("unwell", "False", 9999), node("well", "True", 9999)) == []


def test_a_zone_in_which_nothing_speaks_is_left_alone() -> None:
    lost = [node(name, "Unknown", 9999) for name in ("one", "two")]
    assert verdicts(*lost, node("well", "True", 9999, zone="b")) == []


def test_a_zone_that_has_only_begun_to_come_back_is_left_alone() -> None:
    assert verdicts(node("still silent", "Unknown", 9999), node("first", "True", 5)) == []


def test_a_machine_that_takes_no_pods_is_no_place_for_others() -> None:
    cordoned = node("cordoned", "True", 9999)
    cordoned["spec"]["unschedulable"] = True
    assert verdicts(node("dead", "Unknown", 9999), cordoned) == []


def test_a_machine_that_speaks_again_is_taken_back_if_we_gave_it_up() -> None:
    ours = node("back", "True", 1, taints=[mark(OURS)])
    theirs = node("theirs", "True", 1, taints=[mark("nodeshutdown")])
    assert verdicts(ours, theirs) == [Verdict("back", out=False)]


def test_what_is_said_is_said_once() -> None:
    assert verdicts(node("dead", "Unknown", 9999, taints=[mark(OURS)]), node("well", "True", 9999)) == []


def test_no_taint_but_ours_is_touched() -> None:
    other, theirs = {"key": "other", "effect": "NoSchedule"}, mark("nodeshutdown")
    given_up = tainted(node("n", "Unknown", 9999, taints=[other, theirs]), out=True)
    assert given_up["spec"]["taints"] == [other, theirs, mark(OURS)]
    assert given_up["metadata"] == {"resourceVersion": "7"}
    back = tainted(node("n", "True", 9, taints=[other, mark(OURS), theirs]), out=False)
    assert back["spec"]["taints"] == [other, theirs]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["True", "False", "Unknown"]),
            st.floats(0, 1000),
            st.sampled_from(["a", "b"]),
            st.sampled_from(["", OURS, "theirs"]),
        ),
        max_size=8,
    )
)
def test_saying_what_is_to_be_said_leaves_nothing_to_say(drawn: list[tuple[str, float, str, str]]) -> None:
    nodes = [
        node(str(number), status, seconds, zone=zone, taints=[mark(value)] if value else [])
        for number, (status, seconds, zone, value) in enumerate(drawn)
    ]
    for verdict in verdicts(*nodes):
        found = nodes[int(verdict.machine)]
        found["spec"] = tainted(found, out=verdict.out)["spec"]
    # A machine that is taken back takes pods again, and so may let others of its zone be given up.
    for verdict in verdicts(*nodes):
        found = nodes[int(verdict.machine)]
        found["spec"] = tainted(found, out=verdict.out)["spec"]
    assert verdicts(*nodes) == []


@pytest.mark.parametrize("since", [{}, {"lastTransitionTime": None}])
def test_a_machine_that_does_not_say_since_when_counts_for_nothing(since: Json) -> None:
    for status in ("True", "False", "Unknown"):
        condition = {"type": "Ready", "status": status, **since}
        found = Machine.read({"metadata": {"name": "one"}, "status": {"conditions": [condition]}})
        assert (found.ready_since, found.silent_since) == (None, None)
