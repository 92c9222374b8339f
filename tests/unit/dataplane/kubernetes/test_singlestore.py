"""The engine `singlestore`: what a size means as nodes, what its operator is told, and what it may not be."""

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube import KubeConfig

from byoc.cell.incluster import ENGINE_OPERATOR
from byoc.dataplane.engine_sql import Answer
from byoc.dataplane.kubernetes import kinds, names, sizing
from byoc.dataplane.kubernetes.cache import Cache, View
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.kinds import Kind, kind_of
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.kubernetes.singlestore import engine, manifests, speech
from byoc.dataplane.kubernetes.singlestore.engine import SingleStore
from byoc.dataplane.kubernetes.singlestore.order import REQUIRED, Secret, checked, memsql_cluster
from byoc.dataplane.kubernetes.singlestore.shape import Nodes, Shape, disk_gib, shape
from byoc.dataplane.kubernetes.views import Claim
from byoc.dataplane.runtime import Limits
from byoc.errors import UsageError
from byoc.model.metrics import Metric
from byoc.model.report import Reason
from byoc.model.size import LADDER, MULTIPLIERS
from byoc.testing.clock import ManualClock
from tests.unit.dataplane.kubernetes.goldens import (
    GROUP,
    OPERATED,
    OPERATED_SETTINGS,
    ORDER,
    WORKSPACE,
    objects,
)
from tests.unit.dataplane.kubernetes.test_cache import told
from tests.unit.dataplane.kubernetes.test_client import CONFIG

Json = dict[str, Any]
NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
EXAMPLE = OPERATED["singlestore-S-8-open"]
limits = st.builds(
    Limits, st.sampled_from(LADDER), st.sampled_from(MULTIPLIERS), st.sampled_from(MULTIPLIERS)
)


def order() -> Json:
    return memsql_cluster(EXAMPLE, OPERATED_SETTINGS, ORDER)


def of_kind(kind: str, name: str = "", example: str = "singlestore-S-8-open") -> Json:
    (found,) = (
        each
        for each in objects(OPERATED[example], OPERATED_SETTINGS)
        if each["kind"] == kind and name in each["metadata"]["name"]
    )
    return found


def of(each: Limits, divisor: int = 1) -> Shape:
    """Return the nodes of a new workspace."""
    return shape(each, disk_gib(each, divisor), divisor)


class TestNodes:
    @given(limits, st.sampled_from((1, 128)))
    def test_all_of_them_together_have_no_more_than_a_size_gives(self, each: Limits, divisor: int) -> None:
        nodes = of(each, divisor)
        total = sizing.compute(each, divisor)
        memory = sum(kind.count * kind.compute.memory for kind in nodes.every)
        assert memory <= total.memory
        assert total.memory - memory <= 2**20 * sum(kind.count for kind in nodes.every)

    @given(limits)
    def test_there_is_one_master_and_a_leaf_and_never_a_leaf_above_sixteen_processors(
        self, each: Limits
    ) -> None:
        nodes = of(Limits(each.size))
        assert nodes.master.count == 1
        assert nodes.leaves.count >= 1
        assert nodes.leaves.compute.millicores <= 16_000

    @given(st.sampled_from(LADDER), st.sampled_from(MULTIPLIERS))
    def test_the_scale_factor_moves_no_data_and_the_cache_config_only_the_disk(
        self, size: str, more: int
    ) -> None:
        one, scaled, cached = Limits(size), Limits(size, more), Limits(size, 1, more)
        counts = [[kind.count for kind in of(each).every] for each in (one, scaled, cached)]
        assert counts[0] == counts[1] == counts[2]
        assert disk_gib(scaled, 1) == disk_gib(one, 1)
        assert disk_gib(cached, 1) == more * disk_gib(one, 1)

    def test_a_larger_size_never_has_a_smaller_disk_a_node(self) -> None:
        disks = [[kind.disk_gib for kind in of(Limits(size)).every if kind.count] for size in LADDER]
        assert [(found[0], found[-1]) for found in disks] == sorted((found[0], found[-1]) for found in disks)
        assert disks[-1] == [160, 160, 640]

    @given(st.lists(limits, min_size=2, max_size=5), st.sampled_from((1, 128)))
    def test_no_volume_shrinks_whatever_sizes_follow_one_another(
        self, each_in_turn: list[Limits], divisor: int
    ) -> None:
        engine, view = SingleStore(replace(OPERATED_SETTINGS, size_divisor=divisor)), View(WORKSPACE)
        for each in each_in_turn:
            disk = max(engine.disk_gib(each), engine.disk_held(view, each))
            for kind in shape(each, disk, divisor).every:
                for name in kind.claims:
                    assert name not in view.claims or kind.disk_gib >= view.claims[name].disk_gib
                    view.claims[name] = Claim(name, 1, False, True, "", kind.disk_gib, 0)

    def test_names_are_those_of_the_operator(self) -> None:
        nodes = shape(Limits("S-4"), 100, 1)
        assert nodes.master.pods == ("node-cluster-master-0",)
        assert nodes.children.pods == ("node-cluster-aggregator-0",)
        assert nodes.leaves.pods == ("node-cluster-leaf-ag1-0", "node-cluster-leaf-ag1-1")
        assert nodes.leaves.claims[1] == "pv-storage-node-cluster-leaf-ag1-1"
        assert nodes.master.pods[0] in names.MAIN_PODS
        assert nodes.master.claims[0] in names.MAIN_CLAIMS

    def test_every_node_has_a_claim_of_ours(self) -> None:
        claims = {
            each["metadata"]["name"]
            for each in objects(EXAMPLE, OPERATED_SETTINGS)
            if each["kind"] == "PersistentVolumeClaim"
        }
        nodes = shape(EXAMPLE.limits, EXAMPLE.disk_gib, 1)
        assert claims == {name for kind in nodes.every for name in kind.claims}


