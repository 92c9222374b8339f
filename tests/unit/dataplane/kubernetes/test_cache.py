"""What the cache believes: the newer of two tellings, whole objects, and nothing of who is no workspace."""

import asyncio
import json
from copy import deepcopy
from typing import Any

import pytest
from lightkube import KubeConfig

from byoc.dataplane.kubernetes import kinds, manifests, names
from byoc.dataplane.kubernetes.cache import Cache
from byoc.dataplane.kubernetes.chosen import chosen
from byoc.dataplane.kubernetes.client import Cluster
from byoc.dataplane.kubernetes.kinds import kind_of
from byoc.ids import WorkspaceID
from byoc.testing.clock import ManualClock
from tests.unit.dataplane.kubernetes.goldens import EXAMPLES, SETTINGS, WORKSPACE, objects
from tests.unit.dataplane.kubernetes.test_client import CONFIG

Json = dict[str, Any]
EXAMPLE = EXAMPLES["mysql-S-1"]


def told(manifest: Json, number: int) -> Json:
    """Return an object as a list tells it: without its kind."""
    found = {name: deepcopy(value) for name, value in manifest.items() if name not in {"apiVersion", "kind"}}
    found["metadata"] |= {"resourceVersion": str(number), "uid": "u", "generation": 1}
    return found


class Site:
    def __init__(self) -> None:
        self.rung: list[WorkspaceID] = []
        clock = ManualClock()
        cluster = Cluster(KubeConfig.from_dict(CONFIG), clock)
        self.cache = Cache(cluster, chosen(SETTINGS), clock, self.rung.append)

    def tell_all(self) -> None:
        for number, each in enumerate(objects(EXAMPLE), 1):
            self.cache.note(kind_of(each), told(each, number))

    @property
    def amiss(self) -> bool:
        return self.cache.amiss(self.cache.view(WORKSPACE))

    @property
    def missed(self) -> list[tuple[str, str]]:
        return self.cache.missed(self.cache.view(WORKSPACE))


@pytest.fixture
def site() -> Site:
    made = Site()
    made.tell_all()
    return made


def wall(number: int, **changed: object) -> Json:
    (found,) = (each for each in manifests.watched(EXAMPLE, SETTINGS) if each["metadata"]["name"] == "sql")
    made = told(found, number)
    made["spec"] |= changed
    return made


def test_what_a_list_tells_is_whole(site: Site) -> None:
    view = site.cache.view(WORKSPACE)
    assert not site.amiss
    assert view.space is not None
    assert view.space.intended == EXAMPLE
    assert view.claim is not None
    assert view.claim.disk_gib == 320


def test_a_changed_object_is_amiss_and_rings_and_one_put_back_is_not(site: Site) -> None:
    rung = len(site.rung)
    site.cache.note(kinds.NETWORK_POLICY, wall(60, ingress=[{}]))
    assert (site.amiss, site.rung[rung:]) == (True, [WORKSPACE])
    site.cache.note(kinds.NETWORK_POLICY, wall(61))
    assert not site.amiss


ALL = [pytest.param(each, id=f"{each['kind']}-{each['metadata']['name']}") for each in objects(EXAMPLE)]
WATCHED = [each for each in ALL if not str(each.id).startswith("PersistentVolumeClaim")]


@pytest.mark.parametrize("made", WATCHED)
def test_any_object_but_a_volume_is_missed_once_it_is_gone_or_bears_our_labels_no_more(
    site: Site, made: Json
) -> None:
    kind, name, number = kind_of(made), made["metadata"]["name"], 70
    for label in made["metadata"]["labels"]:
        edited = told(made, number)
        edited["metadata"]["labels"][label] = "other"
        site.cache.note(kind, edited)
        assert site.missed == [(kind.name, name)]
        number += 1
    site.cache.note(kind, told(made, number))
    assert site.missed == []
    site.cache.note_gone(kind, WORKSPACE, name, number)
    assert site.missed == [(kind.name, name)]
    assert site.amiss


@pytest.mark.parametrize(
    "made", [each for each in ALL if each.id in {"Secret-byoc-engine", "ConfigMap-byoc-engine"}]
)
def test_another_content_is_missed_and_what_somebody_adds_is_theirs(site: Site, made: Json) -> None:
    for key in made["data"]:
        for changed in ({key: "b3RoZXI="}, {}):
            edited = told(made, 70)
            del edited["data"][key]
            edited["data"] |= changed
            site.cache.note(kind_of(made), edited)
            assert site.amiss, key
    more = told(made, 71)
    more["data"]["theirs"] = "b3RoZXI="
    site.cache.note(kind_of(made), more)
    assert not site.amiss


