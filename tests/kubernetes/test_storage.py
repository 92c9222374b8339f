"""The cell's memory in a real API server, under the rights that the bundle gives: promises, fence, faults."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from byoc.cell.incluster import KEYS, NAMESPACE
from byoc.dataplane.kubernetes.lease import LeaseObject
from byoc.dataplane.kubernetes.objects import COUNTS, EPOCH, ObjectStorage, SharedReplays, buckets
from byoc.dataplane.meter import Compute, Engine, Meter
from byoc.dataplane.replay import Replays
from byoc.dataplane.storage import Deposed, Shelf, StateBroken, Storage
from byoc.dataplane.volumes import LOOK_SECONDS, VolumeMeter
from byoc.errors import Forbidden, Unwritable
from byoc.ids import WorkspaceID, new_id
from byoc.testing import ManualClock
from byoc.testing.cell import GROUP, ORDERS
from tests.contract.storage.stories import Open, StorageStories, opened
from tests.emulated.agents import Home, forget
from tests.emulated.installing import CORE, Site
from tests.kubernetes.conftest import AGENT_USER
from tests.kubernetes.plane import Plane

MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def installed(plane: Plane, module_site: Site) -> Plane:
    module_site.install()
    return plane


@pytest.fixture
def home(installed: Plane) -> Iterator[Home]:
    """The agents' namespace with the whole bundle and no state yet, entered as the agent."""
    forget(lambda method, path, body: installed.ask("admin", method, path, body, kind=MERGE))
    with closing(Home(installed.url, installed.authority, installed.tokens[AGENT_USER])) as made:
        yield made


@pytest.fixture
def reopen(home: Home) -> Open:
    return lambda: opened(home.lead())


@pytest.fixture
def storage(reopen: Open) -> Storage:
    return reopen()


def state_objects(plane: Plane) -> dict[str, Any]:
    found = {}
    for plural in ("configmaps", "secrets"):
        _, answer = plane.ask("admin", "GET", f"{CORE}/{plural}?labelSelector=byoc.dev/state")
        found |= {each["metadata"]["name"]: each for each in answer["items"]}
    return found


class TestStorage(StorageStories):
    """Objects of a real API server keep the promises of every storage."""


class TestFence:
    @pytest.mark.parametrize("shelf", sorted(set(COUNTS) - {Shelf.KEYS}))
    def test_a_deposed_leader_can_neither_change_nor_make_nor_remove_anything(
        self, home: Home, shelf: Shelf
    ) -> None:
        told: list[str] = []
        old = home.lead(deposed=lambda: told.append("deposed"))
        old.change(shelf, {ORDERS.id: b'{"of":"old"}'})
        new = home.lead()
        for change in ({ORDERS.id: b'{"late":1}'}, {GROUP.id: b"{}"}, {ORDERS.id: None}):
            with pytest.raises(Deposed):
                old.change(shelf, change)
        assert dict(new.each(shelf)) == {ORDERS.id: b'{"of":"old"}'}
        assert told == ["deposed"]

    def test_a_write_that_was_under_way_while_another_took_over_fails(self, home: Home) -> None:
        """What a frozen process does when it is thawed: its request was made before and is sent after."""
        old = home.lead()
        old.change(Shelf.WORKSPACES, {ORDERS.id: b'{"n":1}'})
        patch, sent = old._patch, threading.Event()

        def late(*what: Any) -> None:
            if not sent.is_set():
                sent.set()
                home.lead()
            patch(*what)

        old._patch = late  # type: ignore[method-assign]
        with pytest.raises(Deposed):
            old.change(Shelf.WORKSPACES, {ORDERS.id: b'{"n":2}'})
        assert dict(home.lead().each(Shelf.WORKSPACES)) == {ORDERS.id: b'{"n":1}'}

    def test_every_term_has_an_epoch_of_its_own(self, home: Home, installed: Plane) -> None:
        home.lead()
        home.lead()
        marks = {each["metadata"]["annotations"][EPOCH] for name, each in state_objects(installed).items()}
        assert marks == {"2"}

    def test_no_failover_admits_a_request_twice(self, home: Home, clock: ManualClock) -> None:
        first = Replays(SharedReplays(home.lead()), clock)
        first.remember("one", clock.now())
        clock.advance(100)
        second = Replays(SharedReplays(home.lead()), clock)
        # Of a token from the future: clocks that differ must not let it in either.
        assert second.seen("one", clock.now().replace(year=2100))
        assert not second.seen("two", clock.now())
        with pytest.raises(Unwritable):
            first.remember("three", clock.now())

    def test_what_is_past_is_let_go(self, home: Home, clock: ManualClock) -> None:
        storage = home.lead()
        replays = Replays(SharedReplays(storage), clock)
        for number in range(5):
            replays.remember(str(number), clock.now())
            clock.advance(60)
        assert len(list(storage.each(Shelf.REPLAYS))) <= 3


