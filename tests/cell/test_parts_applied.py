"""The parts once AWS has answered: what only AWS decides arrives where it is needed."""

import json

import pytest

from byoc.cell import arns, policies
from tests.cell.parts import APPLIED_KEY, Graph, applied, graph
from tests.unit.cell.examples import EXAMPLES, cell


@pytest.fixture(scope="module")
def made() -> Graph:
    return applied(cell())


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_made_is_what_was_planned(name: str) -> None:
    planned, made = graph(EXAMPLES[name]).recording, applied(EXAMPLES[name]).recording
    assert [(each.kind, each.name) for each in planned.resources] == [
        (each.kind, each.name) for each in made.resources
    ]


def test_the_cluster_says_where_it_is(made: Graph) -> None:
    assert made.recording.outputs == {
        "keyARN": APPLIED_KEY,
        "securityGroupID": "sg-made",
        "certificate": "TUFERQ==",
        "endpoint": "https://made.eks.example",
    }


def test_roles_name_the_key_and_the_zone_that_were_made(made: Graph) -> None:
    for which in ("agent", "storage_driver"):
        assert APPLIED_KEY in json.dumps(made.policy(f"role-{which.replace('_', '-')}"))
    assert made.policy("role-dns") == policies.dns(cell(), "ZMADE").plain()
    assert made.inputs("aws:iam/rolePolicy:RolePolicy", "role-dns")["role"] == arns.role_name(cell(), "dns")


def test_each_hint_is_on_its_own_groups_machines(made: Graph) -> None:
    hints = list(made.recording.of("aws:autoscaling/tag:Tag"))
    assert hints
    for each in hints:
        group = each.inputs["autoscalingGroupName"].removeprefix("eks-")
        assert each.name.startswith(f"hint-{group}-")


def test_machines_start_from_the_version_of_the_template_that_was_made(made: Graph) -> None:
    for group in made.recording.of("aws:eks/nodeGroup:NodeGroup"):
        kind = group.inputs["labels"]["byoc.dev/group"]
        assert group.inputs["launchTemplate"] == {"id": f"machines-{kind}-id", "version": "3"}