class TestTheOrder:
    @pytest.mark.parametrize("example", OPERATED.values(), ids=list(OPERATED))
    def test_ours_is_right(self, example: Any) -> None:
        ours = memsql_cluster(example, OPERATED_SETTINGS, ORDER)
        checked(ours)
        assert ours["kind"] == "MemsqlCluster"

    @pytest.mark.parametrize(
        ("path", "value", "said"),
        [
            ("spec.leafSpec.memoryMBLimit", 1, "spec.leafSpec.memoryMBLimit is no field"),
            ("spec.masterAggregatorSpec.memoryLimitMB", 1, "memoryLimitMB is no field"),
            ("spec.aggregatorSpec", {"count": 1}, "spec.aggregatorSpec is no field"),
            ("spec.leafSpec.heigth", 1, "spec.leafSpec.heigth is no field"),
            ("spec.leafSpec.cores", "8", "spec.leafSpec.cores has to be a number above 0"),
            ("spec.leafSpec.count", True, "spec.leafSpec.count has to be a whole number"),
            ("spec.leafSpec.storageGB", -1, "spec.leafSpec.storageGB has to be a whole number"),
            ("spec.license", "", "spec.license has to be text"),
            ("spec.serviceSpec", [], "spec.serviceSpec has to be an object"),
            ("spec.serviceSpec.headless", "yes", "spec.serviceSpec.headless has to be true or false"),
            ("spec.globalVariables", {"a": 1}, "spec.globalVariables has to be an object of texts"),
            ("spec.schedulingDetails.leaf", {}, "spec.schedulingDetails.leaf is no field"),
        ],
    )
    def test_what_the_operator_would_look_past_is_refused(self, path: str, value: object, said: str) -> None:
        manifest = deepcopy(order())
        *where, last = path.split(".")
        place = manifest
        for name in where:
            place = place[name]
        place[last] = value
        with pytest.raises(UsageError, match=said):
            checked(manifest)

    @pytest.mark.parametrize("path", REQUIRED)
    def test_what_must_be_said_is_missed(self, path: str) -> None:
        manifest = deepcopy(order())
        *where, last = path.split(".")
        place = manifest["spec"]
        for name in where:
            place = place[name]
        del place[last]
        with pytest.raises(UsageError, match=f"spec.{path} is missing"):
            checked(manifest)

    def test_without_a_spec_nothing_is_said(self) -> None:
        with pytest.raises(UsageError, match="spec is missing"):
            checked({"kind": "MemsqlCluster"})

    def test_limits_are_said_and_the_size_of_the_vendor_s_unit_plays_no_part(self) -> None:
        for nodes, limit in (("masterAggregatorSpec", "memoryMBLimit"), ("leafSpec", "memoryLimitMB")):
            said = order()["spec"][nodes]
            assert said["cores"] == said["coresLimit"] > 0
            assert said["memoryMB"] == said[limit] > 0
            assert "height" not in said

    def test_the_image_is_named_by_its_digest(self) -> None:
        image = order()["spec"]["nodeImage"]
        assert f"{image['repository']}:{image['tag']}" == OPERATED_SETTINGS.image

    def test_secrets_are_not_shown_by_chance(self) -> None:
        assert "LICENCE" not in repr(Secret("LICENCE", "*HASH"))
        assert "HASH" not in repr(Secret("LICENCE", "*HASH"))


