"""Forwarded services in a cell: who may open which, for how long, and what ends them."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from byoc.dataplane.files import FileStorage
from byoc.dataplane.ledger_verify import read_records
from byoc.dataplane.outward import Outward
from byoc.dataplane.services import NAME, Services
from byoc.dataplane.storage import Shelf
from byoc.errors import Unreachable
from byoc.ids import new_id
from byoc.model.control import Access
from byoc.model.verbs import Verb
from byoc.nimbus.connection import Connection
from byoc.nimbus.inner import Inner, agree, context
from byoc.nimbus.stream import Stream
from byoc.testing import cell as cells
from byoc.testing.clock import ManualClock
from byoc.testing.provider import MemoryProvider
from byoc.testing.runtime import MemoryRuntime
from byoc.testing.transport import memory_pair
from byoc.wire.certificates import Certificate, make_pinned
from byoc.wire.control import dump
from tests.unit.dataplane.site import Answer, Site, assemble
from tests.unit.dataplane.test_outward import Network

POLICY = """
allow = ["workspace.*", "group.*", "service.open"]
{more}
[services]
echo = {{ to = "echo.internal:7", max_life = "10m" }}
"""
TARGET = "/cell/v1/services/echo/open"


@dataclass
class Forwarding:
    """A cell that forwards, and the tunnel's other end."""

    site: Site
    network: Network
    tunnel: Connection
    mine: Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.mine = make_pinned(name="test", now=self.site.cell.clock.now())

    @property
    def services(self) -> Services:
        return self.site.services

    def policy(self, text: str) -> None:
        (self.site.cell.folder / "policy.toml").write_text(text)

    async def ask(self, target: str = TARGET, *, life: int | None = None, **changes: Any) -> Answer:
        wish = {"certificate": self.mine.certificate.decode(), "lifeSeconds": life}
        body = json.dumps(wish).encode()
        token = self.site.token("POST", target, body, **({"verbs": [Verb.SERVICE_OPEN]} | changes))
        return await self.site.call(token, "POST", target, body)

    async def open(self, **changes: Any) -> dict[str, Any]:
        answer = await self.ask(**changes)
        assert answer.status == 200, answer.body
        return answer.json

    async def line(
        self, opened: dict[str, Any], what: str = "line", mine: Certificate | None = None
    ) -> Inner:
        settings = context(mine or self.mine, opened["certificate"], server=False)
        stream = await self.tunnel.open(f"service/{opened['forward']}/{what}", timeout=5)
        return await agree(stream, settings, server=False)

    def records(self, kind: str) -> list[dict[str, Any]]:
        folder = self.site.cell.folder / "ledger"
        return [record for record in read_records(folder) if record["kind"] == kind]

    async def pass_time(self, seconds: float) -> None:
        await self.site.cell.settle(seconds)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def forwarding(folder: Path, clock: ManualClock, provider: MemoryProvider) -> AsyncIterator[Forwarding]:
    async with cells.started(folder, clock, MemoryRuntime(clock), new_id) as cell:
        network = Network()
        outward = Outward(network.resolve, network.connect)
        site = assemble(cell, provider, outward)
        one, other = memory_pair(clock=clock)
        near, far = Connection(one, first_id=1, clock=clock), Connection(other, first_id=2, clock=clock)
        far.allow_streams()

        async def serve(stream: Stream) -> None:
            await stream.accept()
            await site.services.serve(stream)

        runs = [asyncio.create_task(each) for each in (near.run(serve), far.run(serve), site.services.run())]
        await asyncio.sleep(0)
        made = Forwarding(site, network, near)
        made.policy(POLICY.format(more=""))
        try:
            yield made
        finally:
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, return_exceptions=True)
            await network.close()


@pytest.fixture
async def cell(tmp_path: Path, clock: ManualClock, provider: MemoryProvider) -> AsyncIterator[Forwarding]:
    async with forwarding(tmp_path, clock, provider) as made:
        yield made


def rule(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["rule"]


async def test_what_goes_both_ways_is_counted_and_the_end_is_on_record(cell: Forwarding) -> None:
    opened = await cell.open()
    hold, line = await cell.line(opened, "hold"), await cell.line(opened)
    await line.write(b"hello")
    assert await line.read() == b"hello"
    await line.close_write()
    assert await line.read() == b""
    assert cell.services.open == 1
    await hold.close_write()
    assert json.loads(await hold.read()) == {"reason": "closed"}
    (begun,), (ended,) = cell.records("service-opened"), cell.records("service-ended")
    assert (begun["service"], begun["to"], begun["sub"]) == ("echo", "echo.internal:7", "ann@example.com")
    assert begun["addresses"] == ["127.0.0.1"]
    totals = {name: ended[name] for name in ("reason", "connections", "toService", "fromService")}
    assert totals == {"reason": "closed", "connections": 1, "toService": 5, "fromService": 5}
    assert cell.services.open == 0


async def test_nothing_is_forwarded_by_default(cell: Forwarding) -> None:
    (cell.site.cell.folder / "policy.toml").unlink()
    assert rule(await cell.ask()) == (403, "policy-allow")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('deny = ["service.open"]', "policy-deny"),
        ('approval = ["service.*"]', "policy-approval"),
        ('[only_for]\n"service.open" = ["bob@example.com"]', "policy-only-for"),
        ('[windows]\n"service.open" = [{ days = ["mon"] }]', "policy-window"),
        ('[rate]\n"service.open" = "1/1h"', "policy-rate"),
    ],
)
async def test_it_is_a_verb_like_any_other_for_the_policy(cell: Forwarding, more: str, expected: str) -> None:
    cell.policy(POLICY.format(more=more))
    if expected == "policy-rate":
        await cell.open()
    assert rule(await cell.ask()) == (403, expected)