class TestUsage:
    def test_while_workspaces_run_nothing_is_written_but_the_lease_and_little_is_lost(
        self, home: Home, installed: Plane, clock: ManualClock
    ) -> None:
        lease = LeaseObject(home.client(), "agent-0", clock)
        term = lease.take(lease.look(), 0)
        assert term is not None
        meter = Meter(home.lead(carrier=term), new_id)
        engine = Engine(alive=True, ready=True, compute=Compute("S-00", 1, 1), started_at=clock.now())
        running = [WorkspaceID(new_id()) for _ in range(5)]
        for name in running:
            meter.follow(name, engine, clock.now())
        written = versions(installed)
        for _ in range(20):
            clock.advance(30)
            for name in running:
                meter.follow(name, engine, clock.now())
            meter.heartbeat()
            lease.renew(term)
        seen = clock.now()
        assert versions(installed) == written
        # All of it crashes with what came after the last renewal.
        clock.advance(29)
        meter.heartbeat()
        following = LeaseObject(home.client(), "agent-1", clock)
        after = following.take(following.look(), 0)
        assert after is not None
        again = Meter(home.lead(carrier=after), new_id)
        assert {each.last_seen for each in again.intervals()} == {seen}
        clock.advance(600)
        for name in running:
            again.follow(name, Engine(), clock.now())
        assert {each.end for each in again.intervals()} == {seen}

    def test_while_volumes_stay_as_large_nothing_is_written_but_the_lease_and_a_crash_bills_less_not_more(
        self, home: Home, installed: Plane, clock: ManualClock
    ) -> None:
        lease = LeaseObject(home.client(), "agent-0", clock)
        term = lease.take(lease.look(), 0)
        assert term is not None
        meter = VolumeMeter(home.lead(carrier=term), new_id)
        held = {WorkspaceID(new_id()): 2**30 for _ in range(40)}
        began = clock.now().replace(minute=0, second=1) + timedelta(hours=1)
        clock.advance((began - clock.now()).total_seconds())
        lease.renew(term)
        meter.weighed(held, began)
        written = versions(installed)
        for _ in range(10):
            clock.advance(LOOK_SECONDS)
            meter.weighed(held, clock.now())
            lease.renew(term)
        seen = clock.now()
        assert versions(installed) == written
        assert {(each.start, each.until) for each in meter.records()} == {(began, seen)}
        # Whatever the Lease did not carry yet is not told, and is lost with the leader.
        clock.advance(LOOK_SECONDS)
        meter.weighed(held, clock.now())
        told = meter.records()
        assert {each.until for each in told} == {seen}
        following = LeaseObject(home.client(), "agent-1", clock)
        after = following.take(following.look(), 0)
        assert after is not None
        left = VolumeMeter(home.lead(carrier=after), new_id).records()
        assert left == tuple(replace(each, closed=True) for each in told)
        assert {each.byte_seconds for each in left} == {2**30 * int((seen - began).total_seconds())}


def versions(plane: Plane) -> dict[str, str]:
    return {name: each["metadata"]["resourceVersion"] for name, each in state_objects(plane).items()}


class TestFaults:
    def test_a_lost_part_of_the_state_stops_the_start_and_is_named(
        self, home: Home, installed: Plane
    ) -> None:
        home.lead().change(Shelf.WORKSPACES, {ORDERS.id: b"{}"})
        installed.ask("admin", "DELETE", f"{CORE}/configmaps/byoc-state-workspaces-3")
        with pytest.raises(StateBroken, match="byoc-state-workspaces-3 is missing"):
            home.lead()

    def test_a_first_start_that_was_cut_off_goes_on(self, home: Home, installed: Plane) -> None:
        home.lead()
        for bucket in buckets(Shelf.LIFE) + buckets(Shelf.INTERVALS)[5:]:
            installed.ask("admin", "DELETE", f"{CORE}/configmaps/{bucket.name}")
        home.lead().change(Shelf.INTERVALS, {new_id(): b"{}"})

    def test_what_a_person_changed_by_hand_is_put_back_by_the_next_write(
        self, home: Home, installed: Plane
    ) -> None:
        storage = home.lead()
        storage.change(Shelf.LIFE, {"seq": b"1", "incarnation": b"2"})
        edit = {"data": {"seq": "9", "incarnation": None, "other": "x"}}
        installed.ask("admin", "PATCH", f"{CORE}/configmaps/byoc-state-life", edit, kind=MERGE)
        storage.change(Shelf.LIFE, {"heartbeat": b"3"})
        held = state_objects(installed)["byoc-state-life"]["data"]
        assert held == {"seq": "1", "incarnation": "2", "heartbeat": "3"}

    def test_an_answer_that_was_lost_changes_nothing_that_is_not_said_again(self, home: Home) -> None:
        storage = home.lead()
        storage.change(Shelf.LIFE, {"seq": b"1"})
        patch, lost = storage._patch, [True]

        def answered(*what: Any) -> None:
            version = what[0].version
            patch(*what)
            if lost.pop() if lost else False:
                what[0].version = version
                raise Unwritable("the answer was lost")

        storage._patch = answered  # type: ignore[method-assign]
        with pytest.raises(Unwritable):
            storage.change(Shelf.LIFE, {"seq": b"2"})
        storage.change(Shelf.LIFE, {"heartbeat": b"3"})
        assert dict(home.lead().each(Shelf.LIFE)) == {"seq": b"1", "heartbeat": b"3"}

    def test_an_api_that_is_away_fails_at_once_after_the_first_attempt(
        self, home: Home, clock: ManualClock
    ) -> None:
        storage = home.lead(clock=clock)
        storage._client = Home("https://127.0.0.1:1", home.authority, home.token).client()
        with closing(storage._client):
            with pytest.raises(Unwritable, match="cannot be reached"):
                storage.change(Shelf.LIFE, {"seq": b"1"})
            with pytest.raises(Unwritable, match="a moment ago"):
                storage.change(Shelf.LIFE, {"seq": b"1"})
            clock.advance(2)
            with pytest.raises(Unwritable, match="cannot be reached"):
                storage.change(Shelf.LIFE, {"seq": b"1"})

    def test_who_may_not_lead_any_more_writes_nothing(self, home: Home) -> None:
        may = [True]
        storage = home.lead(leading=lambda: may[0])
        storage.change(Shelf.LIFE, {"seq": b"1"})
        may[0] = False
        with pytest.raises(Unwritable, match="may not lead"):
            storage.change(Shelf.LIFE, {"seq": b"2"})
        assert dict(home.lead().each(Shelf.LIFE)) == {"seq": b"1"}


