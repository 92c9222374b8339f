"""What the installer promises, told against any Kubernetes API: the emulation and the real one.

A test class inherits the stories and gives a fixture ``site``. Each story leaves the cluster as it
likes and begins with what ``site`` makes: nothing of ours installed.
"""

import base64
import copy
import http.client
import json
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from byoc.cell.args import CellArgs
from byoc.cell.incluster import AGENT, ENROLMENT, INSTALLED, KEYS, MANAGER, NAMESPACE, POLICY, TOKEN
from byoc.cell.installer.api import Api
from byoc.cell.installer.budget import Budget
from byoc.cell.installer.handler import run
from byoc.cell.installer.package import Package
from byoc.cell.manifests import bundle
from byoc.errors import Conflict, IllegalState, PreconditionFailed, StillPending, UsageError
from byoc.wire.canonical import canonical
from tests.unit.cell.examples import cell

Json = dict[str, Any]
CORE = f"/api/v1/namespaces/{NAMESPACE}"
AGENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{AGENT}"
DENY_ALL = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies/deny-all"
BUDGET = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets/{AGENT}"
WORKSPACE = "byoc-ws-one"


def package(args: CellArgs | None = None) -> Package:
    made = args or cell()
    return Package.of(made.name, bundle(made).text)


def changed(change: Callable[[Json], Json | None]) -> Package:
    """Return the package with each object changed, or left out where ``change`` returns None."""
    made = [change(copy.deepcopy(each)) for each in package().objects]
    return Package.of(cell().name, canonical([each for each in made if each is not None]).decode())


def asks(meant: Package) -> Json:
    """Return the input of the stack."""
    return {"op": "install", "bundle": meant.digest, "cell": meant.cell}