def test_a_secret_without_a_seal_is_amiss_and_none_is_remembered(site: Site) -> None:
    (made,) = (each for each in objects(EXAMPLE) if each["kind"] == "Secret")
    unsealed = told(made, 70)
    unsealed["metadata"]["annotations"] = {}
    site.cache.note(kinds.SECRET, unsealed)
    assert site.amiss
    assert made["data"]["tls.key"] not in repr(site.cache.view(WORKSPACE))


def test_a_namespace_whose_word_somebody_took_away_is_amiss_while_there_is_a_volume(site: Site) -> None:
    space = told(manifests.space(EXAMPLE), 70)
    space["metadata"]["annotations"] = {}
    site.cache.note(kinds.NAMESPACE, space)
    assert site.missed == [("Namespace", names.namespace(WORKSPACE))]
    assert site.amiss
    site.cache.note_gone(kinds.CLAIM, WORKSPACE, names.CLAIM, 80)
    assert not site.amiss


def test_of_two_tellings_the_newer_stands(site: Site) -> None:
    site.cache.note(kinds.NETWORK_POLICY, wall(70))
    site.cache.note(kinds.NETWORK_POLICY, wall(60, ingress=[{}]))
    assert not site.amiss


def test_a_removed_object_is_amiss_unless_it_was_made_anew(site: Site) -> None:
    site.cache.note(kinds.NETWORK_POLICY, wall(70))
    site.cache.note_gone(kinds.NETWORK_POLICY, WORKSPACE, "sql", 65)
    assert not site.amiss
    site.cache.note_gone(kinds.NETWORK_POLICY, WORKSPACE, "sql", 75)
    assert site.amiss


async def test_a_list_that_names_an_object_no_more_takes_it_away(site: Site) -> None:
    await site.cache._replace(kinds.CLAIM, [], 80)
    assert site.cache.view(WORKSPACE).claim is None
    for kind in {kind_of(each) for each in objects(EXAMPLE)}:
        await site.cache._replace(kind, [], 80)
    assert site.cache.view(WORKSPACE).empty
    assert site.cache.views == {}


def test_what_is_no_workspace_s_is_nothing_to_it(site: Site) -> None:
    before = len(site.rung)
    other = {"metadata": {"name": "other", "resourceVersion": "9"}}
    site.cache.note(kinds.NAMESPACE, other)
    site.cache.note(kinds.POD, {"metadata": {"name": "p", "namespace": "default", "resourceVersion": "9"}})
    assert len(site.rung) == before
    assert set(site.cache.views) == {WORKSPACE}


async def test_news_of_a_workspace_ends_a_wait_for_them(site: Site) -> None:

    waiting = asyncio.ensure_future(site.cache.news(WORKSPACE, 60))
    await asyncio.sleep(0)
    site.cache.note(kinds.NETWORK_POLICY, wall(60))
    await asyncio.wait_for(waiting, 5)
    assert waiting.done()


@pytest.mark.parametrize("size", [[], "S-99", None, 7])
def test_an_object_that_nobody_understands_ends_no_watch(site: Site, size: object) -> None:
    """Somebody else made a namespace like a workspace's, with words of their own in it."""
    space = told(manifests.space(EXAMPLE), 90)
    other = WorkspaceID("99999999-9999-4999-8999-999999999999")
    space["metadata"]["name"] = names.namespace(other)
    said = json.loads(space["metadata"]["annotations"][names.INTENDED]) | {"size": size}
    space["metadata"]["annotations"][names.INTENDED] = json.dumps(said)
    site.cache.note(kinds.NAMESPACE, space)
    strange = wall(91)
    strange["metadata"]["namespace"] = names.namespace(other)
    site.cache.note(kinds.NETWORK_POLICY, strange)
    claim = told(manifests.claim(EXAMPLE, SETTINGS), 92)
    claim["metadata"]["namespace"] = names.namespace(other)
    claim["spec"] = {}
    site.cache.note(kinds.CLAIM, claim)

    site.cache.note(kinds.CLAIM, told(manifests.claim(EXAMPLE, SETTINGS), 93))
    held = site.cache.view(WORKSPACE).claim
    assert held is not None
    assert held.version == 93


async def test_a_long_list_leaves_the_loop_to_others_in_between(site: Site) -> None:
    rounds = 0

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(others())
    namespace = told(manifests.space(EXAMPLE), 60)
    await site.cache._replace(kinds.NAMESPACE, [namespace] * 400, 60)
    working.cancel()
    assert rounds >= 20
