"""The objects of a workspace: what they are, and what they may never be."""

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.cell.incluster import WORKSPACE_LABEL
from byoc.cell.workload_rules import objects_broken
from byoc.dataplane.kubernetes import engine_files, manifests, names, sizing
from byoc.dataplane.kubernetes.drift import differs
from byoc.dataplane.kubernetes.intended import Intended, limits_from, limits_text
from byoc.dataplane.kubernetes.kinds import kind_of
from byoc.dataplane.kubernetes.quantities import quantity
from byoc.dataplane.kubernetes.settings import ClusterSettings
from byoc.dataplane.runtime import Doors, Limits
from byoc.ids import GroupID
from byoc.model.size import LADDER, MULTIPLIERS, SIZES
from tests.unit.dataplane.kubernetes.goldens import (
    ALL,
    EXAMPLES,
    FOLDER,
    HOW,
    WORKSPACE,
    files,
    intended,
    objects,
)

Json = dict[str, Any]
limits = st.builds(
    Limits, st.sampled_from(LADDER), st.sampled_from(MULTIPLIERS), st.sampled_from(MULTIPLIERS)
)
ranges = st.lists(st.ip_addresses().map(str) | st.just("10.0.0.0/8"), max_size=4).map(tuple)


def of_kind(found: list[Json], kind: str, name: str = "") -> Json:
    (one,) = (each for each in found if each["kind"] == kind and name in each["metadata"]["name"])
    return one


