"""Two agents of one cell: one leads, and whatever becomes of it, the other is the cell soon after."""

import asyncio
import base64
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from byoc.cell.control.papers import ApiPapers
from byoc.cell.installer.api import Api
from byoc.cell.installer.budget import Budget
from byoc.clock import SystemClock
from byoc.dataplane.ledger_verify import verify
from byoc.errors import ByocError
from byoc.model.control import Access
from byoc.model.spec import Desired
from byoc.testing.cell import GROUP, ORDERS, OTHER, following
from byoc.testing.provider import MemoryProvider
from byoc.testing.runtime import MemoryRuntime
from byoc.wire.control import set_access, standing
from byoc.wire.jws import Fault
from tests.emulated.agents import forget
from tests.emulated.installing import CORE
from tests.emulated.installing import Site as Cluster
from tests.integration.agent.conftest import CELL, ControlPlane, Site
from tests.kubernetes.cell import AGENT_USER
from tests.kubernetes.pair import LEASE, Pair
from tests.kubernetes.plane import Plane

MERGE = "application/merge-patch+json"
TOKEN = f"{CORE}/secrets/byoc-enrolment-token"


@pytest.fixture(scope="module")
def installed(plane: Plane, module_site: Cluster) -> Plane:
    module_site.install()
    return plane


@pytest.fixture
async def pair(installed: Plane, tmp_path: Path) -> AsyncIterator[Pair]:
    """Two agents that stand, behind a gateway; the cell is not enrolled yet."""
    forget(lambda method, path, body: installed.ask("admin", method, path, body, kind=MERGE))
    clock = SystemClock()
    site = Site(tmp_path / "site", ControlPlane(MemoryProvider(clock, CELL)), MemoryRuntime(clock))
    made = Pair(installed, site, tmp_path).make()
    async with site.gateway():
        await asyncio.to_thread(made.start)
        try:
            yield made
        finally:
            await asyncio.to_thread(made.stop)


async def bring_up(pair: Pair) -> None:
    await pair.enrol()
    await deliver(pair, GROUP, password="first")
    await deliver(pair, ORDERS)


async def deliver(pair: Pair, spec: Any, **more: Any) -> None:
    """Deliver as the dispatcher does: again, signed anew, until the cell has it."""
    async with asyncio.timeout(60):
        while True:
            try:
                answer = await pair.site.controlplane.deliver(spec, **more)
            except (ByocError, KeyError):
                answer = None
            if answer is not None and answer.status == 200:
                return
            await asyncio.sleep(0.2)


def known(pair: Pair) -> set[str]:
    """What the newest full report names."""
    full = [each for each in pair.site.controlplane.reports if each.full][-1]
    return {each.id for each in full.workspaces} | {each.id for each in full.groups}


async def test_one_leads_and_shows_itself_the_other_waits(pair: Pair) -> None:
    await pair.until("a thumbprint is shown", lambda: pair.shown.get("thumbprint"))
    await pair.until("it says what it waits for", lambda: pair.shown.get("standing"))
    assert pair.shown["standing"] == "waiting for enrolment"
    leader, other = pair.leader(), pair.other()
    await pair.until("the other says who leads", lambda: other.standing() == f"{leader.name} leads")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "byoc-enrolment-token"}}
    pair.plane.ask("admin", "POST", f"{CORE}/secrets", secret)
    await bring_up(pair)
    assert not (other.cell / "keys.json").exists()
    assert not (leader.cell / "keys.json").exists()
    assert other.records() == []
    await pair.until("the used token is gone", lambda: pair.plane.ask("admin", "GET", TOKEN)[0] == 404)


LOST: dict[str, Callable[[Any], None]] = {
    "killed": lambda one: one.kill(),
    "stopped as asked": lambda one: one.stop(),
    "frozen": lambda one: one.send(signal.SIGSTOP),
}