def test_passwords_and_keys_lie_in_secrets_and_nowhere_else(home: Home, installed: Plane) -> None:
    storage = home.lead()
    storage.change(Shelf.PASSWORDS, {GROUP.id: b'{"password":"correct horse"}'})
    storage.change(Shelf.KEYS, {"keys": b'{"private":"d-value"}'})
    _, maps = installed.ask("admin", "GET", f"{CORE}/configmaps")
    assert "correct horse" not in json.dumps(maps)
    assert "d-value" not in json.dumps(maps)
    assert "correct horse" not in repr(vars(storage))
    _, keys = installed.ask("admin", "GET", f"{CORE}/secrets/{KEYS}")
    assert set(keys["data"]) == {"keys.json"}
    assert keys["metadata"]["namespace"] == NAMESPACE


def test_keys_are_made_with_the_state_of_a_new_cell_and_never_beside_a_state_that_is_there(
    home: Home, installed: Plane, module_site: Site
) -> None:
    keys = f"{CORE}/secrets/{KEYS}"
    installed.ask("admin", "DELETE", keys)
    try:
        home.lead().change(Shelf.KEYS, {"keys": b"{}"})
        assert set(installed.ask("admin", "GET", keys)[1]["data"]) == {"keys.json"}
        installed.ask("admin", "DELETE", keys)
        with pytest.raises(StateBroken, match=f"{KEYS} is missing, but the state is not new"):
            home.lead()
    finally:
        module_site.install()


def use_storage(home: Home) -> ObjectStorage:
    """Do everything with the state that an agent does."""
    storage = home.lead()
    storage.change(Shelf.KEYS, {"keys": b"{}"})
    storage.change(Shelf.PASSWORDS, {GROUP.id: b"{}"})
    storage.change(Shelf.WORKSPACES, {ORDERS.id: b"{}"})
    assert storage.read(Shelf.PASSWORDS, GROUP.id) == b"{}"
    return storage


ROLE = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/byoc-agent"


@pytest.mark.parametrize(
    ("resource", "verb"),
    [(resource, verb) for resource in ("configmaps", "secrets") for verb in ("get", "create", "patch")],
)
def test_each_right_on_the_state_is_needed(home: Home, installed: Plane, resource: str, verb: str) -> None:
    _, role = installed.ask("admin", "GET", ROLE)
    less = [
        {**rule, "verbs": [each for each in rule["verbs"] if each != verb]}
        if resource in rule["resources"]
        else rule
        for rule in role["rules"]
    ]
    assert less != role["rules"]
    patched = installed.ask("admin", "PATCH", ROLE, {"rules": less}, kind=MERGE)
    assert patched[0] == 200

    def attempt() -> None:
        """Begin with nothing, again and again: rights count a moment after they changed."""
        for _ in range(200):
            forget(lambda method, path, body: installed.ask("admin", method, path, body, kind=MERGE))
            use_storage(home)

    try:
        with pytest.raises((Forbidden, Unwritable), match="forbidden"):
            attempt()
    finally:
        installed.ask("admin", "PATCH", ROLE, {"rules": role["rules"]}, kind=MERGE)
        _until_allowed(home)


def _until_allowed(home: Home) -> None:
    for _ in range(200):
        try:
            use_storage(home)
        except (Forbidden, Unwritable, StateBroken):
            continue
        return
    pytest.fail("the rights never came back")
