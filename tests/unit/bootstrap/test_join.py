import asyncio
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from byoc.bootstrap.join import Joining, join
from byoc.errors import Conflict, Failed, StillPending
from byoc.testing.clock import ManualClock

MINUTE = 60.0


@dataclass(frozen=True)
class Cell:
    cell_id: str = "c-1"
    name: str = "sales"
    state: str = "pending"
    connected: bool = False
    provider: str = "AWS"
    region_name: str = "eu-west-1"


@dataclass
class World:
    """A control plane and a cell whose agent comes up at a given time; both only remember."""

    clock: ManualClock
    shows_keys_at: float = 0.0
    ready_at: float = 0.0
    known: list[Cell] = field(default_factory=list)
    grants: list[tuple[float, str]] = field(default_factory=list)
    handed: list[dict[str, Any]] = field(default_factory=list)
    dials: bool = True
    refuses: str = ""
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock.monotonic()

    @property
    def elapsed(self) -> float:
        return self.clock.monotonic() - self.began

    # the control plane
    async def list(self) -> list[Cell]:
        return self.known

    async def register(self, **fields: Any) -> Cell:
        cell = Cell(name=fields["name"], provider=fields["provider"], region_name=fields["regionName"])
        self.known.append(cell)
        return cell

    async def enrolment(self, cell_id: str, thumbprint: str) -> Any:
        assert cell_id == "c-1"
        self.grants.append((self.elapsed, thumbprint))
        return SimpleNamespace(raw={"token": f"for {thumbprint}", "rootKey": {"kty": "OKP"}})

    async def get(self, cell_id: str) -> Cell:
        assert cell_id == "c-1"
        return replace(self.known[-1], connected=bool(self.handed) and self.dials)

    # the cell
    async def call(self, op: str, **values: Any) -> dict[str, Any]:
        if self.refuses:
            raise Failed(self.refuses)
        if op == "enrol":
            self.handed.append(values)
            return {"op": op}
        assert op == "status"
        shown = "thumb" if self.elapsed >= self.shows_keys_at else ""
        ready = self.elapsed >= self.ready_at
        return {
            "ready": ready,
            "reasons": [] if ready else ["StatefulSet nimbus has 0 of 2 pods ready"],
            "thumbprint": shown,
            "standing": "dialling the gateway",
        }


async def run(
    world: World, *, patience: float = 60 * MINUTE, elapse: float = 60 * MINUTE
) -> tuple[Any, list[str]]:
    told: list[str] = []
    joining = Joining(name="sales", region="eu-west-1", timeout=patience, tell=told.append)
    task = asyncio.create_task(join(joining, world, world, world.clock))
    await world.clock.elapse(elapse)
    return await asyncio.gather(task, return_exceptions=True), told


async def test_a_cluster_that_takes_forty_minutes_gets_its_token_when_it_shows_its_keys() -> None:
    world = World(ManualClock(), shows_keys_at=40 * MINUTE, ready_at=41 * MINUTE)
    (answer,), told = await run(world)
    assert answer == "c-1"
    ((when, thumbprint),) = world.grants
    assert 40 * MINUTE <= when < 41 * MINUTE
    assert thumbprint == "thumb"
    assert world.handed == [{"thumbprint": "thumb", "token": "for thumb", "rootKey": {"kty": "OKP"}}]
    assert told[0] == "waiting: StatefulSet nimbus has 0 of 2 pods ready"
    assert 35 <= len(told) <= 50  # the same reason once a minute, no oftener


async def test_a_cell_that_is_connected_already_is_not_enrolled_again() -> None:
    world = World(ManualClock(), known=[Cell(connected=True, state="enrolled")])
    (answer,), _ = await run(world)
    assert answer == "c-1"
    assert world.grants == []
    assert world.handed == []


async def test_a_run_after_an_interrupted_one_uses_the_record_that_is_there() -> None:
    world = World(ManualClock(), known=[Cell()])
    (answer,), _ = await run(world)
    assert answer == "c-1"
    assert len(world.known) == 1
    assert len(world.handed) == 1


async def test_a_retired_cell_of_the_same_name_is_left_alone() -> None:
    world = World(ManualClock(), known=[Cell(cell_id="old", state="retired")])
    (answer,), _ = await run(world)
    assert answer == "c-1"
    assert len(world.known) == 2


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (Cell(region_name="us-east-1"), "registered already"),
        (Cell(provider="GCP"), "registered already"),
        (Cell(state="contested"), "with other keys"),
    ],
)
async def test_a_record_that_is_another_cells_is_refused_before_a_token_is_made(
    cell: Cell, words: str
) -> None:
    world = World(ManualClock(), known=[cell])
    (answer,), _ = await run(world)
    assert isinstance(answer, Conflict)
    assert words in answer.message
    assert world.grants == []


async def test_a_wait_that_is_over_says_what_it_waited_for() -> None:
    world = World(ManualClock(), shows_keys_at=99 * MINUTE, ready_at=99 * MINUTE)
    (answer,), _ = await run(world, patience=10 * MINUTE)
    assert isinstance(answer, StillPending)
    assert answer.message.endswith("after 600 s: StatefulSet nimbus has 0 of 2 pods ready")


async def test_an_agent_that_does_not_get_through_tells_its_own_reason() -> None:
    world = World(ManualClock(), dials=False)
    (answer,), told = await run(world, patience=5 * MINUTE)
    assert isinstance(answer, StillPending)
    assert "dialling the gateway" in answer.message
    assert told[-1] == "waiting: dialling the gateway"


async def test_what_the_function_refuses_ends_the_wait() -> None:
    world = World(ManualClock(), refuses="the function could not status: no such cluster")
    (answer,), _ = await run(world)
    assert isinstance(answer, Failed)
    assert "no such cluster" in answer.message