@pytest.mark.parametrize("how", LOST)
async def test_when_the_leader_is_lost_the_other_is_the_cell(pair: Pair, how: str) -> None:
    await bring_up(pair)
    thumbprint, epoch = pair.shown["thumbprint"], pair.epoch
    leader, other = pair.leader(), pair.other()
    reports = len(pair.site.controlplane.reports)
    await asyncio.to_thread(LOST[how], leader)
    await pair.until("the other leads", lambda: pair.holder == other.name)
    assert pair.epoch == epoch + 1
    await deliver(pair, OTHER)
    await deliver(pair, following(ORDERS, desired=Desired.SUSPENDED))
    await pair.until("a full report of both", lambda: len(pair.site.controlplane.reports) > reports)
    await pair.until("all is known", lambda: known(pair) >= {GROUP.id, ORDERS.id})
    assert pair.shown["thumbprint"] == thumbprint
    incarnations = {each.incarnation for each in pair.site.controlplane.reports}
    assert len(incarnations) == 1
    numbers = [each.seq for each in pair.site.controlplane.reports]
    assert numbers == sorted(set(numbers))
    terms = [each for one in pair.agents for each in one.records() if each["kind"] == "leader"]
    assert {each["epoch"]: each["holder"] for each in terms} == {epoch: leader.name, epoch + 1: other.name}


async def test_a_frozen_leader_that_is_thawed_does_nothing_more_and_stands_again(pair: Pair) -> None:
    await bring_up(pair)
    leader, other = pair.leader(), pair.other()
    leader.send(signal.SIGSTOP)
    await pair.until("the other leads", lambda: pair.holder == other.name)
    await deliver(pair, OTHER)
    before = pair.plane.ask("admin", "GET", f"{CORE}/configmaps?labelSelector=byoc.dev/state")[1]["items"]
    leader.send(signal.SIGCONT)
    await pair.until("it has seen who leads", lambda: leader.standing() == f"{other.name} leads")
    after = pair.plane.ask("admin", "GET", f"{CORE}/configmaps?labelSelector=byoc.dev/state")[1]["items"]
    marks = {each["metadata"]["annotations"]["byoc.dev/epoch"] for each in before + after}
    assert marks == {str(pair.epoch)}
    await asyncio.to_thread(other.kill)
    await pair.led_by(leader.name)
    await deliver(pair, following(OTHER, desired=Desired.SUSPENDED))


async def test_a_request_that_one_leader_let_in_the_next_refuses(pair: Pair) -> None:
    await bring_up(pair)
    provider = pair.site.controlplane.provider
    spec = following(ORDERS, size="S-0")
    signed = provider.delivery(spec, ORDERS)
    assert (await pair.site.controlplane.send(signed)).status == 200
    pair.site.controlplane.held[ORDERS.id] = spec
    leader, other = pair.leader(), pair.other()
    await asyncio.to_thread(leader.stop)
    await pair.led_by(other.name)
    assert pair.site.controlplane.client is not None
    with pytest.raises(KeyError):  # refused before it was let in: not even the answer is signed
        await pair.site.controlplane.send(signed)
    refusals = [each for each in other.records() if each["kind"] == "unauthenticated"]
    assert [each["rule"] for each in refusals] == [Fault.REPLAYED]


async def test_each_agent_has_a_chain_of_its_own_that_verifies(pair: Pair) -> None:
    await bring_up(pair)
    leader, other = pair.leader(), pair.other()
    await asyncio.to_thread(leader.stop)
    await pair.led_by(other.name)
    await deliver(pair, OTHER)
    asked = {}
    for one in pair.agents:
        found = verify(one.cell / "ledger", {}, cell=CELL)
        assert found.ok, found.summary()
        asked[one.name] = [each["target"] for each in one.records() if each["kind"] == "received"]
    assert any(ORDERS.id in each for each in asked[leader.name])
    assert not any(ORDERS.id in each for name, each in asked.items() if name != leader.name)