class TestAround:
    def test_the_operator_has_its_rights_in_its_namespace_only(self) -> None:
        binding = of_kind("RoleBinding", names.OPERATOR)
        assert binding["roleRef"]["name"] == ENGINE_OPERATOR
        assert [each["namespace"] for each in binding["subjects"]] == [names.namespace(WORKSPACE)]

    def test_a_suspended_one_has_no_operator_and_keeps_its_volumes(self) -> None:
        assert of_kind("Deployment", example="singlestore-S-4-suspended")["spec"]["replicas"] == 0
        assert of_kind("Deployment")["spec"]["replicas"] == 1

    def test_customers_reach_aggregators_and_no_leaf(self) -> None:
        (chosen,) = of_kind("NetworkPolicy", "sql")["spec"]["podSelector"]["matchExpressions"]
        assert chosen["values"] == [
            "node-cluster-master-0",
            "node-cluster-aggregator-0",
        ]

    def test_without_a_bucket_nodes_reach_each_other_only(self) -> None:
        closed = ClusterSettings(
            engine="singlestore",
            image=OPERATED_SETTINGS.image,
            operator_image=OPERATED_SETTINGS.operator_image,
        )
        walls = {
            each["metadata"]["name"] for each in objects(EXAMPLE, closed) if each["kind"] == "NetworkPolicy"
        }
        assert walls == {"default-deny", "sql", "within", "operator"}
        assert of_kind("NetworkPolicy", "storage")["spec"]["policyTypes"] == ["Egress"]


class Site:
    """What a cache has heard of a workspace whose operator has done all that it was told."""

    def __init__(self, example: str = "singlestore-S-8-open") -> None:
        self.engine = SingleStore(OPERATED_SETTINGS)
        self.example = OPERATED[example]
        cluster = Cluster(KubeConfig.from_dict(CONFIG), ManualClock())
        self.cache = Cache(cluster, self.engine, ManualClock(), lambda _: None)
        for number, each in enumerate(objects(self.example, OPERATED_SETTINGS), 1):
            if kind_of(each) in {kinds.NAMESPACE, kinds.CLAIM, kinds.MEMSQL_CLUSTER}:
                self.cache.note(kind_of(each), told(each, number))
        for nodes in shape(self.example.limits, self.example.disk_gib, 1).every:
            self.cache.note(kinds.STATEFUL_SET, told(a_set(nodes), 50))
            for name in nodes.pods:
                self.cache.note(kinds.POD, a_pod(name, nodes.compute))
        self.cache.note(kinds.POD, a_pod("sdb-operator-x", sizing.Compute(1, 1)))

    @property
    def view(self) -> View:
        return self.cache.view(WORKSPACE)

    def waits(self, waited: float) -> Reason | None:
        return self.engine.waiting_for(self.view, NOW, waited)

    def gone(self, kind: Kind, name: str) -> None:
        self.cache.note_gone(kind, WORKSPACE, name, 1000)


def a_set(nodes: Nodes) -> Json:
    metadata = {"name": nodes.set, "namespace": names.namespace(WORKSPACE)}
    spec = {"replicas": nodes.count}
    return {"kind": "StatefulSet", "metadata": metadata, "spec": spec, "status": {"observedGeneration": 1}}


def a_pod(name: str, compute: sizing.Compute, *, number: int = 100, ready: bool = True) -> Json:
    memory = {"memory": str(compute.memory)}
    resources = {"requests": {"cpu": f"{compute.millicores}m", **memory}, "limits": memory}
    metadata = {"name": name, "namespace": names.namespace(WORKSPACE), "resourceVersion": str(number)}
    return {
        "metadata": {**metadata, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "node", "image": OPERATED_SETTINGS.image, "resources": resources}]},
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
        },
    }


