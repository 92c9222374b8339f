"""What every store must do: all or nothing, durable before told, one picture for each reader."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from byoc.errors import Conflict, IllegalState
from byoc.store.seam import Store
from byoc.store.transaction import Transaction
from tests.contract.store.seeds import GROUP, NOW, base, group, workspace


def names(tx: Transaction) -> list[str]:
    return sorted(record.spec.name for record in tx.workspaces.of_group(GROUP, include_terminated=False))


async def test_a_reader_sees_what_was_written_before(store: Store) -> None:
    await store.write(base)
    await store.write(lambda tx: tx.workspaces.add(workspace("w1")))
    assert await store.read(names) == ["name of w1"]
    assert await store.scan(names) == ["name of w1"]


async def test_write_returns_what_the_change_returns(store: Store) -> None:
    assert await store.write(lambda tx: len(tx.cells.all())) == 0


async def test_a_change_that_raises_writes_nothing_and_its_error_reaches_its_caller(store: Store) -> None:
    await store.write(base)

    def change(tx: Transaction) -> None:
        tx.workspaces.add(workspace("w1"))
        raise IllegalState("no")

    with pytest.raises(IllegalState):
        await store.write(change)
    assert await store.read(names) == []


async def test_the_failure_of_one_change_is_not_its_neighbours(store: Store) -> None:
    await store.write(base)

    def failing(tx: Transaction) -> None:
        tx.workspaces.add(workspace("bad"))
        raise IllegalState("no")

    changes: list[Any] = [lambda tx, n=n: tx.workspaces.add(workspace(f"w{n}")) for n in range(3)]
    changes.insert(1, failing)
    outcomes = await asyncio.gather(*map(store.write, changes), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), IllegalState, type(None), type(None)]
    assert await store.read(names) == ["name of w0", "name of w1", "name of w2"]


async def test_a_broken_constraint_is_a_conflict(store: Store) -> None:
    await store.write(base)
    with pytest.raises(Conflict):
        await store.write(base)
    with pytest.raises(Conflict):
        await store.write(lambda tx: tx.groups.put_sealed("nowhere", 1, "blob", NOW))
    assert len(await store.read(lambda tx: tx.identities.organizations())) == 1


async def test_changes_run_one_after_the_other(store: Store) -> None:
    await store.write(base)

    def add(tx: Transaction) -> int:
        count = len(names(tx))
        tx.workspaces.add(workspace(f"w{count}"))
        return count

    assert await asyncio.gather(*(store.write(add) for _ in range(40))) == list(range(40))


async def test_listeners_hear_the_topics_of_what_was_committed_only(store: Store) -> None:
    heard: list[str] = []
    store.listen(lambda topics: heard.extend(sorted(topics)))

    def named(*topics: str, fail: bool = False) -> Any:
        def change(tx: Transaction) -> None:
            tx.topics.update(topics)
            if fail:
                raise IllegalState("no")

        return change

    await asyncio.gather(
        store.write(named("a")),
        store.write(named("b", fail=True)),
        store.write(named("c")),
        return_exceptions=True,
    )
    await store.write(named())
    assert heard == ["a", "c"]


async def test_a_listener_hears_after_the_commit_is_visible(store: Store) -> None:
    await store.write(base)
    seen: list[asyncio.Task[list[str]]] = []
    store.listen(lambda _: seen.append(asyncio.ensure_future(store.read(names))))

    def change(tx: Transaction) -> None:
        tx.workspaces.add(workspace("w1"))
        tx.topics.add("w1")

    await store.write(change)
    assert await seen[0] == ["name of w1"]


async def test_a_caller_that_gives_up_does_not_disturb_the_others(store: Store) -> None:
    await store.write(base)
    writes = [
        asyncio.ensure_future(store.write(lambda tx, n=n: tx.workspaces.add(workspace(f"w{n}"))))  # type: ignore[misc]
        for n in range(4)
    ]
    await asyncio.sleep(0)
    writes[1].cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    assert {"name of w0", "name of w2", "name of w3"} <= set(await store.read(names))


async def test_everything_is_there_when_it_is_opened_again(opener: Any, tmp_path: Path) -> None:
    first = opener(tmp_path)
    await first.write(base)
    pending = [
        asyncio.ensure_future(first.write(lambda tx, n=n: tx.workspaces.add(workspace(f"w{n}"))))
        for n in range(50)
    ]
    await asyncio.sleep(0)
    await first.close()
    await asyncio.gather(*pending)
    second = opener(tmp_path)
    assert len(await second.read(names)) == 50
    await second.close()


async def test_a_scan_does_not_stop_the_loop_or_the_writer(store: Store) -> None:
    await store.write(base)
    entered, go_on = threading.Event(), threading.Event()

    def slow(tx: Transaction) -> list[str]:
        before = names(tx)
        entered.set()
        assert go_on.wait(10)
        assert names(tx) == before
        return before

    scanning = asyncio.ensure_future(store.scan(slow))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    await store.write(lambda tx: tx.workspaces.add(workspace("w1")))
    assert await store.read(names) == ["name of w1"]
    go_on.set()
    assert await scanning == []


async def test_live_names_and_ended_ones(store: Store) -> None:
    await store.write(base)
    await store.write(lambda tx: tx.groups.add(group("g2")))
    await store.write(lambda tx: tx.groups.terminate("g2", NOW))
    assert await store.read(lambda tx: tx.groups.named("o1", "name of g1")) == "g1"
    assert await store.read(lambda tx: tx.groups.named("o1", "name of g2")) is None
    assert await store.read(lambda tx: tx.groups.count_live()) == 1