def engine_of(found: list[Json]) -> Json:
    (container,) = of_kind(found, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize(("path", "content"), [pytest.param(*each, id=each[0].stem) for each in files()])
def test_the_objects_are_those_that_were_reviewed(path: Path, content: str) -> None:
    assert path.read_text("utf-8") == content, HOW


def test_every_golden_file_has_an_example() -> None:
    assert {path for path, _ in files()} == set(FOLDER.iterdir())


@pytest.mark.parametrize(("example", "settings"), ALL.values(), ids=list(ALL))
class TestEveryObject:
    def test_is_the_workspace_s_and_says_so(self, example: Intended, settings: ClusterSettings) -> None:
        for each in objects(example, settings):
            assert each["metadata"]["labels"][WORKSPACE_LABEL] == WORKSPACE
            place = each["metadata"].get("namespace", names.namespace(WORKSPACE))
            assert place == names.namespace(WORKSPACE)

    def test_is_of_a_kind_that_the_client_knows(self, example: Intended, settings: ClusterSettings) -> None:
        for each in objects(example, settings):
            assert kind_of(each).name == each["kind"]

    def test_breaks_no_rule_of_the_cell(self, example: Intended, settings: ClusterSettings) -> None:
        for each in objects(example, settings):
            for rules in ("images", "doors", "rights"):
                assert list(objects_broken(rules, f"kubernetes:x:{each['kind']}", each)) == []

    def test_is_no_different_from_itself(self, example: Intended, settings: ClusterSettings) -> None:
        for one, other in zip(objects(example, settings), objects(example, settings), strict=True):
            assert not differs(one, other)

    def test_holds_no_secret_but_the_secret(self, example: Intended, settings: ClusterSettings) -> None:
        for each in objects(example, settings):
            assert each["kind"] == "Secret" or "-- accounts" not in str(each)


class TestTheWall:
    def test_nothing_goes_in_or_out_by_default(self) -> None:
        spec = of_kind(objects(EXAMPLES["mysql-S-1"]), "NetworkPolicy", "default-deny")["spec"]
        assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    def test_the_agent_always_may_and_others_by_their_range(self) -> None:
        doors = intended(Limits("S-1"), doors=Doors(("203.0.113.7", "10.1.2.3/8", "2001:db8::1")))
        (rule,) = of_kind(objects(doors), "NetworkPolicy", "sql")["spec"]["ingress"]
        agent, *blocks = rule["from"]
        assert agent["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "byoc-agent"}}
        cidrs = [each["ipBlock"]["cidr"] for each in blocks]
        assert cidrs == ["10.0.0.0/8", "2001:db8::1/128", "203.0.113.7/32"]
        assert rule["ports"] == [{"port": 3306, "protocol": "TCP"}]

    def test_without_a_range_there_is_the_agent_and_nobody_else(self) -> None:
        closed = intended(Limits("S-1"), doors=Doors())
        (rule,) = of_kind(objects(closed), "NetworkPolicy", "sql")["spec"]["ingress"]
        assert len(rule["from"]) == 1

    def test_everybody_means_both_families(self) -> None:
        assert [each["ipBlock"]["cidr"] for each in manifests.blocks(Doors(everybody=True))] == [
            "0.0.0.0/0",
            "::/0",
        ]

    @given(ranges)
    def test_every_block_is_a_network_as_kubernetes_wants_it(self, given_ranges: tuple[str, ...]) -> None:
        for each in manifests.blocks(Doors(given_ranges)):
            cidr = each["ipBlock"]["cidr"]
            assert str(ipaddress.ip_network(cidr, strict=True)) == cidr


class TestSizes:
    @given(limits)
    def test_numbers_are_written_as_the_api_server_writes_them(self, each: Limits) -> None:
        wanted = sizing.compute(each, 1)
        text = sizing.bytes_text(wanted.memory)
        assert quantity(text) == wanted.memory
        assert text.endswith("Gi") or int(text.removesuffix("Mi")) % 1024
        cores = sizing.cores_text(wanted.millicores)
        assert not cores.endswith("000m")

    @given(limits, st.sampled_from((1, 8, 128)))
    def test_the_pool_is_whole_chunks_within_the_memory(self, each: Limits, divisor: int) -> None:
        found = sizing.variables(each, divisor)
        assert found["innodb_buffer_pool_size"] % sizing.chunk(divisor) == 0
        assert 0 < found["innodb_buffer_pool_size"] < sizing.compute(each, divisor).memory

    @given(limits)
    def test_more_cache_is_more_pool_and_never_more_memory(self, each: Limits) -> None:
        more = [
            (sizing.compute(grown, 1).memory, sizing.variables(grown, 1)["innodb_buffer_pool_size"])
            for grown in (Limits(each.size, each.scale_factor, cache) for cache in MULTIPLIERS)
        ]
        assert more == sorted(more)
        assert len({memory for memory, _ in more}) == 1

    @pytest.mark.parametrize("size", LADDER)
    def test_the_scale_factor_multiplies_compute_and_leaves_the_disk(self, size: str) -> None:
        one, four = Limits(size), Limits(size, 4)
        assert sizing.compute(four, 1).memory == 4 * sizing.compute(one, 1).memory
        assert sizing.disk_gib(four, 1) == sizing.disk_gib(one, 1)

    def test_a_pod_leaves_an_eighth_of_a_machine_of_its_size(self) -> None:
        wanted = sizing.compute(Limits("S-1"), 1)
        assert (wanted.memory, wanted.millicores) == (56 * 2**30, 7000)
        assert SIZES["S-1"].vcpus == 8


class TestSuspended:
    def test_there_is_no_pod_and_no_name_and_the_volume_stays(self) -> None:
        found = objects(EXAMPLES["mysql-S-4-suspended"])
        assert of_kind(found, "StatefulSet")["spec"]["replicas"] == 0
        for which in ("ddl", "dml"):
            assert "annotations" not in of_kind(found, "Service", which)["metadata"]
        assert of_kind(found, "PersistentVolumeClaim")["spec"]["resources"]["requests"]["storage"]


class TestThePod:
    def test_it_listens_on_its_own_address_only(self) -> None:
        assert "--bind-address=$(POD_IP)" in engine_of(objects(EXAMPLES["mysql-S-1"]))["command"]

    def test_no_claim_is_made_by_the_controller(self) -> None:
        spec = of_kind(objects(EXAMPLES["mysql-S-1"]), "StatefulSet")["spec"]
        assert "volumeClaimTemplates" not in spec

    def test_a_new_volume_may_be_initialised_and_a_kept_one_may_not(self) -> None:
        said = [
            of_kind(objects(intended(Limits("S-1"), kept=kept)), "ConfigMap")["data"]["volume"]
            for kept in (False, True)
        ]
        assert said == ["new", "kept"]

    def test_the_preparation_is_about_the_paths_of_the_pod(self) -> None:
        script = engine_files.prepare()
        for path in (engine_files.DATA, engine_files.TEMPORARY, f"{engine_files.SETTINGS}/volume"):
            assert path in script
        for code in (engine_files.VOLUME_EMPTY, engine_files.ENGINE_TOO_OLD, engine_files.TOOL_MISSING):
            assert f"exit {code}" in script
        assert f"echo {engine_files.OLDER} >{engine_files.PREPARED}" in script

    def test_nobody_reaches_an_engine_that_only_brings_data_up_to_date(self) -> None:
        told = engine_files.settings(Limits("S-1"), 1).partition("[mariadbd.upgrade]\n")[2].splitlines()
        assert {"skip-networking", "skip-grant-tables", "init-file="} <= set(told)
        assert "--defaults-group-suffix=.upgrade" in engine_files.upgrade()
        assert f"--defaults-file={engine_files.SETTINGS}/my.cnf" in engine_files.upgrade()

    @given(limits, st.sampled_from([1, 8, 128]))
    def test_an_engine_that_only_brings_data_up_to_date_fits_beside_its_tool(
        self, each: Limits, divisor: int
    ) -> None:
        pool = sizing.pool_while_preparing(each, divisor)
        assert pool % sizing.chunk(divisor) == 0
        assert pool <= sizing.compute(each, divisor).preparing.memory // 2

    def test_nobody_logs_in_without_tls(self) -> None:
        assert "require-secure-transport=ON" in engine_files.settings(Limits("S-1"), 1)
        assert "REQUIRE SSL" in engine_files.accounts("secret")
        assert "secret" not in engine_files.accounts("secret")


class TestIntended:
    @given(limits, ranges, st.booleans(), st.booleans(), st.booleans(), st.integers(1, 16384))
    def test_it_is_read_as_it_was_written(
        self, each: Limits, doors: tuple[str, ...], everybody: bool, running: bool, kept: bool, disk: int
    ) -> None:
        one = Intended(
            WORKSPACE, GroupID("g"), each, Doors(doors, everybody), disk, running=running, kept=kept
        )
        assert Intended.from_text(WORKSPACE, one.to_text()) == one

    @pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"group":"g"}', "no JSON"])
    def test_what_somebody_else_wrote_is_nothing(self, text: str) -> None:
        assert Intended.from_text(WORKSPACE, text) is None

    @given(limits)
    def test_limits_stand_on_a_pod(self, each: Limits) -> None:
        assert limits_from(limits_text(each)) == each

    @pytest.mark.parametrize("text", ["", "S-1", "S-1/one/1", "a/b/c/d"])
    def test_other_text_is_no_limits(self, text: str) -> None:
        assert limits_from(text) is None


MADE: Json = {"spec": {"ports": [{"port": 1}], "selector": {}, "a": "b"}}


class TestDrift:
    @pytest.mark.parametrize(
        "seen",
        [
            {"spec": {"ports": [{"port": 1}], "selector": {}, "a": "b"}, "status": {}},
            {"spec": {"ports": [{"port": 1, "protocol": "TCP"}], "selector": {}, "a": "b", "c": 1}},
        ],
    )
    def test_what_the_server_adds_is_no_difference(self, seen: Json) -> None:
        assert not differs(MADE, seen)

    @pytest.mark.parametrize(
        "spec",
        [
            {},
            {"ports": [], "selector": {}, "a": "b"},
            {"ports": [{"port": 2}], "selector": {}, "a": "b"},
            {"ports": [{"port": 1}, {"port": 2}], "selector": {}, "a": "b"},
            {"ports": [{"port": 1}], "selector": {"matchLabels": {"x": "y"}}, "a": "b"},
            {"ports": [{"port": 1}], "selector": {}, "a": "c"},
            {"ports": {"port": 1}, "selector": {}, "a": "b"},
        ],
    )
    def test_anything_else_is(self, spec: Json) -> None:
        assert differs(MADE, {"spec": spec})
