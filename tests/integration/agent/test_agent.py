"""The cell's process with a real gateway: enrolled, connected, cut off, stopped, started again."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from byoc.dataplane.agent import Outside, run
from byoc.dataplane.runtime import Action
from byoc.dataplane.settings import AgentSettings
from byoc.errors import PreconditionFailed
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired
from byoc.model.verbs import Verb
from byoc.testing.cell import GROUP, ORDERS, following
from byoc.wire.keys import SigningKey

Site = Any


async def bring_up(site: Site) -> None:
    assert (await site.controlplane.deliver(GROUP, password="first")).status == 200
    assert (await site.controlplane.deliver(ORDERS)).status == 200
    await site.until(lambda: phase(site) is Phase.RUNNING)


def phase(site: Site) -> Phase | None:
    seen = site.controlplane.view.get(ORDERS.id)
    return seen.phase if seen else None


def answered(site: Site) -> int:
    """How often the engine has been waited for: once for each start."""
    return site.runtime.acts.count((ORDERS.id, Action.WAIT_FOR_SQL))


class TestEnrolment:
    async def test_it_waits_for_a_token_and_says_so(self, site: Site) -> None:
        async with site.gateway(), site.agent():
            await site.until(lambda: site.standing() == ("waiting", "waiting for enrolment"))
            assert (site.cell / "thumbprint").exists()
            site.hand_over()
            await site.until(lambda: site.standing()[0] == "connected")
            assert not (site.cell / "enrolment.json").exists()
            assert json.loads((site.cell / "identity.json").read_text())["cellID"]

    async def test_a_token_for_another_cell_is_refused_and_the_next_one_taken(self, site: Site) -> None:
        async with site.gateway(), site.agent():
            await site.until((site.cell / "thumbprint").exists)
            token = site.controlplane.token(SigningKey.generate().kid)
            root = site.controlplane.provider.root.public.jwk()
            (site.cell / "enrolment.json").write_text(json.dumps({"token": token, "rootKey": root}))
            await site.until(lambda: site.standing()[0] == "refused")
            assert not (site.cell / "identity.json").exists()
            site.hand_over()
            await site.until(lambda: site.standing()[0] == "connected")

    @pytest.mark.parametrize("text", ["", "{}", '{"token": 1, "rootKey": {}}', '{"token": "x"}'])
    async def test_a_file_that_is_not_understood_is_said_to_be(self, text: str, site: Site) -> None:
        async with site.gateway(), site.agent():
            await site.until(lambda: site.standing()[0] == "waiting")
            (site.cell / "enrolment.json").write_text(text)
            await site.until(lambda: "enrolment.json" in site.standing()[1])

    async def test_a_root_that_came_through_the_tunnel_only_is_not_believed(self, site: Site) -> None:
        site.controlplane.root_shown = SigningKey.generate().public.jwk()
        async with site.gateway(), site.agent():
            await site.until((site.cell / "thumbprint").exists)
            site.hand_over()
            await site.until(lambda: site.standing()[0] == "refused")
            assert not (site.cell / "identity.json").exists()

    async def test_a_contested_cell_stays_outside(self, site: Site) -> None:
        site.controlplane.refuse_enrolment = True
        async with site.gateway(), site.agent():
            await site.until((site.cell / "thumbprint").exists)
            site.hand_over()
            await site.until(lambda: "contested" in site.standing()[1])


class TestTheLoop:
    async def test_intent_goes_down_and_facts_come_up(self, site: Site) -> None:
        async with site.gateway(), site.agent():
            await site.enrolled()
            await bring_up(site)
            suspended = following(ORDERS, desired=Desired.SUSPENDED)
            await site.controlplane.deliver(suspended)
            await site.until(lambda: phase(site) is Phase.SUSPENDED)
            resumed = following(suspended, desired=Desired.RUNNING)
            await site.controlplane.deliver(resumed)
            await site.until(lambda: phase(site) is Phase.RUNNING)
            await site.controlplane.deliver(following(resumed, desired=Desired.TERMINATED))
            await site.until(lambda: phase(site) is Phase.TERMINATED)
            graves = [grave for report in site.controlplane.reports for grave in report.tombstones]
            assert ORDERS.id in {grave.id for grave in graves}

    async def test_a_refusal_is_signed_and_names_the_rule(self, site: Site) -> None:
        async with site.gateway(), site.agent():
            await site.enrolled()
            await bring_up(site)
            (site.cell / "policy.toml").write_text('deny = ["workspace.suspend"]\n')
            answer = await site.controlplane.deliver(following(ORDERS, desired=Desired.SUSPENDED))
            assert answer.status == 403
            assert json.loads(answer.body)["rule"] == "policy-deny"

    async def test_status_can_be_read(self, site: Site) -> None:
        async with site.gateway(), site.agent():
            await site.enrolled()
            answer = await site.controlplane.send(
                site.controlplane.provider.read("/cell/v1/status", Verb.CELL_READ)
            )
            assert json.loads(answer.body)["details"]["engine"] == "memory"


class TestCuts:
    async def test_the_cell_works_on_while_the_gateway_is_away_and_tells_afterwards(self, site: Site) -> None:
        async with site.gateway(), site.agent():
            await site.enrolled()
            await bring_up(site)
        before = len(site.controlplane.reports)
        async with site.agent():
            await site.until(lambda: answered(site) == 2)
            await asyncio.sleep(0.02)
            site.runtime.crash(ORDERS.id)
            await site.until(lambda: answered(site) == 3)
            async with site.gateway():
                await site.until(lambda: len(site.controlplane.reports) > before)
                reasons = [t.reason for r in site.controlplane.reports[before:] for t in r.transitions]
                assert Reason.ENGINE_EXITED in reasons

    async def test_a_killed_agent_leaves_engines_running_and_the_next_adopts_them(self, site: Site) -> None:
        async with site.gateway():
            async with site.agent(stop_engines=False, kill=True):
                await site.enrolled()
                await bring_up(site)
            acts = len(site.runtime.acts)
            reports = len(site.controlplane.reports)
            async with site.agent(stop_engines=False):
                await site.until(lambda: len(site.controlplane.reports) > reports)
                first = site.controlplane.reports[reports]
                assert first.full
                assert first.workspaces[0].phase is Phase.RUNNING
                assert first.seq > site.controlplane.reports[reports - 1].seq
                assert first.incarnation == site.controlplane.reports[0].incarnation
            assert len(site.runtime.acts) == acts

    async def test_a_stop_ends_engines_and_usage_and_keeps_what_should_be(self, site: Site) -> None:
        async with site.gateway():
            async with site.agent():
                await site.enrolled()
                await bring_up(site)
                endpoint = site.controlplane.view[ORDERS.id].endpoint
            ended = [i for report in site.controlplane.reports for i in report.intervals if i.end]
            assert len(ended) == 1
            reports = len(site.controlplane.reports)
            async with site.agent():
                await site.until(lambda: len(site.controlplane.reports) > reports)
                await site.until(lambda: phase(site) is Phase.RUNNING)
                assert site.controlplane.view[ORDERS.id].endpoint == endpoint

    async def test_password_changes_while_the_cell_is_away_arrive_later(self, site: Site) -> None:
        async with site.gateway():
            async with site.agent():
                await site.enrolled()
                await bring_up(site)
            reports = len(site.controlplane.reports)
            async with site.agent():
                await site.until(lambda: len(site.controlplane.reports) > reports)
                second = replace(GROUP, generation=2, password_version=2)
                assert (await site.controlplane.deliver(second, password="second")).status == 200
                await site.until(lambda: site.runtime.passwords[ORDERS.id] == "second")


class TestStart:
    async def test_a_bad_state_file_stops_the_start_and_is_named(self, site: Site) -> None:
        folder = site.cell / "state" / "workspaces"
        folder.mkdir(parents=True)
        (folder / f"{ORDERS.id}.json").write_text("{")
        with pytest.raises(Exception, match=r"state file|incarnation"):
            async with site.agent():
                raise AssertionError("it has started")

    async def test_a_second_agent_waits_for_the_first_to_leave(self, site: Site) -> None:
        settings = AgentSettings(site.data, "wss://127.0.0.1:1/nimbus/v1", stop_engines=False)
        stop, ready = asyncio.Event(), asyncio.Event()
        async with site.gateway():
            async with site.agent():
                second = asyncio.create_task(
                    run(settings, site.runtime, stop, lambda _facts: ready.set(), Outside())
                )
                await asyncio.sleep(0.05)
                assert not ready.is_set()
            async with asyncio.timeout(5):
                await ready.wait()
            stop.set()
            await second

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"gateway": 1}', '{"gateway": "http://x"}'])
    def test_settings_that_name_no_gateway_are_said_to(self, text: str, site: Site) -> None:
        site.cell.mkdir()
        (site.cell / "config.json").write_text(text)
        with pytest.raises(PreconditionFailed, match=r"config\.json"):
            AgentSettings.load(site.data)

    def test_settings_are_read(self, site: Site) -> None:
        site.cell.mkdir()
        (site.cell / "config.json").write_text('{"gateway": "wss://127.0.0.1:9/nimbus/v1", "ca": "/ca"}')
        settings = AgentSettings.load(site.data)
        assert (settings.gateway, str(settings.ca)) == ("wss://127.0.0.1:9/nimbus/v1", "/ca")