async def test_a_service_that_the_policy_does_not_name_is_refused(cell: Forwarding) -> None:
    assert rule(await cell.ask("/cell/v1/services/other/open")) == (403, "service-unnamed")
    assert cell.records("service-opened") == []


async def test_it_must_be_signed_for(cell: Forwarding) -> None:
    assert rule(await cell.ask(verbs=[Verb.LOGS_READ])) == (403, "verb-not-signed")


async def test_a_command_opens_one_forward_however_often_it_is_sent(cell: Forwarding) -> None:
    body = json.dumps({"certificate": cell.mine.certificate.decode()}).encode()
    token = cell.site.token("POST", TARGET, body, verbs=[Verb.SERVICE_OPEN])
    assert (await cell.site.call(token, "POST", TARGET, body)).status == 200
    assert rule(await cell.site.call(token, "POST", TARGET, body)) == (401, "replayed")
    assert cell.services.open == 1


async def test_a_command_for_another_cell_or_of_a_minute_ago_opens_nothing(cell: Forwarding) -> None:
    assert rule(await cell.ask(cell="77777777-7777-4777-8777-777777777777")) == (401, "wrong-audience")
    now = cell.site.cell.clock.now()
    body = json.dumps({"certificate": cell.mine.certificate.decode()}).encode()
    token = cell.site.token("POST", TARGET, body, verbs=[Verb.SERVICE_OPEN], now=now)
    cell.site.cell.clock.advance(66)
    assert rule(await cell.site.call(token, "POST", TARGET, body)) == (401, "expired")
    assert cell.services.open == 0


async def test_nobody_is_given_a_certificate_other_than_the_one_that_was_signed(cell: Forwarding) -> None:
    body = json.dumps({"certificate": cell.mine.certificate.decode()}).encode()
    token = cell.site.token("POST", TARGET, body, verbs=[Verb.SERVICE_OPEN])
    stranger = make_pinned(name="gateway", now=cell.site.cell.clock.now()).certificate.decode()
    forged = json.dumps({"certificate": stranger}).encode()
    assert rule(await cell.site.call(token, "POST", TARGET, forged)) == (401, "wrong-body")


async def test_whoever_knows_the_name_of_a_forward_but_not_its_key_gets_nothing(cell: Forwarding) -> None:
    opened = await cell.open()
    stranger = make_pinned(name="gateway", now=cell.site.cell.clock.now())
    with pytest.raises(Unreachable):
        # The client's side of TLS 1.3 is done before it is told no.
        await (await cell.line(opened, mine=stranger)).read()
    assert cell.network.dialled == []


async def test_it_ends_when_its_time_is_over_and_its_connections_with_it(cell: Forwarding) -> None:
    opened = await cell.open(life=120)
    hold, line = await cell.line(opened, "hold"), await cell.line(opened)
    await line.write(b"x")
    assert await line.read() == b"x"
    await cell.pass_time(119)
    assert cell.services.open == 1
    await cell.pass_time(3)
    assert json.loads(await hold.read()) == {"reason": "expired"}
    with pytest.raises(Unreachable):
        await line.read()
    with pytest.raises(Unreachable):
        await cell.line(opened)
    assert cell.records("service-ended")[0]["reason"] == "expired"


async def test_nobody_gets_it_for_longer_than_the_policy_says(cell: Forwarding) -> None:
    assert rule(await cell.ask(life=601)) == (403, "service-life")
    opened = await cell.open()
    assert opened["until"].startswith("2030-01-01T00:10:0")


