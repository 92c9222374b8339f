"""The customer's kill switch on a cell's process with a real gateway."""

import asyncio
import json
import os
import stat
import time
from typing import Any

from byoc.clock import SystemClock
from byoc.dataplane.desk import BELL, FolderPapers
from byoc.dataplane.ledger_verify import read_records
from byoc.errors import ByocError
from byoc.model.control import Access, Standing
from byoc.model.papers import Paper
from byoc.model.report import Phase
from byoc.testing.cell import GROUP, ORDERS, following
from byoc.wire.control import dump, set_access, standing

Site = Any
CLOCK = SystemClock()


async def bring_up(site: Site) -> None:
    await site.enrolled()
    assert (await site.controlplane.deliver(GROUP, password="first")).status == 200
    assert (await site.controlplane.deliver(ORDERS)).status == 200

    def running() -> bool:
        view = site.controlplane.view.get(ORDERS.id)
        return view is not None and view.phase is Phase.RUNNING

    await site.until(running)


def turn(site: Site, *, revoked: bool) -> Access:
    access = Access(revoked, "ann@laptop", CLOCK.now(), "an audit")
    set_access(FolderPapers(site.cell), access)
    return access


def said(site: Site) -> Standing:
    found = standing(FolderPapers(site.cell))
    assert found is not None
    return found


def heard(site: Site, access: Access) -> bool:
    return said(site).heard == access.at


def records(site: Site, kind: str) -> list[dict[str, Any]]:
    return [record for record in read_records(site.cell / "ledger") if record["kind"] == kind]


async def out_of_reach(site: Site) -> bool:
    try:
        await site.controlplane.deliver(following(ORDERS, size="S-0"))
    except ByocError:
        return True
    return False


async def test_a_revoked_cell_closes_its_tunnel_at_once_and_goes_on_serving(site: Site) -> None:
    async with site.gateway(), site.agent():
        await bring_up(site)
        began = time.monotonic()
        access = turn(site, revoked=True)
        await site.until(lambda: heard(site, access) and said(site).sessions == 0)
        took = time.monotonic() - began

        proof = said(site)
        assert (proof.revoked, proof.tunnel, proof.streams) == (True, "revoked", 0)
        assert proof.refusing_since is not None
        assert "ann@laptop: an audit" in proof.reason
        assert [(one.name, one.phase) for one in proof.workspaces] == [("orders", "running")]
        assert proof.last_command.startswith("workspace.create on workspaces/")
        assert await out_of_reach(site)
        assert (await site.runtime.observe(ORDERS.id)).sql_ready
    # On a quiet machine it is a few milliseconds; nothing on the way waits for a timer of this length.
    assert took < 2


async def test_a_revocation_survives_the_agent_and_the_next_one_dials_nobody(site: Site) -> None:
    async with site.gateway():
        async with site.agent():
            await bring_up(site)
        access = turn(site, revoked=True)
        logins = site.controlplane.asked.count("POST /cell/v1/login")
        async with site.agent():
            await site.until(lambda: heard(site, access))
            await site.until(lambda: site.standing()[0] == "revoked")
            assert site.controlplane.asked.count("POST /cell/v1/login") == logins
            assert said(site).sessions == 0
    told = [(record["revoked"], record["by"], record["reason"]) for record in records(site, "access")]
    assert told == [(True, "ann@laptop", "an audit")]


async def test_a_restored_cell_is_reached_again_and_both_are_on_record_once(site: Site) -> None:
    async with site.gateway(), site.agent():
        await bring_up(site)
        access = turn(site, revoked=True)
        await site.until(lambda: heard(site, access) and said(site).sessions == 0)
        access = turn(site, revoked=False)
        await site.until(lambda: heard(site, access) and said(site).tunnel == "connected")

        assert (await site.controlplane.deliver(following(ORDERS, size="S-0"))).status == 200
        assert [record["revoked"] for record in records(site, "access")] == [True, False]


async def test_a_paper_that_nobody_understands_keeps_the_control_plane_out(site: Site) -> None:
    async with site.gateway(), site.agent():
        await bring_up(site)
        papers = FolderPapers(site.cell)
        papers.write(Paper.ACCESS, '{"revoked": fal', papers.read(Paper.ACCESS).version)
        papers.ring()
        await site.until(lambda: said(site).revoked and said(site).sessions == 0)
        assert await out_of_reach(site)


async def test_a_cell_that_waits_for_its_enrolment_can_be_revoked(site: Site) -> None:
    async with site.gateway(), site.agent():
        await site.until((site.cell / "thumbprint").exists)
        access = turn(site, revoked=True)
        await site.until(lambda: heard(site, access))
        site.hand_over()
        await asyncio.sleep(0)
        assert "POST /cell/v1/enrol" not in site.controlplane.asked
        turn(site, revoked=False)
        await site.until(lambda: site.standing()[0] == "connected", 15)


async def test_the_bell_is_the_owners_alone_and_says_nothing_but_look(site: Site) -> None:
    async with site.gateway(), site.agent():
        await bring_up(site)
        mode = (site.cell / BELL).lstat().st_mode
        assert stat.S_ISFIFO(mode)
        assert stat.S_IMODE(mode) == 0o600
        descriptor = os.open(site.cell / BELL, os.O_WRONLY | os.O_NONBLOCK)
        os.write(descriptor, dump(Access(revoked=True)).encode())
        os.close(descriptor)
        before = said(site).at
        await site.until(lambda: said(site).at > before)
        assert not said(site).revoked


async def test_no_request_is_carried_out_between_the_word_and_the_tunnels_end(site: Site) -> None:
    """Not even one that the tunnel had brought before: the door and the act both ask."""
    async with site.gateway(), site.agent():
        await bring_up(site)
        papers = FolderPapers(site.cell)
        # Laid down, but nobody rings: the tunnel still stands.
        access = dump(Access(True, "ann", CLOCK.now(), "quiet"))
        papers.write(Paper.ACCESS, access, papers.read(Paper.ACCESS).version)
        answer = await site.controlplane.deliver(following(ORDERS, size="S-0"))

        assert answer.status == 503
        assert json.loads(answer.body)["rule"] == "access-revoked"
        assert records(site, "outcome")[-1]["rule"] == "access-revoked"
