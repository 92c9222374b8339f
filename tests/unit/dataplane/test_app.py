"""The Cell API through its real guard: hostile requests, coalesced deliveries, what gets out."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from byoc.dataplane.ledger_verify import read_records
from byoc.dataplane.runtime import Action
from byoc.ids import new_id
from byoc.model.metrics import Metric, total
from byoc.model.report import Phase, Reason
from byoc.model.spec import Desired
from byoc.model.verbs import Verb
from byoc.testing import cell as cells
from byoc.testing.cell import GROUP, ORDERS, OTHER, following
from byoc.testing.clock import ManualClock
from byoc.testing.provider import MemoryProvider
from byoc.testing.runtime import MemoryRuntime
from byoc.wire.cell import ANSWER_HEADER, Delivery, Reading, decode, encode, spec_digest
from byoc.wire.keys import SigningKey
from byoc.wire.tokens import (
    Change,
    check_answer,
    name_report,
    sign_receipt,
)
from tests.unit.dataplane.site import CELL, SCHEDULED, Site, assemble, ended, resumed, suspended


class TestDeliveries:
    async def test_what_is_acknowledged_is_on_disk_signed_and_carried_out(self, site: Site) -> None:
        await site.deliver(GROUP, password="first")
        answer = await site.deliver(ORDERS)
        assert answer.json == {"generation": 1, "digest": spec_digest(ORDERS)}
        assert (site.cell.folder / "state" / "workspaces" / f"{ORDERS.id}.json").exists()
        assert site.cell.phase() is Phase.RUNNING
        assert site.cell.runtime.passwords[ORDERS.id] == "first"

    async def test_every_answer_to_an_admitted_request_is_signed_for_it(self, site: Site) -> None:
        keys = {site.keys.signing.kid: site.keys.signing.public}
        for target, status in (("/cell/v1/status", 200), ("/cell/v1/nothing", 404)):
            jti = new_id()
            answer = await site.read(target, Verb.CELL_READ, jti=jti)
            assert answer.status == status
            signed = answer.headers[ANSWER_HEADER]
            check_answer(signed, keys, jti=jti, status=status, body=answer.body)

    async def test_a_body_in_pieces_is_one_body(self, site: Site) -> None:
        body = json.dumps(encode(Delivery(group=GROUP))).encode()
        target = f"/cell/v1/groups/{GROUP.id}"
        change = Change(1, Verb.GROUP_CREATE, "ann@example.com", site.cell.clock.now())
        token = site.token("PUT", target, body, base=0, changes=[change])
        assert (await site.call(token, "PUT", target, body, parts=5)).status == 200

    async def test_a_lost_acknowledgement_is_made_good_by_the_same_delivery(self, site: Site) -> None:
        await site.bring_up()
        acts = len(site.cell.acts())
        again = await site.deliver(ORDERS, base=0, verbs=[[Verb.WORKSPACE_CREATE]])
        assert (again.status, again.json["generation"]) == (200, 1)
        assert len(site.cell.acts()) == acts

    async def test_the_same_generation_with_another_content_is_refused_with_an_alarm(
        self, site: Site
    ) -> None:
        await site.bring_up()
        other = replace(ORDERS, size="S-0")
        answer = await site.deliver(other, base=0, verbs=[[Verb.WORKSPACE_CREATE, Verb.WORKSPACE_RESIZE]])
        assert (answer.status, answer.json["rule"]) == (409, "digest-differs")
        assert '"kind":"alarm"' in site.cell.ledger_text()

    async def test_a_base_that_moved_is_told_what_is_held(self, site: Site) -> None:
        await site.bring_up()
        bigger = following(following(ORDERS), size="S-0")
        answer = await site.deliver(bigger, base=2, verbs=[[Verb.WORKSPACE_RESIZE]])
        assert answer.status == 409
        assert (answer.json["rule"], answer.json["generation"], answer.json["digest"]) == (
            "base-moved",
            1,
            spec_digest(ORDERS),
        )

    async def test_a_verb_that_the_policy_denies_changes_nothing(self, site: Site) -> None:
        await site.bring_up()
        (site.cell.folder / "policy.toml").write_text('deny = ["workspace.terminate"]\n')
        answer = await site.deliver(ended(ORDERS))
        assert (answer.status, answer.json["rule"]) == (403, "policy-deny")
        assert answer.json["generation"] == 2
        assert site.cell.phase() is Phase.RUNNING
        # The Control Plane then writes a generation that equals the last accepted one.
        back = replace(ORDERS, generation=3)
        verbs = [[Verb.WORKSPACE_TERMINATE], [Verb.REVERT]]
        assert (await site.deliver(back, base=1, verbs=verbs)).status == 200
        assert site.cell.observed() == 3

    async def test_a_full_disk_refuses_and_keeps_what_was(self, site: Site) -> None:
        await site.bring_up()
        folder = site.cell.folder / "state" / "workspaces"
        folder.rename(folder.with_name("away"))
        answer = await site.deliver(suspended(ORDERS))
        assert answer.status == 503
        assert str(site.cell.folder) not in answer.body.decode()
        folder.with_name("away").rename(folder)
        assert site.cell.phase() is Phase.RUNNING
        assert (await site.deliver(suspended(ORDERS))).status == 200

    async def test_what_was_terminated_cannot_be_brought_back(self, site: Site) -> None:
        await site.bring_up()
        await site.deliver(ended(ORDERS))
        assert site.cell.state.desired.buried(ORDERS.id)
        back = replace(ORDERS, generation=3, desired_generation=3)
        answer = await site.deliver(back, base=2, verbs=[[Verb.WORKSPACE_RESUME, Verb.WORKSPACE_CREATE]])
        assert (answer.status, answer.json["rule"]) == (409, "terminated")
        assert not site.cell.state.desired.workspaces

    async def test_a_terminate_that_comes_twice_is_acknowledged_twice(self, site: Site) -> None:
        await site.bring_up()
        await site.deliver(ended(ORDERS))
        again = await site.deliver(ended(ORDERS), base=1, verbs=[[Verb.WORKSPACE_TERMINATE]])
        assert again.status == 200

    async def test_a_workspace_of_an_ended_group_can_be_ended_by_its_own_delivery(self, site: Site) -> None:
        await site.bring_up()
        await site.deliver(replace(GROUP, generation=2, desired=Desired.TERMINATED))
        assert not site.cell.state.desired.workspaces
        answer = await site.deliver(ended(ORDERS))
        assert answer.status == 200
        graves = {grave.id: grave.generation for grave in site.cell.state.desired.tombstones()}
        assert graves == {GROUP.id: 2, ORDERS.id: 2}

    async def test_a_workspace_cannot_change_its_group(self, site: Site) -> None:
        await site.bring_up()
        moved = following(ORDERS, group_id=OTHER.id)
        answer = await site.deliver(moved)
        assert (answer.status, answer.json["rule"]) == (409, "wrong-object")


class TestCoalesced:
    """Several changes made while the cell was away arrive as one lawful delivery."""

    async def test_one_change_of_five_fields(self, site: Site) -> None:
        await site.bring_up()
        five = following(
            ORDERS,
            size="S-0",
            scale_factor=2,
            cache_config=2,
            auto_suspend=SCHEDULED,
            enable_kai=True,
        )
        answer = await site.deliver(five, verbs=[[Verb.WORKSPACE_RESIZE, Verb.WORKSPACE_UPDATE]])
        assert answer.status == 200, answer.json
        assert site.cell.observed() == 2

    async def test_suspend_and_resume(self, site: Site) -> None:
        await site.bring_up()
        both = resumed(suspended(ORDERS))
        answer = await site.deliver(both, base=1, verbs=[[Verb.WORKSPACE_SUSPEND], [Verb.WORKSPACE_RESUME]])
        assert answer.status == 200
        assert (site.cell.phase(), site.cell.observed()) == (Phase.RUNNING, 3)
        assert Action.STOP not in site.cell.acts()

    async def test_suspend_and_resize(self, site: Site) -> None:
        await site.bring_up()
        both = following(suspended(ORDERS), size="S-0")
        answer = await site.deliver(both, base=1, verbs=[[Verb.WORKSPACE_SUSPEND], [Verb.WORKSPACE_RESIZE]])
        assert answer.status == 200
        assert (site.cell.phase(), site.cell.observed()) == (Phase.SUSPENDED, 3)

    async def test_a_suspend_cannot_smuggle_a_resize(self, site: Site) -> None:
        await site.bring_up()
        both = replace(suspended(ORDERS), size="S-0")
        answer = await site.deliver(both, verbs=[[Verb.WORKSPACE_SUSPEND]])
        assert (answer.status, answer.json["rule"]) == (403, "verb-not-signed")
        assert site.cell.phase() is Phase.RUNNING

    async def test_a_skipped_generation_is_refused(self, site: Site) -> None:
        await site.bring_up()
        later = replace(suspended(ORDERS), generation=4, desired_generation=4)
        gaps: list[list[Verb]] = [[Verb.WORKSPACE_SUSPEND], [], [Verb.WORKSPACE_SUSPEND]]
        answer = await site.deliver(later, base=1, verbs=gaps)
        assert (answer.status, answer.json["rule"]) == (403, "generation-missing")

    async def test_a_resume_after_an_auto_suspend_made_while_away(self, site: Site) -> None:
        await site.bring_up()
        scheduled = following(ORDERS, auto_suspend=SCHEDULED)
        await site.deliver(scheduled)
        await site.cell.clock.elapse(605)
        assert site.cell.phase() is Phase.SUSPENDED
        # The Control Plane still believes that it runs; the user has resized, then resumed.
        bigger = following(scheduled, size="S-0")
        assert (await site.deliver(bigger, verbs=[[Verb.WORKSPACE_RESIZE]])).status == 200
        assert site.cell.phase() is Phase.SUSPENDED
        again = resumed(bigger)
        smuggled = await site.deliver(again, verbs=[[Verb.WORKSPACE_UPDATE]])
        assert (smuggled.status, smuggled.json["rule"]) == (403, "verb-not-signed")
        assert (await site.deliver(again, verbs=[[Verb.WORKSPACE_RESUME]])).status == 200
        assert site.cell.phase() is Phase.RUNNING

    async def test_create_and_suspend_never_starts_an_engine_twice(self, site: Site) -> None:
        await site.deliver(GROUP, password="first")
        both = suspended(ORDERS)
        answer = await site.deliver(both, base=0, verbs=[[Verb.WORKSPACE_CREATE], [Verb.WORKSPACE_SUSPEND]])
        assert answer.status == 200
        assert site.cell.phase() is Phase.SUSPENDED

    async def test_create_and_terminate_leaves_a_tombstone(self, site: Site) -> None:
        await site.deliver(GROUP, password="first")
        verbs = [[Verb.WORKSPACE_CREATE], [Verb.WORKSPACE_TERMINATE]]
        assert (await site.deliver(ended(ORDERS), base=0, verbs=verbs)).status == 200
        assert site.cell.state.desired.buried(ORDERS.id)
        assert site.cell.acts() == []


HOSTILE: dict[str, tuple[Callable[[Site, str, bytes], str | None], str]] = {
    "no token": (lambda s, t, b: None, "malformed"),
    "noise": (lambda s, t, b: "a.b.c", "malformed"),
    "another key": (lambda s, t, b: s.token("PUT", t, b, base=1, key=SigningKey.generate()), "unknown-key"),
    "another cell": (lambda s, t, b: s.token("PUT", t, b, base=1, cell=OTHER.id), "wrong-audience"),
    "another body": (lambda s, t, b: s.token("PUT", t, b + b" ", base=1), "wrong-body"),
    "another target": (lambda s, t, b: s.token("PUT", t + "x", b, base=1), "wrong-target"),
    "another method": (lambda s, t, b: s.token("POST", t, b, base=1), "wrong-target"),
    "the cell's own report": (lambda s, t, b: s.keys.sign_report({}), "unknown-key"),
    "another kind": (lambda s, t, b: _receipt(s), "wrong-type"),
    "no algorithm": (lambda s, t, b: _unsigned(s.token("PUT", t, b, base=1)), "malformed"),
}


def _receipt(site: Site) -> str:
    report = name_report("life", 1, "r.e.port")
    claims: dict[str, Any] = {"cell": CELL, "chain": "x", "seq": 1, "hash": "0" * 64, "report": report}
    return sign_receipt(site.provider.signing, at=site.cell.clock.now(), **claims)


def _unsigned(token: str) -> str:
    return "eyJhbGciOiJub25lIn0." + token.split(".")[1] + "."


class TestHostile:
    @pytest.mark.parametrize("name", HOSTILE)
    async def test_a_request_that_is_not_what_it_should_be_does_nothing(self, name: str, site: Site) -> None:
        await site.bring_up()
        make, rule = HOSTILE[name]
        spec = suspended(ORDERS)
        body = json.dumps(encode(Delivery(workspace=spec))).encode()
        target = f"/cell/v1/workspaces/{ORDERS.id}"
        acts = len(site.cell.acts())
        answer = await site.call(make(site, target, body), "PUT", target, body)
        await site.cell.settle(10)
        assert answer.status == 401
        assert answer.json["rule"] == rule
        assert ANSWER_HEADER not in answer.headers
        assert len(site.cell.acts()) == acts
        assert site.cell.state.desired.workspaces[ORDERS.id].spec == ORDERS
        assert '"kind":"unauthenticated"' in site.cell.ledger_text()

    async def test_a_request_that_expired_does_nothing(self, site: Site) -> None:
        token = site.token("GET", "/cell/v1/status", b"", verbs=[Verb.CELL_READ])
        site.cell.clock.advance(120)
        assert (await site.call(token, "GET", "/cell/v1/status")).status == 401

    async def test_a_replay_is_refused_also_by_an_agent_that_was_restarted(
        self, tmp_path: Path, clock: ManualClock, provider: MemoryProvider
    ) -> None:
        runtime = MemoryRuntime(clock)
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            site = assemble(cell, provider)
            token = site.token("GET", "/cell/v1/status", b"", verbs=[Verb.CELL_READ])
            assert (await site.call(token, "GET", "/cell/v1/status")).status == 200
            assert (await site.call(token, "GET", "/cell/v1/status")).json["rule"] == "replayed"
        async with cells.started(tmp_path, clock, runtime, new_id) as cell:
            site = assemble(cell, provider)
            assert (await site.call(token, "GET", "/cell/v1/status")).json["rule"] == "replayed"

    @pytest.mark.parametrize("body", [b"", b"{}", b'{"workspace": {"color": "red"}}'])
    async def test_a_spec_that_cannot_be_carried_out_is_refused_in_one_line(
        self, body: bytes, site: Site
    ) -> None:
        target = f"/cell/v1/workspaces/{ORDERS.id}"
        change = Change(1, Verb.WORKSPACE_CREATE, "ann@example.com", site.cell.clock.now())
        token = site.token("PUT", target, body, base=0, changes=[change])
        answer = await site.call(token, "PUT", target, body)
        assert (answer.status, answer.json["rule"], answer.json["generation"]) == (403, "bad-request", 1)
        assert "\n" not in answer.json["reason"]
        assert ANSWER_HEADER in answer.headers
        assert not site.cell.state.desired.workspaces

    async def test_a_body_about_another_object_is_refused(self, site: Site) -> None:
        await site.bring_up()
        await site.deliver(OTHER)
        body = json.dumps(encode(Delivery(workspace=ended(OTHER)))).encode()
        target = f"/cell/v1/workspaces/{ORDERS.id}"
        change = Change(2, Verb.WORKSPACE_TERMINATE, "ann@example.com", site.cell.clock.now())
        answer = await site.call(
            site.token("PUT", target, body, base=1, changes=[change]), "PUT", target, body
        )
        assert answer.json["rule"] == "wrong-object"
        assert OTHER.id in site.cell.state.desired.workspaces

    async def test_a_fault_inside_shows_nothing_but_a_code(self, site: Site) -> None:
        async def logs(_name: str) -> str:
            raise RuntimeError("password is correct-horse")

        await site.bring_up()
        (site.cell.folder / "policy.toml").write_text('allow = ["*"]\n')
        site.cell.runtime.logs = logs  # type: ignore[method-assign]
        answer = await site.read(f"/cell/v1/workspaces/{ORDERS.id}/logs", Verb.LOGS_READ)
        assert answer.status == 500
        assert answer.json == {"code": "failed", "message": "the cell failed; its log says why"}
        assert ANSWER_HEADER in answer.headers


class TestReads:
    async def test_status_tells_what_the_cell_is(self, site: Site) -> None:
        await site.bring_up()
        answer = await site.read("/cell/v1/status", Verb.CELL_READ)
        assert (answer.json["workspaces"], answer.json["groups"]) == (1, 1)
        assert answer.json["incarnation"] == site.cell.state.life.incarnation

    async def test_a_verb_that_was_not_signed_reads_nothing(self, site: Site) -> None:
        answer = await site.read("/cell/v1/status", Verb.METRICS_READ)
        assert (answer.status, answer.json["rule"]) == (403, "verb-not-signed")

    async def test_metrics_of_a_workspace_and_of_its_group_are_read_as_they_are_now(self, site: Site) -> None:
        await site.bring_up()
        await site.deliver(OTHER)
        site.cell.runtime.use(ORDERS.id, connections=3)
        answer = await site.read(f"/cell/v1/workspaces/{ORDERS.id}/metrics", Verb.METRICS_READ)
        (measured,) = decode(Reading, answer.json).workspaces
        assert measured.workspace_id == ORDERS.id
        assert {sample.metric for sample in measured.samples} == set(Metric)
        assert total(measured.samples, Metric.THREADS_CONNECTED) == 3
        await site.deliver(suspended(OTHER))
        answer = await site.read(f"/cell/v1/groups/{GROUP.id}/metrics", Verb.METRICS_READ)
        reading = decode(Reading, answer.json)
        assert {each.workspace_id: bool(each.samples) for each in reading.workspaces} == {
            ORDERS.id: True,
            OTHER.id: False,
        }

    async def test_metrics_need_their_own_verb_a_policy_that_allows_it_and_an_object_that_is_here(
        self, site: Site
    ) -> None:
        await site.bring_up()
        target = f"/cell/v1/workspaces/{ORDERS.id}/metrics"
        assert (await site.read(target, Verb.LOGS_READ)).json["rule"] == "verb-not-signed"
        for unknown in ("groups", "workspaces"):
            answer = await site.read(f"/cell/v1/{unknown}/{new_id()}/metrics", Verb.METRICS_READ)
            assert answer.status == 404
        (site.cell.folder / "policy.toml").write_text('deny = ["metrics.read"]\n')
        answer = await site.read(target, Verb.METRICS_READ)
        assert (answer.status, answer.json["rule"]) == (403, "policy-deny")

    async def test_logs_are_read_only_if_the_customer_says_so(self, site: Site) -> None:
        await site.bring_up()
        site.cell.runtime.crash(ORDERS.id, "the engine's own words")
        target = f"/cell/v1/workspaces/{ORDERS.id}/logs"
        refused = await site.read(target, Verb.LOGS_READ)
        assert (refused.status, refused.json["rule"]) == (403, "policy-allow")
        (site.cell.folder / "policy.toml").write_text('allow = ["logs.read"]\n')
        assert (await site.read(target, Verb.LOGS_READ)).body == b"the engine's own words"

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("GET", "/cell/v1/workspaces/x/logs"),
            ("GET", "/cell/v1/status/"),
            ("GET", "/cell/v1/status?x=1"),
            ("POST", "/cell/v1/status"),
            ("GET", "/cell/v1"),
            ("GET", "/"),
            ("DELETE", f"/cell/v1/workspaces/{ORDERS.id}"),
        ],
    )
    async def test_there_are_no_other_routes(self, method: str, target: str, site: Site) -> None:
        (site.cell.folder / "policy.toml").write_text('allow = ["*"]\n')
        token = site.token(method, target, b"", verbs=[Verb.CELL_READ, Verb.LOGS_READ])
        answer = await site.call(token, method, target)
        assert (answer.status, answer.json["code"]) == (404, "not_found")


class TestResync:
    async def test_a_cell_that_lost_its_state_adopts_what_it_finds_and_makes_nothing(
        self, tmp_path: Path, clock: ManualClock, provider: MemoryProvider
    ) -> None:
        runtime = MemoryRuntime(clock)
        async with cells.started(tmp_path / "before", clock, runtime, new_id) as cell:
            await assemble(cell, provider).bring_up()
        acts = len(runtime.acts)
        async with cells.started(tmp_path / "after", clock, runtime, new_id) as cell:
            site = assemble(cell, provider)
            answer = await site.resync((GROUP,), (ORDERS, OTHER))
            assert answer.status == 200
            assert cell.phase() is Phase.RUNNING
            assert (cell.phase(OTHER.id), cell.reason(OTHER.id)) == (Phase.FAILED, Reason.VOLUME_MISSING)
            assert Reason.ADOPTED in {reason for _, reason in cell.story()}
        assert Action.CREATE_VOLUME not in [action for _, action in runtime.acts[acts:]]

    async def test_a_cell_that_holds_something_is_not_resynced_by_default(self, site: Site) -> None:
        await site.bring_up()
        answer = await site.resync((GROUP,), (OTHER,))
        assert (answer.status, answer.json["rule"]) == (403, "policy-allow")
        assert OTHER.id not in site.cell.state.desired.workspaces

    async def test_a_resync_overwrites_nothing_and_ends_nothing(self, site: Site) -> None:
        await site.bring_up()
        (site.cell.folder / "policy.toml").write_text('allow = ["*"]\n')
        answer = await site.resync((), (replace(ORDERS, generation=9, size="S-1"), ended(OTHER)))
        assert answer.status == 200
        assert site.cell.state.desired.workspaces[ORDERS.id].spec == ORDERS
        assert OTHER.id not in site.cell.state.desired.workspaces


async def test_a_caller_that_goes_away_in_the_middle_is_no_answer(site: Site) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_event: Any) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "raw_path": b"/", "query_string": b"", "headers": []}
    with pytest.raises(asyncio.CancelledError):
        await site.app(scope, receive, send)


async def test_a_request_that_the_agents_end_cuts_off_has_an_outcome(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.bring_up()
    (site.cell.folder / "policy.toml").write_text('allow = ["logs.read"]\n')
    asked = asyncio.Event()

    async def logs(_workspace: str) -> str:
        asked.set()
        return await asyncio.Future()

    monkeypatch.setattr(site.cell.runtime, "logs", logs)
    reading = asyncio.create_task(site.read(f"/cell/v1/workspaces/{ORDERS.id}/logs", Verb.LOGS_READ))
    await asked.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    *_, received, outcome = read_records(site.cell.folder / "ledger")
    assert (received["kind"], outcome["kind"]) == ("received", "outcome")
    assert (outcome["request"], outcome["outcome"]) == (received["seq"], "cancelled")
