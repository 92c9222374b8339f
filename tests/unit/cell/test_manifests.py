"""What stands in a cell's cluster: pure, whole, and no more rights or ways out than are needed."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings

from byoc.cell import rights
from byoc.cell.anywhere import Anywhere, bundle_anywhere
from byoc.cell.args import CellArgs, Gateway, Image
from byoc.cell.arns import bucket_name
from byoc.cell.images import autoscaler, released_agent
from byoc.cell.incluster import (
    AGENT,
    AUTOSCALER,
    BUNDLE_LABEL,
    CONTROL_GROUP,
    ENGINE_FILES,
    ENGINE_OPERATOR,
    GROUP_LABEL,
    NAMESPACE,
    SYSTEM_TAINT,
)
from byoc.cell.installer.kinds import ORDER, in_order, kind_of, path
from byoc.cell.manifests import Bundle, bundle
from byoc.cell.policies import PODS
from byoc.cell.rights import Right
from byoc.errors import UsageError
from byoc.wire.canonical import canonical, sha256
from tests.unit.cell import bundle_golden
from tests.unit.cell.examples import EXAMPLES, FACTS, cell, cells

Json = dict[str, Any]
READS = {"get", "list", "watch"}


def of_kind(made: Bundle, kind: str) -> list[Json]:
    return [each for each in made.objects if each["kind"] == kind]


def one(made: Bundle, kind: str, name: str) -> Json:
    (found,) = (each for each in of_kind(made, kind) if each["metadata"]["name"] == name)
    return found


def pods(made: Bundle) -> list[Json]:
    workloads = of_kind(made, "StatefulSet") + of_kind(made, "Deployment")
    return [each["spec"]["template"]["spec"] for each in workloads]


# --- the bundle ---------------------------------------------------------------------------


def test_the_objects_of_a_cell_are_what_was_reviewed() -> None:
    assert bundle_golden.FILE.read_text(encoding="utf-8") == bundle_golden.text(), bundle_golden.HOW


@settings(max_examples=25)
@given(cells())
def test_any_cell_has_a_bundle_and_always_the_same(args: CellArgs) -> None:
    made = bundle(args)
    assert made == bundle(args)
    assert made.digest == sha256(made.text.encode())
    assert json.loads(made.text) == list(made.objects)
    assert list(made.objects) == in_order(list(made.objects))
    assert Counter(map(path, made.objects)).most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    "other",
    [
        {"name": "other"},
        {"gateway": Gateway(url="wss://other.example/nimbus/v1")},
        {"policy": 'deny = ["*"]'},
        {"egress_proxy": "http://10.0.0.1:3128"},
        {"tags": {"cost-centre": "1"}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_changes_in_the_cluster_changes_the_digest(other: Json) -> None:
    assert bundle(cell(**other)).digest != bundle(cell()).digest


def test_what_is_not_of_the_cluster_leaves_the_digest_alone() -> None:
    assert bundle(cell(log_days=30, ledger_days=30)).digest == bundle(cell()).digest


def test_every_object_bears_the_label_by_which_it_is_found_again() -> None:
    made = bundle(cell())
    assert all(each["metadata"]["labels"].get(BUNDLE_LABEL) for each in made.objects)
    # Pods and volumes are their workload's, not the bundle's: they are not to be taken for left over.
    templates = [
        each["spec"]["template"] for each in of_kind(made, "StatefulSet") + of_kind(made, "Deployment")
    ]
    claims = [
        claim for each in of_kind(made, "StatefulSet") for claim in each["spec"]["volumeClaimTemplates"]
    ]
    assert not any(BUNDLE_LABEL in each["metadata"]["labels"] for each in (*templates, *claims))


def test_every_object_of_a_namespace_names_ours() -> None:
    for each in bundle(cell()).objects:
        assert each["metadata"].get("namespace") == (NAMESPACE if kind_of(each).namespaced else None)


def test_limits_come_before_whom_they_limit() -> None:
    names = [kind.name for kind in ORDER]
    limits = ("ValidatingAdmissionPolicyBinding", "NetworkPolicy", "PodDisruptionBudget")
    assert max(map(names.index, limits)) < min(names.index("StatefulSet"), names.index("Deployment"))
    assert names.index("ValidatingAdmissionPolicyBinding") < names.index("ClusterRoleBinding")


def test_nothing_secret_is_in_a_bundle() -> None:
    made = bundle(cell())
    assert [each for each in of_kind(made, "Secret") if "data" in each or "stringData" in each] == []
    for pod in pods(made):
        for container in pod["containers"]:
            assert not any("secret" in str(each).lower() for each in container["env"])


def anywhere(**more: Any) -> Anywhere:
    return Anywhere(
        name="main",
        gateway=Gateway(url="wss://gateway.test:443"),
        agent=Image(repository="images.test/agent", digest=f"sha256:{'a' * 64}"),
        kubernetes="1.34",
        api=(("10.0.0.1", 443),),
        storage={"provisioner": "disks.test"},
        **more,
    )


@pytest.mark.parametrize("proxy", ["http://ann:s3cret@proxy.test:3128", "http://proxy.test", "a\nb:1"])
def test_a_proxy_with_a_password_or_without_a_port_is_written_into_no_bundle(proxy: str) -> None:
    made = anywhere()
    for make in (lambda: replace(made, egress_proxy=proxy), lambda: cell(egress_proxy=proxy)):
        with pytest.raises(UsageError, match="egress proxy") as error:
            make()
        assert "s3cret" not in f"{error.value.message} {error.value.hint}"


def test_a_policy_that_is_no_toml_is_refused_before_anything_is_made() -> None:
    with pytest.raises(UsageError, match="no TOML"):
        bundle(cell(policy="allow = ["))


def test_without_a_policy_the_stack_leaves_it_to_the_customer() -> None:
    assert "data" not in one(bundle(cell()), "ConfigMap", "byoc-policy")
    held = one(bundle(cell(policy='deny = ["*"]')), "ConfigMap", "byoc-policy")
    assert held["data"] == {"policy.toml": 'deny = ["*"]'}


def test_a_changed_configuration_makes_new_pods_and_a_changed_policy_does_not() -> None:
    def annotations(args: CellArgs) -> Json:
        return one(bundle(args), "StatefulSet", AGENT)["spec"]["template"]["metadata"]["annotations"]

    assert annotations(cell(gateway=Gateway(url="wss://other.example"))) != annotations(cell())
    assert annotations(cell(policy='deny = ["*"]')) == annotations(cell())


def test_volumes_are_encrypted_with_the_cells_key_kept_and_found_by_its_tag() -> None:
    for args, key in (
        (cell(), "arn:aws:kms:eu-west-1:123456789012:alias/byoc-main"),
        (EXAMPLES["given"], EXAMPLES["given"].key_arn),
    ):
        (found,) = of_kind(bundle(args), "StorageClass")
        assert found["parameters"]["kmsKeyId"] == key
        assert found["parameters"]["encrypted"] == "true"
        assert found["reclaimPolicy"] == "Retain"
        assert found["volumeBindingMode"] == "WaitForFirstConsumer"
        assert "byoc:cell=main" in found["parameters"].values()


# --- the pods -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pod_keeps_to_the_restricted_standard(name: str) -> None:
    # Kubernetes documentation, "Pod Security Standards", profile Restricted; and a read-only root.
    made = bundle(EXAMPLES[name])
    (space,) = of_kind(made, "Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(made):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for volume in pod.get("volumes", []):
            assert {"configMap", "secret", "emptyDir", "projected"} & volume.keys()
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "@sha256:" in container["image"]
            assert container["resources"]["limits"]["memory"]


def test_every_pod_runs_on_the_system_group() -> None:
    for pod in pods(bundle(cell())):
        assert pod["nodeSelector"] == {GROUP_LABEL: "system"}
        assert {each["key"] for each in pod["tolerations"]} == {SYSTEM_TAINT}


def test_the_two_agents_are_in_two_zones_and_one_stays_when_machines_are_changed() -> None:
    made = bundle(cell())
    agents = one(made, "StatefulSet", AGENT)["spec"]
    (apart,) = agents["template"]["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert agents["replicas"] == 2
    assert apart["topologyKey"] == "topology.kubernetes.io/zone"
    assert apart["labelSelector"]["matchLabels"].items() <= agents["template"]["metadata"]["labels"].items()
    assert one(made, "PodDisruptionBudget", AGENT)["spec"]["maxUnavailable"] == 1


def test_the_cells_keys_are_not_opened_to_the_group_by_a_mount() -> None:
    for pod in pods(bundle(cell())):
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_an_enrolment_may_come_long_after_the_pods() -> None:
    volumes = {each["name"]: each for each in pods(bundle(cell()))[0]["volumes"]}
    assert volumes["enrolment"]["secret"]["optional"] is True
    mounts = pods(bundle(cell()))[0]["containers"][0]["volumeMounts"]
    # What is mounted by a path below the volume is never brought up to date.
    assert [each["name"] for each in mounts if "subPath" in each] == ["config"]


def test_the_autoscaler_follows_the_clusters_version_and_an_unknown_one_is_refused() -> None:
    assert autoscaler(cell()).repository == "registry.k8s.io/autoscaling/cluster-autoscaler"
    mirrored = autoscaler(EXAMPLES["no-internet"])
    assert mirrored.repository.startswith("123456789012.dkr.ecr.eu-west-1.amazonaws.com/mirror/")
    assert mirrored.digest == autoscaler(cell()).digest
    with pytest.raises(UsageError, match=r"1\.99"):
        autoscaler(cell(facts=replace(FACTS, kubernetes="1.99")))


def test_an_unreleased_tree_guesses_no_image_of_the_agent() -> None:
    found = released_agent()
    assert found is None or found.digest.startswith("sha256:")


def test_pods_have_the_accounts_to_which_roles_are_given() -> None:
    accounts = {(NAMESPACE, pod["serviceAccountName"]) for pod in pods(bundle(cell()))}
    assert accounts == {PODS["agent"], PODS["autoscaler"]}


# --- what copies the ledger ---------------------------------------------------------------


def test_beside_each_agent_something_copies_its_ledger_to_the_cells_own_bucket() -> None:
    made = bundle(cell())
    agent, shipper = pods(made)[0]["containers"]
    assert shipper["command"] == ["byoc", "agent", "ship-ledger", "--data", "/var/lib/byoc"]
    assert shipper["image"] == agent["image"]
    settings_ = json.loads(one(made, "ConfigMap", "byoc-config")["data"]["config.json"])
    assert settings_["ledgerBucket"] == bucket_name(cell(), "ledger")
    assert {"name": "AWS_REGION", "value": "eu-west-1"} in shipper["env"]
    assert {each["name"] for each in shipper["volumeMounts"]} == {"cell", "config", "tmp"}
    assert "HTTPS_PROXY" not in {each["name"] for each in shipper["env"]}


def test_the_agent_has_no_credentials_of_aws_and_what_copies_has_none_of_the_clusters() -> None:
    template = one(bundle(cell()), "StatefulSet", AGENT)["spec"]["template"]
    agent, shipper = template["spec"]["containers"]
    assert template["metadata"]["annotations"]["eks.amazonaws.com/skip-containers"] == agent["name"]
    assert template["spec"]["automountServiceAccountToken"] is False
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert [each["mountPath"] for each in agent["volumeMounts"] if each["name"] == "account"] == [folder]
    assert not {"account", "enrolment", "policy", "papers"} & {
        each["name"] for each in shipper["volumeMounts"]
    }


def test_in_a_cluster_of_somebody_elses_nothing_is_copied_to_aws() -> None:
    made = bundle_anywhere(anywhere())
    (only,) = pods(made)[0]["containers"]
    assert only["name"] == "agent"
    assert "ledgerBucket" not in one(made, "ConfigMap", "byoc-config")["data"]["config.json"]


# --- rights -------------------------------------------------------------------------------

TABLES: Mapping[str, tuple[Right, ...]] = {
    "agent, in the cluster": rights.AGENT_IN_CLUSTER,
    "agent, at home": rights.AGENT_AT_HOME,
    "control function": rights.CONTROL_AT_HOME,
    "operator, in a workspace": rights.OPERATOR_IN_WORKSPACE,
    "autoscaler": rights.AUTOSCALER_IN_CLUSTER,
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_right_is_spelt_out_and_has_a_reason(table: tuple[Right, ...]) -> None:
    for right in table:
        assert "*" not in "".join((right.group, *right.resources, *right.verbs))
        assert len(right.why) > 10
        assert not {"escalate", "impersonate"} & set(right.verbs)


def changes(table: tuple[Right, ...]) -> set[tuple[str, str]]:
    """Return (resource, names) of everything that a table lets somebody change."""
    return {
        (resource, ",".join(right.names))
        for right in table
        for resource in right.resources
        if not set(right.verbs) <= READS
    }


def test_what_the_agent_may_change_in_the_cluster_is_this_and_nothing_else() -> None:
    assert changes(rights.AGENT_IN_CLUSTER) == {
        ("namespaces", ""),
        ("nodes", ""),
        ("persistentvolumes", ""),
        ("rolebindings", ""),
        ("clusterroles", ENGINE_OPERATOR),
    }


def test_the_agent_may_bind_one_role_and_elsewhere_see_engines_secrets_only() -> None:
    (bind,) = (right for right in rights.AGENT_IN_CLUSTER if "bind" in right.verbs)
    assert (bind.resources, bind.verbs, bind.names) == (("clusterroles",), ("bind",), (ENGINE_OPERATOR,))
    for table in (rights.AGENT_IN_CLUSTER, rights.AUTOSCALER_IN_CLUSTER):
        reading = [right for right in table if {"secrets", "configmaps"} & set(right.resources)]
        assert all((each.names, each.verbs) == ((ENGINE_FILES,), ("list", "watch")) for each in reading)


def test_the_autoscaler_changes_machines_and_moves_pods() -> None:
    assert changes(rights.AUTOSCALER_IN_CLUSTER) == {
        ("nodes", ""),
        ("pods/eviction", ""),
        ("pods/status", ""),
        ("events", ""),
    }


def test_roles_are_given_to_these_and_to_nobody_else() -> None:
    made = bundle(cell())
    given_to = {
        (each["kind"], each["roleRef"]["kind"], each["roleRef"]["name"]): [
            (subject["kind"], subject["name"]) for subject in each["subjects"]
        ]
        for each in of_kind(made, "RoleBinding") + of_kind(made, "ClusterRoleBinding")
    }
    assert given_to == {
        ("RoleBinding", "Role", AGENT): [("ServiceAccount", AGENT)],
        ("RoleBinding", "Role", "byoc-control"): [("Group", CONTROL_GROUP)],
        ("ClusterRoleBinding", "ClusterRole", AGENT): [("ServiceAccount", AGENT)],
        ("ClusterRoleBinding", "ClusterRole", AUTOSCALER): [("ServiceAccount", AUTOSCALER)],
    }


def test_whatever_the_agent_asks_of_the_server_passes_the_admission_policy() -> None:
    (policy,) = of_kind(bundle(cell()), "ValidatingAdmissionPolicy")
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert (rule["apiGroups"], rule["resources"], rule["scope"]) == (["*"], ["*/*"], "*")
    assert set(rule["operations"]) == {"CREATE", "UPDATE", "DELETE", "CONNECT"}
    (binding,) = of_kind(bundle(cell()), "ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["validationActions"] == ["Deny"]
    assert "matchResources" not in binding["spec"]


# --- ways out -----------------------------------------------------------------------------

DNS = "the cluster's DNS"
ENGINES = "the engines of workspaces"
API, API_ITSELF = "172.20.0.1", "10.20.32.9"
METADATA, POD_IDENTITY = "169.254.169.254", "169.254.170.23"
INTERNET = "198.51.100.7"


def reaches(made: Bundle, pod: str, where: str, port: int, protocol: str = "TCP") -> bool:
    """Whether the policies let ``pod`` out to ``where``: an address, or the DNS pods."""
    labels = {"app.kubernetes.io/name": pod}
    chosen = [
        each["spec"]
        for each in of_kind(made, "NetworkPolicy")
        if each["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items()
    ]
    assert chosen, "no policy at all would let everything pass"
    return any(
        {"protocol": protocol, "port": port} in rule["ports"]
        and any(leads(peer, where) for peer in rule["to"])
        for spec in chosen
        for rule in spec.get("egress", [])
    )


def leads(peer: Json, where: str) -> bool:
    if "matchExpressions" in peer.get("namespaceSelector", {}):
        return where == ENGINES and peer == {
            "namespaceSelector": {"matchExpressions": [{"key": "byoc.dev/workspace", "operator": "Exists"}]},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "byoc-engine"}},
        }
    if "ipBlock" not in peer:
        selected = peer["podSelector"]["matchLabels"], peer["namespaceSelector"]["matchLabels"]
        return where == DNS and selected == (
            {"k8s-app": "kube-dns"},
            {"kubernetes.io/metadata.name": "kube-system"},
        )
    if where in {DNS, ENGINES} or ip_address(where) not in ip_network(peer["ipBlock"]["cidr"]):
        return False
    return not any(ip_address(where) in ip_network(each) for each in peer["ipBlock"].get("except", []))


PROBES = (
    (DNS, 53, "UDP"),
    (DNS, 53, "TCP"),
    (API, 443, "TCP"),
    (API_ITSELF, 443, "TCP"),
    (INTERNET, 443, "TCP"),
    (POD_IDENTITY, 80, "TCP"),
    # Nobody goes there:
    (METADATA, 80, "TCP"),
    (METADATA, 443, "TCP"),
    (INTERNET, 80, "TCP"),
    (INTERNET, 53, "UDP"),
    (INTERNET, 3306, "TCP"),
    ("10.20.32.9", 3306, "TCP"),
    ("10.20.32.9", 22, "TCP"),
    ("10.20.0.9", 443, "TCP"),
    ("192.168.1.1", 443, "TCP"),
    ("172.20.0.10", 443, "TCP"),
    # What the agent alone asks:
    (ENGINES, 3306, "TCP"),
)


@pytest.mark.parametrize(
    ("pod", "needed"),
    [(AGENT, {*PROBES[:6], PROBES[-1]}), (AUTOSCALER, {*PROBES[:4], PROBES[5]}), ("whoever else", set())],
)
def test_each_pod_gets_out_to_exactly_what_it_needs(pod: str, needed: set[tuple[str, int, str]]) -> None:
    made = bundle(cell())
    assert {probe for probe in PROBES if reaches(made, pod, *probe)} == needed


def test_nobody_gets_in() -> None:
    for each in of_kind(bundle(cell()), "NetworkPolicy"):
        assert each["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in each["spec"]


@pytest.mark.parametrize(
    ("more", "yes", "no"),
    [
        (
            {"gateway": Gateway(url="wss://198.51.100.7:8443/nimbus/v1")},
            (INTERNET, 8443),
            ("198.51.100.8", 8443),
        ),
        ({"gateway": Gateway(url="wss://gw.example:8443/nimbus/v1")}, (INTERNET, 8443), (INTERNET, 8444)),
        ({"egress_proxy": "http://10.9.9.9:3128"}, ("10.9.9.9", 3128), (INTERNET, 3128)),
        ({"egress_proxy": "http://proxy.example:3128"}, ("10.9.9.9", 3128), (INTERNET, 3128)),
        (
            {"gateway": Gateway(url="wss://gw.example/nimbus/v1", endpoint_service="com.amazonaws.vpce.x")},
            (API_ITSELF, 443),
            (INTERNET, 8443),
        ),
    ],
    ids=["address", "name and port", "proxy by address", "proxy by name", "private link"],
)
def test_the_way_to_the_gateway_is_as_narrow_as_its_address_allows(
    more: Json, yes: tuple[str, int], no: tuple[str, int]
) -> None:
    made = bundle(cell(**more))
    assert reaches(made, AGENT, *yes)
    assert not reaches(made, AGENT, *no)


def test_beside_the_gateway_the_pod_reaches_s3_and_where_nothing_is_copied_not_even_that() -> None:
    proxy = {"egress_proxy": "http://10.9.9.9:3128"}
    assert reaches(bundle(cell(**proxy)), AGENT, INTERNET, 443)
    elsewhere = bundle_anywhere(anywhere(**proxy))
    assert reaches(elsewhere, AGENT, "10.9.9.9", 3128)
    assert not reaches(elsewhere, AGENT, INTERNET, 443)
    assert not reaches(elsewhere, AGENT, POD_IDENTITY, 80)


@settings(max_examples=25)
@given(cells())
def test_no_cell_lets_a_pod_reach_the_metadata_service(args: CellArgs) -> None:
    made = bundle(args)
    for pod in (AGENT, AUTOSCALER):
        assert not any(reaches(made, pod, METADATA, port) for port in (80, 443, 8443))
        assert reaches(made, pod, API, 443)


def test_a_proxy_is_not_asked_for_what_is_inside() -> None:
    made = bundle(cell(egress_proxy="http://10.9.9.9:3128"))
    env = {each["name"]: each.get("value") for each in pods(made)[0]["containers"][0]["env"]}
    assert env["HTTPS_PROXY"] == "http://10.9.9.9:3128"
    assert "172.20.0.0/16" in env["NO_PROXY"].split(",")
    assert canonical(made.objects)