async def test_what_must_not_be_read_is_in_secrets_only(pair: Pair) -> None:
    await bring_up(pair)
    _, maps = pair.plane.ask("admin", "GET", f"{CORE}/configmaps")
    _, keys = pair.plane.ask("admin", "GET", f"{CORE}/secrets/byoc-keys")
    private = base64.b64decode(keys["data"]["keys.json"]).decode()
    assert '"d"' in private
    text = str(maps)
    assert "first" not in [each for item in maps["items"] for each in (item.get("data") or {}).values()]
    assert private.split('"d":"')[1].split('"')[0] not in text
    assert '"first"' not in text
    for one in pair.agents:
        assert '"first"' not in one.log
        for path in one.cell.rglob("*"):
            assert not path.is_file() or b'"password":"first"' not in path.read_bytes()


async def test_a_lease_that_is_another_ends_the_term(pair: Pair) -> None:
    await bring_up(pair)
    leader = pair.leader()
    await asyncio.to_thread(
        pair.plane.ask, "admin", "PATCH", LEASE, {"spec": {"holderIdentity": "somebody"}}, kind=MERGE
    )
    await pair.until("it lets go", lambda: leader.standing() == "somebody leads")
    await pair.led_by()


async def test_while_the_api_server_is_away_nothing_is_lost_and_afterwards_all_goes_on(pair: Pair) -> None:
    await bring_up(pair)
    epoch = pair.epoch
    await asyncio.to_thread(pair.plane.kill, "kube-apiserver")
    try:
        spec = following(ORDERS, size="S-0")
        answer = await pair.site.controlplane.send(pair.site.controlplane.provider.delivery(spec, ORDERS))
        assert answer.status == 503
        # The tunnel does not need the cluster: it answers, and says no.
    finally:
        await asyncio.to_thread(pair.plane.restart, "kube-apiserver")
    await deliver(pair, spec)
    held = pair.plane.ask("admin", "GET", f"{CORE}/configmaps?labelSelector=byoc.dev/state")[1]["items"]
    texts = [text for each in held for name, text in (each.get("data") or {}).items() if name == ORDERS.id]
    assert len(texts) == 1
    assert '"generation":2' in texts[0]
    assert pair.epoch in {epoch, epoch + 1}


async def test_access_revoked_by_kubeconfig_stays_so_when_another_agent_leads(pair: Pair) -> None:
    await bring_up(pair)
    papers = ApiPapers(lambda: api_of(pair), "test")
    access = Access(True, "ann", SystemClock().now(), "an audit")
    set_access(papers, access)

    def kept_out() -> bool:
        said = standing(papers)
        return said is not None and said.heard == access.at and said.sessions == 0

    await pair.until("the tunnel is closed", kept_out)
    logins = pair.site.controlplane.asked.count("POST /cell/v1/login")
    leader, other = pair.leader(), pair.other()
    await asyncio.to_thread(leader.kill)
    await pair.until("the other leads", lambda: pair.holder == other.name)
    await pair.until("it dials nobody", lambda: other.standing() == "access is revoked by ann: an audit")
    assert pair.site.controlplane.asked.count("POST /cell/v1/login") == logins
    set_access(papers, Access(False, "ann", SystemClock().now()))
    await pair.led_by(other.name)
    said = [each for each in other.records() if each["kind"] == "access"]
    assert [each["revoked"] for each in said] == [False]


async def test_the_agent_cannot_write_what_the_customer_laid_down(pair: Pair) -> None:
    """What a hostile agent could try, it is refused by the API server itself."""
    await bring_up(pair)
    for name in ("byoc-papers", "byoc-policy"):
        status, answer = pair.plane.ask(
            AGENT_USER, "PATCH", f"{CORE}/configmaps/{name}", {"data": {"access.json": "{}"}}, kind=MERGE
        )
        assert status == 403, answer


def api_of(pair: Pair) -> Api:
    """The customer's own way into the cluster."""
    budget = Budget.of(20, time.monotonic, time.sleep)
    return Api(pair.plane.url, pair.plane.authority, lambda: pair.plane.tokens["admin"], budget)
