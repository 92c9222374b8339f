"""The test-only providers as an engine sees them: over the protocol, attached and as processes."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as pb

from tests.cell.handlers.examples import REGION, trust
from tests.emulated import kubernetes, plugins
from tests.emulated.account import Account
from tests.emulated.handlers.handler import UNKNOWN, Aws
from tests.emulated.kubernetes import Cluster
from tests.emulated.kubernetes_provider import Provider as Kubernetes
from tests.emulated.protocol import Plugin, attached, received, sent
from tests.emulated.provider import Provider

Json = dict[str, Any]
ROLE = "urn:pulumi:test::byoc::byoc:cell:Cell$aws:iam/role:Role::role"
LOG = "urn:pulumi:test::byoc::aws:cloudwatch/logGroup:LogGroup::log"
SPACE = "urn:pulumi:test::byoc::kubernetes:core/v1:Namespace::space"
INPUTS = {"name": "main-role", "assumeRolePolicy": trust("ec2.amazonaws.com")}
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "byoc-system", "labels": {"a": "b"}},
}
CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "policy", "namespace": "byoc-system"},
    "data": {"policy": "none"},
}

_PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), flush=True)
time.sleep(600)
"""


class Engine:
    """The few calls of an engine."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = provider_pb2_grpc.ResourceProviderStub(self.channel)

    def check(self, urn: str, inputs: Json) -> list[str]:
        return [one.reason for one in self.stub.Check(pb.CheckRequest(urn=urn, news=sent(inputs))).failures]

    def create(self, urn: str, inputs: Json, *, preview: bool = False) -> tuple[str, Json]:
        answer = self.stub.Create(pb.CreateRequest(urn=urn, properties=sent(inputs), preview=preview))
        return answer.id, received(answer.properties)

    def diff(self, urn: str, old: Json, new: Json, ignore: tuple[str, ...] = ()) -> Any:
        request = pb.DiffRequest(urn=urn, olds=sent(old), old_inputs=sent(old), news=sent(new))
        request.ignoreChanges.extend(ignore)
        return self.stub.Diff(request)

    def read(self, urn: str, identity: str, state: Json | None = None) -> tuple[str, Json]:
        request = pb.ReadRequest(urn=urn, id=identity, properties=sent(state or {}), inputs=sent(state or {}))
        answer = self.stub.Read(request)
        return answer.id, received(answer.inputs)

    def update(self, urn: str, identity: str, old: Json, new: Json) -> Json:
        request = pb.UpdateRequest(urn=urn, id=identity, olds=sent(old), old_inputs=sent(old), news=sent(new))
        return received(self.stub.Update(request).properties)

    def delete(self, urn: str, identity: str, state: Json) -> None:
        self.stub.Delete(pb.DeleteRequest(urn=urn, id=identity, properties=sent(state)))


def dial(plugin: Plugin) -> Iterator[Engine]:
    with attached(plugin) as environment:
        package, _, port = environment["PULUMI_DEBUG_PROVIDERS"].partition(":")
        assert package == plugin.package
        engine = Engine(int(port))
        engine.stub.Attach(plugin_pb2.PluginAttach(address="127.0.0.1:1"))
        yield engine
        engine.channel.close()


@pytest.fixture
def engine(aws: Aws) -> Iterator[Engine]:
    yield from dial(Provider(aws))


def test_a_resource_lives_over_the_protocol(engine: Engine, aws: Aws) -> None:
    assert engine.check(ROLE, INPUTS) == []
    identity, outputs = engine.create(ROLE, INPUTS)
    assert (identity, outputs["arn"]) == ("main-role", "arn:aws:iam::123456789012:role/main-role")
    assert engine.diff(ROLE, INPUTS, INPUTS).changes == pb.DiffResponse.DIFF_NONE
    later = INPUTS | {"description": "of the cell"}
    assert list(engine.diff(ROLE, INPUTS, later).diffs) == ["description"]
    engine.update(ROLE, identity, INPUTS, later)
    assert aws("iam").get_role(RoleName=identity)["Role"]["Description"] == "of the cell"
    assert engine.read(ROLE, identity)[1]["description"] == "of the cell"
    engine.delete(ROLE, identity, outputs)
    assert engine.read(ROLE, identity)[0] == ""


def test_a_change_that_needs_a_new_thing_says_so(engine: Engine) -> None:
    answer = engine.diff(ROLE, INPUTS, INPUTS | {"name": "other"})
    assert list(answer.replaces) == ["name"]
    assert answer.detailedDiff["name"].kind == pb.PropertyDiff.UPDATE_REPLACE


def test_what_is_ignored_is_no_change(engine: Engine) -> None:
    later = INPUTS | {"description": "of the cell"}
    assert engine.diff(ROLE, INPUTS, later, ignore=("description",)).changes == pb.DiffResponse.DIFF_NONE


def test_a_preview_leaves_open_what_aws_decides(engine: Engine, aws: Aws) -> None:
    identity, outputs = engine.create(ROLE, INPUTS, preview=True)
    assert (identity, outputs["arn"], outputs["name"]) == ("", UNKNOWN, "main-role")
    assert aws("iam").list_roles()["Roles"] == []


def test_wrong_inputs_are_refused_at_a_check(engine: Engine) -> None:
    assert engine.check(LOG, {"name": "/byoc", "retentionInDays": 31}) == [
        "InvalidParameterException: retentionInDays 31 is not allowed by CloudWatch Logs"
    ]
    assert engine.check(LOG, {"name": "/byoc", "retentionInDays": UNKNOWN}) == []
    assert engine.check(LOG, {"name": "/byoc", "retention_in_days": 30}) == [
        "`retention_in_days` is no property of aws:cloudwatch/logGroup:LogGroup"
    ]


def test_a_refusal_comes_in_awss_words(engine: Engine) -> None:
    engine.create(ROLE, INPUTS)
    with pytest.raises(grpc.RpcError) as refusal:
        engine.create(ROLE, INPUTS)
    assert "EntityAlreadyExists" in refusal.value.details()


def test_a_type_without_a_handler_is_named(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError, match="aws:rds/instance:Instance is not emulated"):
        engine.create("urn:pulumi:test::byoc::aws:rds/instance:Instance::db", {})


def test_a_fault_is_what_the_test_wants(aws: Aws) -> None:
    for each in dial(Provider(aws, {"aws:iam/role:Role": {"error": "Throttling"}})):
        with pytest.raises(grpc.RpcError, match="Throttling"):
            each.create(ROLE, INPUTS)
    assert aws("iam").list_roles()["Roles"] == []


@pytest.fixture
def cluster(short_path: Path) -> Iterator[Cluster]:
    with kubernetes.serving(Cluster(lingering=1), short_path) as cluster:
        yield cluster


@pytest.fixture
def objects(cluster: Cluster) -> Iterator[Engine]:
    for engine in dial(Kubernetes()):
        config = {
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": cluster.url,
                        "certificate-authority-data": base64.b64encode(cluster.authority.encode()).decode(),
                    },
                }
            ],
            "users": [{"name": "c", "user": {"token": "token"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            "current-context": "c",
        }
        engine.stub.Configure(pb.ConfigureRequest(args=sent({"kubeconfig": json.dumps(config)})))
        yield engine


def test_an_object_is_applied_read_and_ended(objects: Engine, cluster: Cluster) -> None:
    identity, _ = objects.create(SPACE, NAMESPACE)
    assert identity == "byoc-system"
    assert objects.read(SPACE, identity, NAMESPACE) == (identity, NAMESPACE)
    later = json.loads(json.dumps(NAMESPACE))
    later["metadata"]["labels"]["a"] = "c"
    assert list(objects.diff(SPACE, NAMESPACE, later).replaces) == []
    objects.update(SPACE, identity, NAMESPACE, later)
    assert objects.read(SPACE, identity, NAMESPACE)[1]["metadata"]["labels"] == {"a": "c"}
    objects.delete(SPACE, identity, NAMESPACE)
    assert objects.read(SPACE, identity, NAMESPACE)[0] == ""
    assert cluster.objects == {}


def test_a_preview_of_an_object_whose_namespace_is_to_come_passes(objects: Engine, cluster: Cluster) -> None:
    urn = "urn:pulumi:test::byoc::kubernetes:core/v1:ConfigMap::policy"
    assert objects.create(urn, CONFIG_MAP, preview=True)[1]["data"] == CONFIG_MAP["data"]
    assert cluster.objects == {}
    with pytest.raises(grpc.RpcError, match='namespaces "byoc-system" not found'):
        objects.create(urn, CONFIG_MAP)


def test_another_name_is_another_object(objects: Engine) -> None:
    other = {**NAMESPACE, "metadata": {"name": "other"}}
    assert list(objects.diff(SPACE, NAMESPACE, other).replaces) == ["metadata"]


@pytest.mark.parametrize("package", ["aws", "kubernetes"])
def test_a_plugin_laid_for_the_engine_serves_and_ends_with_its_parent(
    emulation: Account, short_path: Path, package: str
) -> None:
    plugins.lay_plugins(short_path)
    (launcher,) = short_path.glob(f"plugins/resource-{package}-v*/pulumi-resource-{package}")
    # A parent that starts it, says where it is, and is killed.
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _PARENT,
            str(launcher),
            "127.0.0.1:1",
        ],
        env={**os.environ, **emulation.environment, "AWS_REGION": REGION},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid, port = map(int, parent.stdout.readline().split())
    engine = Engine(port)
    answer = engine.stub.GetPluginInfo(empty_pb2.Empty())
    assert launcher.parent.name == f"resource-{package}-v{answer.version}"
    engine.channel.close()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and _lives(pid):
        assert time.monotonic() < end, "the plugin outlived its parent"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
