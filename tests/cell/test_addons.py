import json
from dataclasses import replace
from typing import Any

import pytest

from byoc.cell import arns, policies
from byoc.cell.incluster import GROUP_LABEL, SYSTEM_TAINT
from byoc.cell.settings import ADDONS, AFTER_MACHINES, BEFORE_MACHINES, settings, settings_text
from byoc.errors import UsageError
from tests.cell.parts import Graph, graph
from tests.unit.cell.examples import EXAMPLES, FACTS, cell

ADDON = "aws:eks/addon:Addon"
PODS = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
GROUP = "aws:eks/nodeGroup:NodeGroup"


@pytest.fixture(scope="module")
def made() -> Graph:
    return graph(cell())


def configured(made: Graph, addon: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.inputs(ADDON, f"addon-{addon}")["configurationValues"])
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_addon_is_installed_in_the_version_the_preflight_found(name: str) -> None:
    found = graph(EXAMPLES[name])
    assert found.names(ADDON) == {f"addon-{addon}" for addon in ADDONS}
    for addon in ADDONS:
        inputs = found.inputs(ADDON, f"addon-{addon}")
        assert inputs["addonName"] == addon
        assert inputs["addonVersion"] == FACTS.addons[addon]
        assert inputs["resolveConflictsOnUpdate"] == "OVERWRITE"


def test_network_policies_are_enforced(made: Graph) -> None:
    assert configured(made, "vpc-cni") == {"enableNetworkPolicy": "true"}


@pytest.mark.parametrize("addon", ["coredns", "aws-ebs-csi-driver", "external-dns"])
def test_the_cells_own_pods_run_on_system_machines(made: Graph, addon: str) -> None:
    found = configured(made, addon)
    pods = found.get("controller", found)
    assert pods["nodeSelector"] == {GROUP_LABEL: "system"}
    assert [each["key"] for each in pods["tolerations"]] == [SYSTEM_TAINT]


def test_volumes_get_the_tag_by_which_the_driver_may_manage_them(made: Graph) -> None:
    controller = configured(made, "aws-ebs-csi-driver")["controller"]
    assert controller["extraVolumeTags"] == {"byoc:cell": "main"}
    may = made.policy("role-storage-driver")["Statement"]
    made_with = [each["Condition"] for each in may if each["Action"] == "ec2:CreateVolume"]
    assert made_with == [{"StringEquals": {"aws:RequestTag/byoc:cell": "main"}}]


def test_the_driver_is_told_its_region_because_it_cannot_ask_the_machine(made: Graph) -> None:
    assert configured(made, "aws-ebs-csi-driver")["controller"]["region"] == FACTS.region


def test_no_storage_class_but_ours_is_the_default(made: Graph) -> None:
    assert configured(made, "aws-ebs-csi-driver")["defaultStorageClass"] == {"enabled": False}


def test_external_dns_keeps_to_the_cells_domain_and_its_own_names(made: Graph) -> None:
    found = configured(made, "external-dns")
    assert found["domainFilters"] == [arns.domain(cell())]
    assert found["txtOwnerId"] == "byoc-main"
    assert (found["policy"], found["registry"]) == ("sync", "txt")


def test_what_machines_need_comes_before_them_and_what_needs_them_after(made: Graph) -> None:
    for addon in BEFORE_MACHINES:
        waits = made.waits_for(ADDON, f"addon-{addon}")
        assert not any(each.startswith(GROUP) for each in waits), addon
    for addon in AFTER_MACHINES:
        assert f"{GROUP}::system" in made.waits_for(ADDON, f"addon-{addon}")


def test_pods_get_their_roles_before_they_start(made: Graph) -> None:
    for addon, pods in (
        ("vpc-cni", "network-driver"),
        ("aws-ebs-csi-driver", "storage-driver"),
        ("external-dns", "dns"),
    ):
        assert f"{PODS}::pods-{pods}" in made.waits_for(ADDON, f"addon-{addon}")


@pytest.mark.parametrize("which", policies.PODS)
def test_pods_take_on_the_role_that_trusts_them(made: Graph, which: arns.Role) -> None:
    pods = made.inputs(PODS, f"pods-{which.replace('_', '-')}")
    assert (pods["namespace"], pods["serviceAccount"]) == policies.PODS[which]
    assert pods["roleArn"] == arns.role_arn(cell(), which)
    # Without session tags no role would trust its pods.
    assert not pods.get("disableSessionTags")
    assert made.names(PODS) == {f"pods-{each.replace('_', '-')}" for each in policies.PODS}


def test_addons_and_pods_go_with_the_cluster(made: Graph) -> None:
    cluster = made.one("aws:eks/cluster:Cluster", "cluster").urn
    for kind in (ADDON, PODS):
        assert {each.within for each in made.recording.of(kind)} == {cluster}


def test_an_addon_without_a_known_version_is_refused() -> None:
    facts = replace(
        FACTS, addons={name: version for name, version in FACTS.addons.items() if name != "coredns"}
    )
    with pytest.raises(UsageError, match="no version of add-on coredns"):
        graph(cell(facts=facts))


def test_settings_are_one_text_for_one_meaning() -> None:
    assert settings_text(cell(), "kube-proxy") == ""
    for addon in ADDONS:
        text = settings_text(cell(), addon)
        assert not text or json.loads(text) == settings(cell(), addon)
        assert text == settings_text(cell(), addon)
