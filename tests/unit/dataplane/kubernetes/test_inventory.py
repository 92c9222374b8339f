"""The record of databases in a bucket: whenever an agent dies, nothing is lost and nothing forgotten."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc.dataplane.kubernetes.inventory import Database, Inventory, Listed, Stage
from byoc.model.report import Reason

NEVER = Inventory(Stage.BACK, "kept/byoc-group-g/w", "eu-central-1")
BOTH = Listed({"orders": "1", "shop": "2"})


def test_a_record_reads_back_as_it_was_written() -> None:
    written = NEVER.begun(replace(BOTH, local=("ledger",))).without(Database("orders", "1"))
    assert Inventory.from_text(written.to_text()) == written


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"stage":"gone"}', '{"stage":"detached","databases":1}'])
def test_a_record_that_is_not_understood_says_nothing(text: str) -> None:
    assert Inventory.from_text(text) is None


def test_volumes_hold_nothing_only_once_a_list_shows_no_database_any_more() -> None:
    begun = NEVER.begun(BOTH)
    done = begun.without(Database("orders", "1")).without(Database("shop", "2"))
    assert [each.away for each in (begun, done, done.begun(Listed()))] == [False, False, True]
    # One that was made meanwhile is detached too.
    assert [each.name for each in done.begun(Listed({"late": "3"})).pending] == ["late"]


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        (replace(BOTH, local=("ledger",)), Reason.DATABASE_ON_VOLUMES),
        (replace(BOTH, elsewhere=("ledger",)), Reason.DATABASE_ELSEWHERE),
    ],
)
def test_what_the_cell_could_not_attach_again_keeps_the_volumes_and_is_named(
    listed: Listed, why: Reason
) -> None:
    kept = NEVER.begun(listed)
    assert (kept.away, kept.kept) == (False, why)
    assert [each.name for each in kept.databases if each.why is why] == ["ledger"]
    # Nothing of it is left once the workspace is back: the next suspension looks anew.
    assert kept.back(listed).kept is None
    assert kept.back(listed).detached == ()


def test_an_engine_that_does_not_tell_what_it_has_comes_back_by_the_record() -> None:
    kept = NEVER.keeping(Reason.DETACH_REFUSED, [])
    assert not kept.settled
    assert kept.back(None).settled
    away = NEVER.begun(BOTH).without(Database("orders", "1")).without(Database("shop", "2")).begun(Listed())
    assert [each.name for each in away.back(None).detached] == ["orders", "shop"]


def test_another_database_of_the_same_name_does_not_make_the_detached_one_forgotten() -> None:
    missing = NEVER.begun(BOTH).back(Listed({"orders": "1"})).unattached(Database("shop", "2"))
    assert [each.storage for each in missing.back(Listed({"orders": "1", "shop": "9"})).detached] == ["2"]
    again = missing.begun(Listed({"orders": "1", "shop": "9"}))
    assert [(each.name, each.storage, each.detached) for each in again.databases] == [
        ("shop", "2", True),
        ("orders", "1", False),
        ("shop", "9", False),
    ]


class Killed(Exception):
    """The agent died."""


@dataclass
class Cluster:
    """An engine, a bucket and a record; an agent dies after ``left`` steps.

    Attributes:
        volumes: what the engine has attached; None where there is neither engine nor volume.
        bucket: what was detached, or can be attached.
        stuck: what the engine will not attach.
    """

    volumes: dict[str, str] | None
    record: Inventory = NEVER
    bucket: dict[str, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    left: int = 0

    def step(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def write(self, record: Inventory) -> None:
        self.step()
        self.record = record
        if record.away:
            # The one thing that must hold: from here on volumes may go.
            assert not self.volumes

    def suspend(self) -> None:
        while not self.record.away:
            assert self.volumes is not None
            self.write(self.record.begun(Listed(dict(self.volumes))))
            for each in self.record.pending:
                self.step()
                self.bucket[each.name] = self.volumes.pop(each.name)
                self.write(self.record.without(each))
        self.step()
        self.volumes = None

    def resume(self) -> None:
        if self.record.stage is Stage.DETACHED:
            self.step()
            self.volumes = None
            self.write(replace(self.record, stage=Stage.RETURNING))
        if self.volumes is None:
            assert self.record.away
            self.step()
            self.volumes = {}
        self.write(self.record.back(Listed(dict(self.volumes))))
        for each in self.record.detached:
            self.step()
            if each.name in self.stuck:
                self.record = self.record.unattached(each)
            else:
                self.volumes[each.name] = each.storage
                self.record = self.record.attached(each)
        self.write(self.record)


def lived(databases: dict[str, str], deaths: Sequence[tuple[bool, int]], stuck: set[str]) -> Cluster:
    """Suspend and resume, each with so many steps to live, and then once more to the end."""
    cluster = Cluster(dict(databases), stuck=set(stuck))
    for suspend, steps in [*deaths, (True, 99), (False, 99)]:
        cluster.left = steps
        with contextlib.suppress(Killed):
            (cluster.suspend if suspend else cluster.resume)()
        assert {**cluster.bucket, **(cluster.volumes or {})} == databases
    assert {each.name for each in cluster.record.detached} == stuck & set(databases)
    cluster.stuck, cluster.left = set(), 99
    cluster.resume()
    assert cluster.record.detached == ()
    return cluster


@pytest.mark.parametrize("going", range(8))
@pytest.mark.parametrize("coming", range(7))
def test_an_agent_that_dies_at_any_step_of_going_or_coming_back_loses_nothing(
    going: int, coming: int
) -> None:
    databases = {"orders": "1", "shop": "2"}
    assert lived(databases, [(True, going), (False, coming)], set()).volumes == databases
    assert lived(databases, [(True, 99), (False, coming), (True, going)], {"shop"}).volumes == databases


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from("1234"), max_size=4),
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=12),
    st.sets(st.sampled_from("abcd")),
)
def test_agents_that_die_anywhere_lose_nothing_and_forget_nothing(
    databases: dict[str, str], deaths: list[tuple[bool, int]], stuck: set[str]
) -> None:
    assert lived(databases, deaths, stuck).volumes == databases