@dataclass
class Site:
    """A cluster, and the ways into it that are not the installer's."""

    server: str
    authority: str
    token: str
    budget: Callable[[float], Budget]

    def run(self, event: Json, held: Package | None = None, *, seconds: float = 100) -> Json:
        api = Api(self.server, self.authority, lambda: self.token, self.budget(seconds))
        with closing(api):
            return run(event, held or package(), api)

    def install(self, held: Package | None = None) -> Json:
        return self.run(asks(held or package()), held)

    def drift(self, held: Package | None = None) -> dict[str, str]:
        found = self.run({"op": "diff"}, held)["drift"]
        return {each["object"]: each["change"] for each in found}

    def call(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        """Do what a person does by hand."""
        parts = urlsplit(self.server)
        context = ssl.create_default_context(cadata=self.authority)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context, timeout=20)
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        connection.request(method, f"{path}?fieldManager=kubectl", json.dumps(body or {}), headers)
        answer = connection.getresponse()
        value = json.loads(answer.read())
        connection.close()
        return answer.status, value

    def edit(self, path: str, patch: Json) -> None:
        status, value = self.call("PATCH", path, patch)
        assert status == 200, value

    def make(self, path: str, value: Json) -> None:
        status, said = self.call("POST", path, value)
        assert status in (200, 201), said

    def get(self, path: str) -> Json | None:
        status, value = self.call("GET", path)
        return value if status == 200 else None

    def run_a_workspace(self) -> None:
        """Put a pod into a workspace's namespace; it need not start."""
        labels = {"byoc.dev/workspace": "one"}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WORKSPACE, "labels": labels}}
        self.make("/api/v1/namespaces", space)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self.call("POST", f"/api/v1/namespaces/{WORKSPACE}/serviceaccounts", account)
        spec = {"containers": [{"name": "node", "image": "engine"}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node-0"}, "spec": spec}
        self.make(f"/api/v1/namespaces/{WORKSPACE}/pods", pod)


class InstallerStories:
    def test_an_installation_brings_everything_and_is_what_it_says(self, site: Site) -> None:
        answer = site.install()
        assert answer == {
            "op": "install",
            "bundle": package().digest,
            "objects": len(package().objects),
            "removed": [],
        }
        assert site.drift() == {}
        mark = site.get(f"{CORE}/configmaps/{INSTALLED}")
        assert mark is not None
        assert mark["data"] == {"bundle": package().digest, "cell": cell().name}

    def test_a_repeated_call_changes_nothing(self, site: Site) -> None:
        site.install()
        paths = (AGENTS, DENY_ALL, f"{CORE}/configmaps/byoc-config")
        before = {path: _ours(site.get(path)) for path in paths}
        site.install()
        assert {path: _ours(site.get(path)) for path in paths} == before

    def test_an_upgrade_changes_in_place_and_takes_away_what_is_gone(self, site: Site) -> None:
        site.install()
        before = site.get(AGENTS)
        new = changed(lambda each: None if each["kind"] == "PodDisruptionBudget" else _more_memory(each))
        event = asks(new) | {"tf": {"action": "update", "prev_input": asks(package())}}
        assert site.run(event, new)["removed"] == [f"PodDisruptionBudget {NAMESPACE}/{AGENT}"]
        after = site.get(AGENTS)
        assert before is not None
        assert after is not None
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
        assert site.get(BUDGET) is None
        assert site.drift(new) == {}

    def test_drift_is_told_by_object_and_field_and_an_installation_heals_it(self, site: Site) -> None:
        site.install()
        site.edit(AGENTS, {"spec": {"replicas": 1}})
        site.edit(DENY_ALL, {"spec": {"ingress": [{}]}})
        site.call("DELETE", f"{CORE}/configmaps/byoc-config")
        old = {"name": "old", "labels": {"byoc.dev/bundle": "cell"}}
        site.make(f"{CORE}/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": old})
        found = site.run({"op": "diff"})["drift"]
        assert {(each["object"], each["change"], *each["fields"]) for each in found} == {
            (f"StatefulSet {NAMESPACE}/{AGENT}", "changed", "spec.replicas"),
            (f"NetworkPolicy {NAMESPACE}/deny-all", "added", "kubectl: spec.ingress"),
            (f"ConfigMap {NAMESPACE}/byoc-config", "missing"),
            (f"ConfigMap {NAMESPACE}/old", "left over"),
        }
        site.install()
        assert site.drift() == {}
        policy = site.get(DENY_ALL)
        assert policy is not None
        assert "ingress" not in policy["spec"]

    def test_what_the_customer_and_the_agent_write_is_theirs(self, site: Site) -> None:
        site.install()
        site.edit(f"{CORE}/configmaps/{POLICY}", {"data": {"policy.toml": "allow = []"}})
        site.edit(f"{CORE}/configmaps/{ENROLMENT}", {"data": {"thumbprint": "abc"}})
        site.edit(f"{CORE}/secrets/{KEYS}", {"data": {"keys.json": "e30="}})
        assert site.drift() == {}
        site.install(package(cell(log_days=30)))
        for path in (f"configmaps/{POLICY}", f"configmaps/{ENROLMENT}", f"secrets/{KEYS}"):
            kept = site.get(f"{CORE}/{path}")
            assert kept is not None
            assert len(kept["data"]) == 1

    def test_a_policy_of_the_stack_wins_over_one_written_by_hand(self, site: Site) -> None:
        site.install()
        site.edit(f"{CORE}/configmaps/{POLICY}", {"data": {"policy.toml": "allow = []"}})
        held = package(cell(policy='allow = ["group.*"]\n'))
        site.install(held)
        found = site.get(f"{CORE}/configmaps/{POLICY}")
        assert found is not None
        assert found["data"] == {"policy.toml": 'allow = ["group.*"]\n'}

    def test_a_policy_that_is_not_given_again_stays_in_force(self, site: Site) -> None:
        """Else an upgrade that does not repeat it would quietly let in what it denies."""
        deny = 'deny = ["workspace.terminate"]\n'
        site.install(package(cell(policy=deny)))
        for _ in range(2):
            site.install()
            assert site.drift() == {}
            found = site.get(f"{CORE}/configmaps/{POLICY}")
            assert found is not None
            assert found["data"] == {"policy.toml": deny}

    def test_a_field_that_is_set_for_ever_costs_the_object_but_not_what_it_owns(self, site: Site) -> None:
        site.install()
        before = site.get(AGENTS)
        new = changed(_other_for_ever)
        assert site.drift(new) == {
            "StorageClass byoc-gp3": "changed",
            f"RoleBinding {NAMESPACE}/{AGENT}": "changed",
            f"RoleBinding {NAMESPACE}/byoc-control": "changed",
            f"StatefulSet {NAMESPACE}/{AGENT}": "changed",
        }
        site.install(new)
        after = site.get(AGENTS)
        assert before is not None
        assert after is not None
        assert before["metadata"]["uid"] != after["metadata"]["uid"]
        assert site.drift(new) == {}

    def test_a_bundle_that_the_server_refuses_costs_nothing(self, site: Site) -> None:
        site.install()
        before = site.get(AGENTS)
        with pytest.raises(UsageError, match="replicas"):
            site.install(changed(_impossible))
        after = site.get(AGENTS)
        assert before is not None
        assert after is not None
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert site.run({"op": "status"})["installed"] == package().digest

    def test_another_bundle_or_cell_than_the_package_holds_is_refused_and_nothing_is_done(
        self, site: Site
    ) -> None:
        for wrong in ({"bundle": "1" * 64}, {"bundle": ""}, {"cell": "other"}):
            with pytest.raises(Conflict):
                site.run(asks(package()) | wrong)
        assert site.get(f"{CORE}/configmaps/{INSTALLED}") is None
        assert site.get(AGENTS) is None

    def test_an_enrolment_goes_to_the_keys_that_were_seen_and_into_one_secret(self, site: Site) -> None:
        site.install()
        event = {"op": "enrol", "thumbprint": "abc", "token": "the-token", "rootKey": {"kty": "OKP"}}
        with pytest.raises(PreconditionFailed):
            site.run(event)
        site.edit(f"{CORE}/configmaps/{ENROLMENT}", {"data": {"thumbprint": "xyz"}})
        with pytest.raises(Conflict) as refused:
            site.run(event)
        assert "the-token" not in str(refused.value)
        assert site.get(f"{CORE}/secrets/{TOKEN}") is None
        site.edit(f"{CORE}/configmaps/{ENROLMENT}", {"data": {"thumbprint": "abc"}})
        assert site.run(event) == {"op": "enrol", "thumbprint": "abc"}
        site.install()
        secret = site.get(f"{CORE}/secrets/{TOKEN}")
        assert secret is not None
        text = base64.b64decode(secret["data"]["enrolment.json"])
        assert json.loads(text) == {"token": "the-token", "rootKey": {"kty": "OKP"}}
        assert site.run({"op": "status"})["thumbprint"] == "abc"

    def test_status_says_what_is_missing(self, site: Site) -> None:
        before = site.run({"op": "status"})
        assert (before["ready"], before["installed"]) == (False, "")
        assert before["reasons"][0] == "nothing is installed, or not all of it"
        site.install()
        after = site.run({"op": "status"})
        assert after["installed"] == package().digest
        assert not after["ready"]
        assert any(AGENT in reason for reason in after["reasons"])


class EndingStories:
    """With a namespace that ends, which takes the real server a quarter of a minute each time."""

    @pytest.mark.parametrize("with_input", [True, False])
    def test_the_end_of_the_stack_takes_everything_out_whatever_bundle_it_names(
        self, site: Site, *, with_input: bool
    ) -> None:
        site.install()
        previous = asks(package()) | {"bundle": "0" * 64}
        event = {"tf": {"action": "delete", "prev_input": previous}} | (previous if with_input else {})
        answer = site.run(event)
        assert answer["op"] == "uninstall"
        assert f"StatefulSet {NAMESPACE}/{AGENT}" in answer["removed"]
        assert set(site.drift().values()) == {"missing"}
        assert site.run(event) == {"op": "uninstall", "removed": []}

    def test_what_others_made_outlives_an_uninstallation(self, site: Site) -> None:
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": []}
        roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
        site.call("DELETE", f"{roles}/somebody-elses")
        site.make(roles, role | {"metadata": {"name": "somebody-elses"}})
        site.install()
        site.run({"op": "uninstall"})
        assert site.get(f"{roles}/somebody-elses") is not None
        assert site.get(f"{roles}/byoc-agent") is None

    def test_a_running_workspace_stops_an_uninstallation_before_it_begins(self, site: Site) -> None:
        site.install()
        site.run_a_workspace()
        with pytest.raises(IllegalState, match=WORKSPACE):
            site.run({"tf": {"action": "delete", "prev_input": asks(package())}})
        assert site.drift() == {}
        assert f"Namespace {NAMESPACE}" in site.run({"op": "uninstall", "force": True})["removed"]

    def test_an_installation_waits_for_an_ending_namespace_but_not_for_ever(self, site: Site) -> None:
        site.install()
        site.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
        with pytest.raises(StillPending, match=NAMESPACE):
            site.run(asks(package()), seconds=0.4)
        site.install()
        assert site.drift() == {}


def _ours(found: Any) -> Any:
    """What was applied, by whom and when; not what controllers write beside it, whenever they do."""
    assert found is not None
    about = found["metadata"]
    by = [each for each in about["managedFields"] if each["manager"] == MANAGER]
    assert by
    return found.get("spec"), found.get("data"), about["uid"], about.get("generation"), by


def _more_memory(each: Json) -> Json:
    if each["kind"] == "StatefulSet":
        container = each["spec"]["template"]["spec"]["containers"][0]
        container["resources"]["limits"]["memory"] = "1Gi"
    return each


def _other_for_ever(each: Json) -> Json:
    if each["kind"] == "StorageClass":
        each["parameters"]["type"] = "io2"
    if each["kind"] == "RoleBinding":
        each["roleRef"] |= {"kind": "ClusterRole", "name": "byoc-engine-operator"}
    if each["kind"] == "StatefulSet":
        [claim] = each["spec"]["volumeClaimTemplates"]
        claim["spec"]["resources"]["requests"]["storage"] = "20Gi"
    return each


def _impossible(each: Json) -> Json:
    if each["kind"] == "StatefulSet":
        each["spec"]["replicas"] = -1
    return each