class TestWhatIs:
    def test_what_was_asked_for_is_in_force_once_every_pod_asks_for_its_part(self) -> None:
        site = Site()
        assert site.engine.in_force(site.view, Answer()) == site.example.limits
        assert site.engine.whole(site.view)
        other = sizing.Compute(2**30, 1000)
        site.cache.note(kinds.POD, a_pod("node-cluster-leaf-ag1-3", other, number=200))
        assert site.engine.in_force(site.view, Answer()) is None
        assert not site.engine.rolling(site.view)

    def test_a_master_that_has_other_limits_is_about_to_be_replaced(self) -> None:
        site = Site()
        assert not site.engine.rolling(site.view)
        site.cache.note(kinds.POD, a_pod("node-cluster-master-0", sizing.Compute(2**30, 1000), number=200))
        assert site.engine.rolling(site.view)

    @pytest.mark.parametrize("phase", ["Pending", "Failed"])
    def test_the_operator_s_own_word_counts_where_it_says_less_than_the_pods(self, phase: str) -> None:
        site = Site()
        seen = told(memsql_cluster(site.example, OPERATED_SETTINGS, ORDER), 300)
        site.cache.note(kinds.MEMSQL_CLUSTER, {**seen, "status": {"phase": phase}})
        assert not site.engine.whole(site.view)

    def test_a_leaf_that_is_not_ready_is_not_whole(self) -> None:
        site = Site()
        nodes = shape(site.example.limits, site.example.disk_gib, 1).leaves
        site.cache.note(kinds.POD, a_pod(nodes.pods[1], nodes.compute, number=200, ready=False))
        assert not site.engine.whole(site.view)

    def test_an_operator_that_is_gone_is_missed_and_named_after_a_while(self) -> None:
        site = Site()
        assert not site.engine.lacks(site.view)
        site.gone(kinds.POD, "sdb-operator-x")
        assert site.engine.lacks(site.view)
        assert site.waits(engine.SOON_SECONDS - 1) is None
        assert site.waits(engine.SOON_SECONDS) is Reason.OPERATOR_MISSING

    def test_one_that_is_there_and_does_nothing_is_named_after_a_longer_while(self) -> None:
        site = Site()
        site.gone(kinds.POD, "node-cluster-leaf-ag1-0")
        assert site.waits(engine.STUCK_SECONDS - 1) is None
        assert site.waits(engine.STUCK_SECONDS) is Reason.OPERATOR_STUCK

    def test_nothing_is_lacking_where_all_stands_and_only_sql_is_silent(self) -> None:
        assert Site().waits(10_000) is None

    def test_a_volume_that_is_gone_is_lost_and_the_last_of_a_larger_size_is_only_to_come(self) -> None:
        site = Site()
        assert not site.engine.lost(site.view)
        site.gone(kinds.CLAIM, "pv-storage-node-cluster-leaf-ag1-3")
        assert not site.engine.lost(site.view)
        site.gone(kinds.CLAIM, "pv-storage-node-cluster-leaf-ag1-1")
        assert site.engine.lost(site.view)

    def test_no_operator_is_missed_while_suspended(self) -> None:
        site = Site("singlestore-S-4-suspended")
        site.gone(kinds.POD, "sdb-operator-x")
        assert not site.engine.lacks(site.view)
        assert site.waits(10_000) is None