async def test_a_forward_that_nobody_holds_ends_soon(cell: Forwarding) -> None:
    await cell.open()
    await cell.pass_time(32)
    assert cell.records("service-ended")[0]["reason"] == "not-used"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('allow = ["workspace.*"]', "service-unnamed"),
        (POLICY.format(more='deny = ["service.open"]'), "policy-deny"),
        (POLICY.format(more="").replace("echo.internal:7", "echo.internal:8"), "service-unnamed"),
        (POLICY.format(more="").replace("10m", "1s"), "expired"),
    ],
)
async def test_a_change_of_the_policy_ends_what_it_no_longer_allows(
    cell: Forwarding, text: str, expected: str
) -> None:
    opened = await cell.open()
    hold, line = await cell.line(opened, "hold"), await cell.line(opened)
    cell.policy(text)
    await cell.pass_time(3)
    assert json.loads(await hold.read()) == {"reason": expected}
    with pytest.raises(Unreachable):
        await line.read()
    assert cell.records("service-ended")[0]["reason"] == expected


async def test_a_revoked_cell_opens_nothing_and_ends_what_is_open(cell: Forwarding) -> None:
    opened = await cell.open()
    hold = await cell.line(opened, "hold")
    paper = cell.site.cell.folder / "control" / "access.json"
    paper.parent.mkdir(exist_ok=True)
    paper.write_text(dump(Access(True, "ann", cell.site.cell.clock.now(), "drill")))
    # Before anybody has looked at the paper: it is looked at for each connection.
    with pytest.raises(Unreachable):
        await (await cell.line(opened)).read()
    assert cell.network.dialled == []
    await cell.pass_time(3)
    assert json.loads(await hold.read()) == {"reason": "access-revoked"}
    assert rule(await cell.ask()) == (503, "access-revoked")


async def test_the_end_of_the_tunnel_ends_every_forward(cell: Forwarding) -> None:
    opened = await cell.open()
    await cell.line(opened, "hold")
    await cell.tunnel.close("cut")
    await cell.pass_time(1)
    assert cell.records("service-ended")[0]["reason"] == "tunnel-lost"
    assert cell.services.open == 0


async def test_what_a_killed_agent_left_open_is_ended_on_record_by_the_next(
    tmp_path: Path, clock: ManualClock, provider: MemoryProvider
) -> None:
    kept = FileStorage(tmp_path)
    async with forwarding(tmp_path, clock, provider) as first:
        opened = await first.open()
        noted = kept.read(Shelf.LIFE, NAME)
    # As it was at the kill: what the first one tidied up at its end never happened.
    kept.change(Shelf.LIFE, {NAME: noted})
    async with forwarding(tmp_path, clock, provider) as second:
        await second.pass_time(1)
        ended = second.records("service-ended")[-1]
        assert (ended["forward"], ended["reason"]) == (opened["forward"], "agent-gone")
        with pytest.raises(Unreachable):
            await second.line(opened)


async def test_every_minute_what_was_carried_is_on_record(cell: Forwarding) -> None:
    opened = await cell.open()
    await cell.line(opened, "hold")
    line = await cell.line(opened)
    await line.write(b"12345")
    assert await line.read() == b"12345"
    for _ in range(3):
        await cell.pass_time(61)
    (so_far,) = cell.records("service-carried")
    assert (so_far["toService"], so_far["fromService"]) == (5, 5)


async def test_a_name_that_leads_elsewhere_later_is_looked_at_each_time(cell: Forwarding) -> None:
    opened = await cell.open()
    await cell.line(opened, "hold")
    cell.network.names["echo.internal"] = ["169.254.169.254"]
    with pytest.raises(Unreachable):
        await (await cell.line(opened)).read()
    assert cell.network.dialled == []
    assert "metadata" in cell.records("service-refused")[0]["reason"]


async def test_what_is_dialled_is_what_was_checked(cell: Forwarding) -> None:
    opened = await cell.open()
    answers: list[Sequence[str]] = [["127.0.0.1"], ["169.254.169.254"]]

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0)

    object.__setattr__(cell.services._way.outward, "resolve", rebinding)
    line = await cell.line(opened)
    await line.write(b"x")
    assert await line.read() == b"x"
    assert (cell.network.dialled, len(answers)) == ([("127.0.0.1", 7)], 1)


async def test_an_engine_is_refused_when_it_is_asked_for_and_when_it_is_dialled(cell: Forwarding) -> None:
    await cell.site.bring_up()
    port = cell.site.cell.view().endpoint
    assert port is not None
    cell.policy(POLICY.format(more="").replace("echo.internal:7", port))
    assert rule(await cell.ask()) == (403, "service-forbidden")


async def test_what_cannot_be_put_on_record_is_not_opened(
    cell: Forwarding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("byoc.dataplane.services.MOST", 0)
    assert rule(await cell.ask()) == (429, "too-many-requests")
    assert cell.records("service-opened") == []


@pytest.mark.parametrize("body", [b"", b"{}", b'{"certificate": "x"}', b'{"certificate": "x", "life": 1}'])
async def test_a_wish_that_is_not_understood_opens_nothing(cell: Forwarding, body: bytes) -> None:
    token = cell.site.token("POST", TARGET, body, verbs=[Verb.SERVICE_OPEN])
    assert rule(await cell.site.call(token, "POST", TARGET, body)) == (403, "bad-request")
