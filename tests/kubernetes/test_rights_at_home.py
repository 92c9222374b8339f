"""The agent's rights in its own namespace: without any one of them it is refused what it is for."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from byoc.cell.incluster import AGENT, ENROLMENT, NAMESPACE, TOKEN
from byoc.cell.rights import AGENT_AT_HOME, rights
from byoc.clock import SystemClock
from byoc.dataplane.kubernetes.lease import LeaseObject
from byoc.dataplane.kubernetes.notice import Notice, put_token_away
from byoc.errors import Forbidden
from tests.emulated.agents import Home
from tests.emulated.installing import CORE, Site
from tests.kubernetes.cell import put
from tests.kubernetes.conftest import AGENT_USER
from tests.kubernetes.plane import Plane

Json = dict[str, Any]
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@pytest.fixture
def home(plane: Plane, module_site: Site) -> Iterator[Home]:
    module_site.install()
    with closing(Home(plane.url, plane.authority, plane.tokens[AGENT_USER])) as made:
        yield made
    for each in rights():
        put(plane, each)


def leads(home: Home) -> None:
    lease = LeaseObject(home.client(), "agent-0", SystemClock())
    assert lease.take(lease.look(), 0) is not None


def looks(home: Home) -> None:
    LeaseObject(home.client(), "agent-0", SystemClock()).look()


def shows(home: Home) -> None:
    Notice(home.client(), SystemClock())._write({"standing": "well"})


def puts_away(home: Home) -> None:
    put_token_away(home.client())


@pytest.mark.parametrize(
    ("resource", "verb", "name", "work"),
    [
        ("leases", "get", AGENT, looks),
        ("leases", "patch", AGENT, leads),
        ("configmaps", "patch", ENROLMENT, shows),
        ("secrets", "delete", TOKEN, puts_away),
    ],
)
def test_without_it_the_agent_is_refused_and_with_it_it_is_not(
    home: Home, plane: Plane, resource: str, verb: str, name: str, work: Callable[[Home], None]
) -> None:
    secret: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": TOKEN}}
    plane.ask("admin", "POST", f"{CORE}/secrets", secret)
    work(home)
    (role,) = (each for each in rights() if (each["kind"], each["metadata"]["name"]) == ("Role", AGENT))
    role["rules"] = [_without(each.rule(), resource, verb) for each in AGENT_AT_HOME]
    put(plane, role)
    group = "coordination.k8s.io" if resource == "leases" else ""
    asked = {"group": group, "resource": resource, "verb": verb, "name": name, "namespace": NAMESPACE}
    _until_denied(plane, asked)
    with pytest.raises(Forbidden):
        work(home)


def _without(rule: Json, resource: str, verb: str) -> Json:
    verbs = [each for each in rule["verbs"] if resource not in rule["resources"] or each != verb]
    # A rule says what it is about also where nothing is left that may be done.
    return {**rule, "verbs": verbs or ["list"]}


def _until_denied(plane: Plane, asked: Json) -> None:
    question: Json = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    ends = time.monotonic() + 30
    while plane.ask(AGENT_USER, "POST", REVIEWS, question)[1]["status"]["allowed"]:
        assert time.monotonic() < ends, asked
        time.sleep(0.05)