class TestSpeech:
    def test_values_are_read_whatever_unit_they_bear(self) -> None:
        rows = [
            ("Total_server_memory", "1024.5 (+0.2) MB"),
            ("Execution_time_of_reads", "45987 ms"),
            ("Successful_read_queries", "7"),
            ("Ready_queue", "0"),
            ("Something_else", "1"),
            ("Connections", "none"),
        ]
        assert speech.read(rows) == {
            Metric.MEM_USED_B: 1024.5 * 2**20,
            Metric.EXECUTION_TIME_OF_READS: 45987,
            Metric.SUCCESSFUL_READ_QUERIES: 7,
            Metric.READY_QUEUE: 0,
        }

    def test_a_database_without_limits_lies_where_aws_lets_its_workspaces_nodes_write(self) -> None:
        account = of_kind("ServiceAccount", order()["spec"]["serviceAccountName"])["metadata"]
        subject = f"system:serviceaccount:{account['namespace']}:{account['name']}"
        said = speech.storage_clause(OPERATED_SETTINGS, EXAMPLE)
        assert f"ON S3 'data-of-prod/{subject}'" in said
        assert '{"region":"eu-central-1"}' in said
        assert said.endswith("""CREDENTIALS '{"creds_mode":"eks_irsa"}'""")
        assert account["annotations"] == {
            "eks.amazonaws.com/role-arn": OPERATED_SETTINGS.role,
            "eks.amazonaws.com/sts-regional-endpoints": "true",
        }

    def test_the_nodes_account_is_called_as_the_cluster_is_whose_maker_wants_it_so(self) -> None:
        assert order()["spec"]["serviceAccountName"] == order()["metadata"]["name"]

    def test_without_a_role_a_database_lies_in_the_part_of_its_group_and_nobody_is_named(self) -> None:
        settings = replace(OPERATED_SETTINGS, role="")
        said = speech.storage_clause(settings, EXAMPLE)
        assert f"ON S3 'data-of-prod/byoc-group-{GROUP}/{WORKSPACE}'" in said
        assert said.endswith("CREDENTIALS '{}'")
        made = [
            each for each in manifests.surroundings(EXAMPLE, settings) if each["kind"] == "ServiceAccount"
        ]
        assert [each["metadata"].get("annotations") for each in made] == [None]

    def test_without_a_bucket_a_database_is_as_large_as_its_volumes(self) -> None:
        assert speech.storage_clause(replace(OPERATED_SETTINGS, bucket="", role=""), EXAMPLE) == ""

    def test_databases_are_sorted_by_whether_the_cell_could_attach_them_again(self) -> None:
        place = "bucket/byoc-group-g/w"
        kept = [
            ("orders", "1", "bucket", "byoc-group-g/w/orders_0"),
            ("whole", "2", "bucket", "/byoc-group-g/w"),
            ("neighbour", "3", "bucket", "byoc-group-g/w2"),
            ("foreign", "4", "another", "byoc-group-g/w"),
            ("gone", "5", "bucket", "byoc-group-g/w"),
        ]
        attached = {
            "orders",
            "whole",
            "neighbour",
            "foreign",
            "ledger",
            "cluster",
            "memsql",
            "information_schema",
        }
        found = speech.sorted_out(attached, kept, place, tables_of_cluster=0)
        assert found.unlimited == {"orders": "1", "whole": "2"}
        assert found.elsewhere == ("foreign", "neighbour")
        assert found.local == ("ledger",)
        # One in which somebody has made a table is not taken for the engine's own.
        assert speech.sorted_out(attached, kept, place, tables_of_cluster=1).local == ("cluster", "ledger")


class TestSettings:
    @pytest.mark.parametrize("missing", ["engine", "bucket"])
    def test_databases_are_detached_only_where_they_can_lie_in_a_bucket(self, missing: str) -> None:
        image = OPERATED_SETTINGS.image
        given = {
            "engine": "singlestore",
            "image": image,
            "operatorImage": image,
            "bucket": "b",
            "region": "r",
            "suspend": "detach",
        }
        assert ClusterSettings.from_json(given).suspend == "detach"
        with pytest.raises(UsageError, match=r"kubernetes\.suspend: `detach` needs a bucket"):
            ClusterSettings.from_json({name: value for name, value in given.items() if name != missing})

    def test_an_engine_of_which_we_name_no_image_is_told_both(self) -> None:
        image = OPERATED_SETTINGS.image
        with pytest.raises(UsageError, match=r"kubernetes\.image is missing"):
            ClusterSettings.from_json({"engine": "singlestore"})
        with pytest.raises(UsageError, match=r"kubernetes\.operatorImage is missing"):
            ClusterSettings.from_json({"engine": "singlestore", "image": image})
        read = ClusterSettings.from_json({"engine": "singlestore", "image": image, "operatorImage": image})
        assert (read.engine, read.operator_image) == ("singlestore", image)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("engine", "oracle"),
            ("engine", []),
            ("operatorImage", "operator:latest"),
            ("licence", "Not A Name"),
            ("bucket", "without-a-region"),
            ("region", 1),
            ("suspend", "sleep"),
        ],
    )
    def test_what_cannot_be_is_named(self, name: str, value: object) -> None:
        with pytest.raises(UsageError, match=rf"kubernetes\.{name}: cannot be"):
            ClusterSettings.from_json({name: value})
