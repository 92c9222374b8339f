"""The objects of workspaces as the API server takes them: no field misspelt, nothing that it changes."""

import json
from typing import Any

import pytest

from byoc.cell.incluster import NAMESPACE
from byoc.dataplane.kubernetes import manifests
from byoc.dataplane.kubernetes.drift import differs
from byoc.dataplane.kubernetes.intended import Intended
from byoc.dataplane.kubernetes.kinds import kind_of
from byoc.dataplane.kubernetes.settings import ClusterSettings
from tests.kubernetes.cell import AGENT_USER, Cell
from tests.unit.dataplane.kubernetes.goldens import ALL, EXAMPLES, SETTINGS, objects

Json = dict[str, Any]


def put(cell: Cell, manifest: Json, *, dry: bool, user: str = "admin") -> tuple[int, Json]:
    kind, metadata = kind_of(manifest), manifest["metadata"]
    root = f"/apis/{kind.api}" if kind.group else f"/api/{kind.api}"
    place = f"/namespaces/{metadata['namespace']}" if kind.namespaced else ""
    asked = "fieldManager=byoc-agent&force=true&fieldValidation=Strict" + ("&dryRun=All" if dry else "")
    path = f"{root}{place}/{kind.plural}/{metadata['name']}?{asked}"
    return cell.plane.ask(user, "PATCH", path, manifest, kind="application/apply-patch+yaml")


@pytest.fixture
def space(cell: Cell) -> Json:
    made = manifests.space(EXAMPLES["mysql-S-1"])
    status, answer = put(cell, made, dry=False)
    assert status in {200, 201}, answer
    return made


@pytest.mark.parametrize(("example", "settings"), ALL.values(), ids=list(ALL))
def test_the_server_takes_every_object_and_leaves_it_as_it_is(
    operated: Cell, space: Json, example: Intended, settings: ClusterSettings
) -> None:
    for manifest in objects(example, settings):
        status, answer = put(operated, manifest, dry=True)
        assert status in {200, 201}, (manifest["kind"], answer)
        assert not differs(manifest, answer), (manifest["kind"], json.dumps(answer))


def test_a_misspelt_field_would_be_refused(cell: Cell, space: Json) -> None:
    engine = manifests.engine(EXAMPLES["mysql-S-1"], SETTINGS)
    engine["spec"]["template"]["spec"]["containers"][0]["resourcePolicy"] = []
    status, answer = put(cell, engine, dry=True)
    assert status >= 400
    assert "resourcePolicy: field not declared in schema" in answer["message"]


def test_a_pod_that_is_not_restricted_would_be_refused(cell: Cell, space: Json) -> None:
    template = manifests.engine(EXAMPLES["mysql-S-1"], SETTINGS)["spec"]["template"]
    template["spec"]["securityContext"]["runAsNonRoot"] = False
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] |= {"name": "engine-0", "namespace": space["metadata"]["name"]}
    status, answer = put(cell, pod, dry=True)
    assert (status, "restricted" in answer["message"]) == (403, True)


def test_the_agent_cannot_put_a_workspace_s_objects_into_its_own_namespace(cell: Cell) -> None:
    wall = next(each for each in objects(EXAMPLES["mysql-S-1"]) if each["kind"] == "NetworkPolicy")
    wall["metadata"]["namespace"] = NAMESPACE
    status, _ = put(cell, wall, dry=True, user=AGENT_USER)
    assert status == 403
