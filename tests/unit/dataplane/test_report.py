"""Reports: what they name, and that nothing is forgotten before it was countersigned."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import structlog

from byoc.dataplane.files import FileStorage
from byoc.dataplane.keys import CellKeys, PinnedKeys
from byoc.dataplane.reporter import Reporter, Reporting
from byoc.dataplane.volumes import LOOK_SECONDS
from byoc.errors import Unreachable
from byoc.ids import CellID, WorkspaceID, new_id
from byoc.model.report import Authority, CellReport, Condition, Phase, Reason, Zone
from byoc.model.spec import AutoSuspend, Desired, SuspendType
from byoc.testing import cell as cells
from byoc.testing.cell import GROUP, ORDERS, MemoryCell, following
from byoc.testing.clock import ManualClock
from byoc.testing.provider import MemoryProvider
from byoc.testing.runtime import MemoryRuntime
from byoc.wire import jws
from byoc.wire.cell import ReportAnswer, decode, encode, spec_digest
from byoc.wire.keys import SigningKey
from byoc.wire.keysets import KEY_SET_LIFE
from byoc.wire.tokens import Behind, name_report, open_report, sign_behind

CELL = CellID("99999999-9999-4999-8999-999999999999")


@dataclass
class Provider(MemoryProvider):
    """A Control Plane that takes reports, or pretends to."""

    cell_keys: CellKeys | None = None
    announced: int = 1
    away: bool = False
    full_wanted: bool = False
    status: int = 200
    keys_status: int = 200
    forge: Callable[[CellReport, str], str] | None = None
    behind: Callable[[CellReport, str], str] | None = None
    reports: list[CellReport] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def post(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        self.asked.append(f"{method} {path}")
        if self.away:
            raise Unreachable("the tunnel is not connected")
        if path == "/cell/v1/keys":
            return self.keys_status, self.key_set().encode()
        assert self.cell_keys is not None
        claims = open_report(body.decode(), {self.cell_keys.signing.kid: self.cell_keys.signing.public})
        report = decode(CellReport, claims)
        self.reports.append(report)
        self.bodies.append(body)
        receipt = (self.forge or self.receipt)(report, body.decode())
        behind = self.behind(report, body.decode()) if self.behind is not None else ""
        answer = ReportAnswer(receipt, self.full_wanted, self.announced, behind)
        return self.status, json.dumps(encode(answer)).encode()


@dataclass
class Site:
    cell: MemoryCell
    provider: Provider
    reporter: Reporter
    pinned: PinnedKeys

    def told_of_volumes(self) -> int:
        """Byte-seconds that were reported."""
        told = {record.id: record.byte_seconds for one in self.provider.reports for record in one.stored}
        return sum(told.values())

    @property
    def last(self) -> CellReport:
        return self.provider.reports[-1]


@pytest.fixture
async def site(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Site]:
    async with cells.started(tmp_path, clock, MemoryRuntime(clock), new_id) as cell:
        keys = CellKeys.load_or_create(FileStorage(tmp_path))
        provider = Provider(clock, CELL, cell_keys=keys)
        pinned = PinnedKeys.create(FileStorage(tmp_path), provider.root.public, provider.key_set(), clock)
        who = Reporting(CELL, keys, cell.runtime.facts)
        reporter = Reporter(who, cell.state, pinned, provider.post, clock)
        cell.heard.append(reporter.changed)
        task = asyncio.create_task(reporter.run())
        yield Site(cell, provider, reporter, pinned)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def unnamed(receipt: str, provider: Provider) -> str:
    """The receipt without the report that it is for."""
    claims = jws.unverified(jws.Kind.RECEIPT, receipt)
    del claims["report"]
    return jws.sign(jws.Kind.RECEIPT, claims, provider.signing)


async def connected(site: Site) -> None:
    site.reporter.connected(yes=True)
    await site.cell.settle()


class TestWhatIsSaid:
    async def test_an_idle_workspace_costs_no_more_than_300_bytes_a_minute(self, site: Site) -> None:
        await site.cell.bring_up()
        names = [WorkspaceID(new_id()) for _ in range(19)]
        for name in names:
            await site.cell.put(replace(ORDERS, id=name, name=name))
        assert {site.cell.phase(name) for name in names} == {Phase.RUNNING}
        await connected(site)
        # Longer than an hour of the clock: usage of storage ends with each, and what ended is let go.
        before, minutes = len(site.provider.bodies), 65
        for _ in range(minutes * 4):
            await site.cell.settle(15)
        told = site.provider.bodies[before:]
        assert len(told) >= minutes
        assert sum(map(len, told)) / minutes / (len(names) + 1) <= 300
        stored = [record for report in site.provider.reports[before:] for record in report.stored]
        assert {record.workspace_id for record in stored if record.closed} == {ORDERS.id, *names}
        # Each look at the volumes is told once, not with every report.
        assert len(stored) <= (len(names) + 1) * (minutes * 60 / LOOK_SECONDS + 2)

    async def test_the_first_report_names_everything(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        (report,) = site.provider.reports
        assert report.full
        assert report.facts is not None
        assert [w.spec for w in report.workspaces] == [ORDERS]
        assert [g.spec for g in report.groups] == [GROUP]
        assert report.workspaces[0].digest == spec_digest(ORDERS)
        assert report.workspaces[0].observed_generation == 1
        assert [t.reason for t in report.transitions][-1] is Reason.ANSWERED_SQL
        assert len(report.intervals) == 1

    async def test_an_authority_that_follows_is_told_until_it_was_heard(self, site: Site) -> None:
        await connected(site)
        site.cell.runtime.authorities = (Authority("new", "vouched"), Authority("old"))
        site.provider.away = True
        await site.cell.settle(60)
        site.provider.away = False
        await site.cell.settle(60)
        told = [report for report in site.provider.reports[1:] if report.facts is not None]
        (news,) = told
        assert (news.full, news.facts and news.facts.authorities) == (False, site.cell.runtime.authorities)

    async def test_machines_are_told_where_they_changed_and_only_then(self, site: Site) -> None:
        await connected(site)
        site.cell.runtime.zones = (Zone("a", 2, 1, 16_000, 2**36, "v1.36.1"),)
        await site.cell.settle(90)
        told = [report.facts for report in site.provider.reports[1:] if report.facts is not None]
        assert [each.zones for each in told] == [site.cell.runtime.zones]

    async def test_a_change_is_reported_at_once_and_alone(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        await site.cell.put(following(ORDERS, desired=Desired.SUSPENDED))
        later = site.provider.reports[1:]
        assert later
        assert not any(report.full or report.groups or report.facts for report in later)
        assert all(w.spec is None for report in later for w in report.workspaces)
        assert site.last.workspaces[-1].phase is Phase.SUSPENDED
        steps = [t.phase for report in later for t in report.transitions]
        assert steps == [Phase.STOPPING, Phase.SUSPENDED]

    async def test_a_change_that_shows_nowhere_else_is_reported_at_once(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        before = site.cell.clock.now()
        await site.cell.put(following(ORDERS, auto_suspend=AutoSuspend(SuspendType.IDLE, 600)))
        (told,) = site.last.workspaces
        assert (told.phase, told.observed_generation) == (Phase.RUNNING, 2)
        assert site.last.at - before < timedelta(seconds=1)

    async def test_a_quiet_cell_reports_every_thirty_seconds_with_its_heartbeat(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        before = len(site.provider.reports)
        await site.cell.clock.elapse(95)
        quiet = site.provider.reports[before:]
        assert 3 <= len(quiet) <= 4
        assert not any(report.workspaces or report.transitions or report.intervals for report in quiet)
        await site.cell.clock.elapse(130)
        (told,) = (report for report in site.provider.reports[before:] if report.intervals)
        assert told.intervals[0].last_seen > told.at - timedelta(seconds=36)

    async def test_numbers_rise_and_the_incarnation_stays(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        await site.cell.clock.elapse(100)
        numbers = [report.seq for report in site.provider.reports]
        assert numbers == sorted(set(numbers))
        assert {report.incarnation for report in site.provider.reports} == {site.cell.state.life.incarnation}

    async def test_an_end_is_a_tombstone_and_a_last_word(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        await site.cell.put(following(ORDERS, desired=Desired.TERMINATED))
        (grave,) = [grave for report in site.provider.reports for grave in report.tombstones]
        assert (grave.id, grave.generation) == (ORDERS.id, 2)
        words = [w for report in site.provider.reports for w in report.workspaces]
        assert (words[-1].phase, words[-1].generation, words[-1].observed_generation) == (
            Phase.TERMINATED,
            2,
            2,
        )
        assert ORDERS.id not in site.cell.state.views.now

    async def test_an_auto_suspend_carries_its_time(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        await site.cell.put(following(ORDERS, auto_suspend=AutoSuspend(SuspendType.SCHEDULED, 60)))
        await site.cell.clock.elapse(120)
        words = [w for report in site.provider.reports for w in report.workspaces]
        assert words[-1].reason is Reason.AUTO_SUSPENDED_SCHEDULED
        assert words[-1].auto_suspended_at is not None

    async def test_a_create_is_no_resume_but_a_resume_is(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        assert site.last.workspaces[0].last_resumed_at is None
        suspended = following(ORDERS, desired=Desired.SUSPENDED)
        await site.cell.put(suspended)
        await site.cell.put(following(suspended, desired=Desired.RUNNING))
        words = [w for report in site.provider.reports for w in report.workspaces]
        assert words[-1].last_resumed_at is not None

    async def test_a_group_without_its_newest_password_says_so(self, site: Site) -> None:
        await site.cell.bring_up()
        await site.cell.put(replace(GROUP, generation=2, password_version=2))
        await connected(site)
        (group,) = site.last.groups
        assert (group.condition, group.password_version) == (Condition.PASSWORD_NEEDED, 1)


class TestWhatIsKept:
    async def test_nothing_is_said_while_the_tunnel_is_down_and_all_of_it_afterwards(
        self, site: Site
    ) -> None:
        await site.cell.bring_up()
        suspended = following(ORDERS, desired=Desired.SUSPENDED)
        await site.cell.put(suspended)
        await site.cell.clock.elapse(500)
        assert site.provider.asked == []
        await connected(site)
        (report,) = site.provider.reports
        reasons = [t.reason for t in report.transitions]
        assert reasons[0] is Reason.ACCEPTED
        assert reasons[-1] is Reason.STOPPED_AS_ASKED
        assert report.intervals[0].end is not None

    async def test_what_was_not_acknowledged_is_sent_again_less_and_less_often(self, site: Site) -> None:
        site.provider.away = True
        await site.cell.bring_up()
        await connected(site)
        await site.cell.clock.elapse(300)
        assert 8 <= len(site.provider.asked) <= 20
        site.provider.away = False
        await site.cell.clock.elapse(31)
        assert len(site.provider.reports[0].transitions) == 6

    async def test_a_report_that_cannot_be_made_is_tried_again_less_and_less_often_until_it_can(
        self, site: Site
    ) -> None:
        await site.cell.bring_up()
        site.cell.runtime.zones = cast("Any", (object(),))
        with structlog.testing.capture_logs() as told:
            await connected(site)
            await site.cell.clock.elapse(300)
        tries = [each["tries"] for each in told if each["event"] == "report not made"]
        assert tries == list(range(1, len(tries) + 1))
        assert 8 <= len(tries) <= 20
        assert site.provider.reports == []
        site.cell.runtime.zones = ()
        await site.cell.clock.elapse(31)
        assert site.provider.reports[0].full

    async def test_a_lost_answer_repeats_the_same_facts_under_a_new_number(self, site: Site) -> None:
        site.provider.status = 502
        await site.cell.bring_up()
        await connected(site)
        site.provider.status = 200
        await site.cell.clock.elapse(31)
        first, again = site.provider.reports[:2]
        assert (again.workspaces, again.transitions) == (first.workspaces, first.transitions)
        assert again.seq > first.seq

    async def test_what_volumes_hold_is_reported_running_and_suspended_until_it_is_acknowledged(
        self, site: Site
    ) -> None:
        await site.cell.bring_up()
        await connected(site)
        await site.cell.clock.elapse(2 * LOOK_SECONDS + 35)
        running = site.told_of_volumes()
        await site.cell.put(following(ORDERS, desired=Desired.SUSPENDED))
        await site.cell.clock.elapse(3600)
        suspended = site.told_of_volumes()
        assert 0 < running < suspended
        minute = 60 * site.cell.runtime.volume_bytes
        assert suspended - running == pytest.approx(60 * minute, abs=6 * minute)
        assert [record.closed for record in site.cell.state.volumes.records()] == [False]

    async def test_acknowledged_usage_is_forgotten_and_only_then(self, site: Site) -> None:
        await site.cell.bring_up()
        await site.cell.put(following(ORDERS, desired=Desired.SUSPENDED))
        assert len(site.cell.intervals()) == 1
        await connected(site)
        assert site.cell.intervals() == ()
        assert site.cell.state.views.transitions()[1] == ()

    @pytest.mark.parametrize(
        "forged",
        [
            lambda p, r, t: "",
            lambda p, r, t: "e30.e30.e30",
            lambda p, r, t: p.receipt(r, t, cell="11111111-1111-4111-8111-111111111111"),
            lambda p, r, t: p.receipt(r, t, seq=r.ledger.seq + 1),
            lambda p, r, t: p.receipt(r, t, hash="0" * 64),
            lambda p, r, t: p.receipt(r, t, chain="other"),
            lambda p, r, t: replace(p, signing=SigningKey.generate()).receipt(r, t),
            lambda p, r, t: p.receipt(r, t, report=name_report(r.incarnation, r.seq - 1, t)),
            lambda p, r, t: p.receipt(r, t, report=name_report(new_id(), r.seq, t)),
            lambda p, r, t: p.receipt(r, t, report=name_report(r.incarnation, r.seq, t + "x")),
            lambda p, r, t: unnamed(p.receipt(r, t), p),
        ],
        ids=[
            "none",
            "noise",
            "another cell",
            "another record",
            "another hash",
            "another chain",
            "another key",
            "another report",
            "another incarnation",
            "the same number, another report",
            "no report",
        ],
    )
    async def test_an_answer_without_a_good_receipt_is_no_answer(
        self, forged: Callable[[Provider, CellReport, str], str], site: Site
    ) -> None:
        site.provider.forge = lambda report, text: forged(site.provider, report, text)
        await site.cell.bring_up()
        await site.cell.put(following(ORDERS, desired=Desired.SUSPENDED))
        await connected(site)
        await site.cell.clock.elapse(60)
        assert len(site.cell.intervals()) == 1
        assert site.cell.state.views.transitions()[1]
        assert all(report.full for report in site.provider.reports)
        assert not (site.cell.folder / "ledger" / "receipts.jsonl").exists()

    async def test_a_receipt_kept_back_makes_no_later_report_count_as_taken(self, site: Site) -> None:
        """An unchanged ledger head, a gateway that withholds one answer and gives it for the next report."""
        await site.cell.bring_up()
        await connected(site)
        kept: list[str] = []

        def withhold(report: CellReport, text: str) -> str:
            kept.append(site.provider.receipt(report, text))
            return kept[0]

        site.provider.forge = withhold
        site.provider.status = 502
        await site.cell.clock.elapse(31)
        site.provider.status = 200
        before = site.last.ledger
        await site.cell.put(following(ORDERS, desired=Desired.SUSPENDED))
        await site.cell.clock.elapse(31)
        assert site.last.ledger == before, "the head that the receipt kept back names is still the head"
        assert len(kept) > 1
        assert site.cell.state.views.transitions()[1]
        assert len(site.cell.intervals()) == 1

    async def test_a_good_receipt_is_kept_in_the_ledger(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        await site.cell.clock.elapse(100)
        lines = (site.cell.folder / "ledger" / "receipts.jsonl").read_text().splitlines()
        assert len(lines) == 1


class TestWhatIsAsked:
    async def test_a_full_report_follows_when_it_is_wanted(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        site.provider.full_wanted = True
        await site.cell.put(following(ORDERS, size="S-0"))
        site.provider.full_wanted = False
        await site.cell.clock.elapse(31)
        assert any(report.full for report in site.provider.reports[1:])

    async def test_one_that_is_never_satisfied_is_not_flooded(self, site: Site) -> None:
        site.provider.full_wanted = True
        await site.cell.bring_up()
        await connected(site)
        await site.cell.clock.elapse(120)
        assert len(site.provider.reports) < 15

    async def test_a_newer_key_set_is_fetched_when_it_is_announced(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        site.provider.version = site.provider.announced = 2
        site.provider.signing = SigningKey.generate()
        site.cell.clock.advance(1)
        await site.cell.clock.elapse(60)
        assert site.pinned.version == 2
        assert site.provider.signing.kid in site.pinned.keys
        assert site.provider.asked.count("GET /cell/v1/keys") == 1

    async def test_an_aged_key_set_is_renewed_though_nobody_announces_one(self, site: Site) -> None:
        await connected(site)
        site.provider.version = 2
        site.cell.clock.advance(KEY_SET_LIFE.total_seconds() / 2 - 120)
        await site.cell.clock.elapse(60)
        assert site.provider.asked.count("GET /cell/v1/keys") == 0
        await site.cell.clock.elapse(120)
        assert site.pinned.version == 2
        assert site.provider.asked.count("GET /cell/v1/keys") == 1

    async def test_a_key_set_that_stays_old_is_asked_for_once_a_minute_and_stops_no_report(
        self, site: Site
    ) -> None:
        await connected(site)
        site.provider.keys_status = 503
        site.cell.clock.advance(KEY_SET_LIFE.total_seconds() * 2)
        reports = len(site.provider.reports)
        await site.cell.clock.elapse(600)
        assert 9 <= site.provider.asked.count("GET /cell/v1/keys") <= 11
        assert len(site.provider.reports) - reports >= 18

    async def test_a_key_set_of_another_root_changes_nothing(self, site: Site) -> None:
        await site.cell.bring_up()
        await connected(site)
        site.provider.announced = site.provider.version = 2
        site.provider.root = SigningKey.generate()
        await site.cell.clock.elapse(60)
        assert site.pinned.version == 1


def word(provider: Provider, report: CellReport, text: str, **changes: Any) -> str:
    """What a Control Plane says that has taken five more reports."""
    name = name_report(report.incarnation, report.seq, text)
    said = Behind(report.cell, name, report.incarnation, report.seq + 5, 0)
    return sign_behind(provider.signing, replace(said, **changes))


class TestARestoredState:
    async def test_a_cell_behind_its_own_reports_begins_a_new_incarnation_in_full(self, site: Site) -> None:
        await site.cell.bring_up()
        ended = site.cell.state.life.incarnation
        site.provider.behind = lambda report, text: (
            word(site.provider, report, text) if report.incarnation == ended else ""
        )
        await connected(site)
        assert site.last.incarnation != ended
        assert site.last.full
        assert site.cell.state.life.incarnation == site.last.incarnation
        record = json.loads(site.cell.ledger_text().splitlines()[-1])
        assert (record["kind"], record["ended"], record["began"]) == (
            "incarnation", ended, site.last.incarnation,
        )  # fmt: skip
        assert (record["report"], record["taken"]) == (site.provider.reports[0].seq, record["report"] + 5)

    @pytest.mark.parametrize(
        "said",
        [
            lambda p, r, t: "e30.e30.e30",
            lambda p, r, t: word(replace(p, signing=SigningKey.generate()), r, t),
            lambda p, r, t: word(p, r, t, cell=new_id()),
            lambda p, r, t: word(p, r, t, seq=r.seq),
            lambda p, r, t: word(p, r, t + "x"),
            lambda p, r, t: p.receipt(r, t),
        ],
        ids=["noise", "another key", "another cell", "nothing newer", "another report", "a receipt"],
    )
    async def test_only_the_control_planes_word_on_this_report_ends_an_incarnation(
        self, said: Callable[[Provider, CellReport, str], str], site: Site
    ) -> None:
        await site.cell.bring_up()
        began = site.cell.state.life.incarnation
        site.provider.behind = lambda report, text: said(site.provider, report, text)
        await connected(site)
        await site.cell.clock.elapse(120)
        assert site.cell.state.life.incarnation == began
        assert "incarnation" not in {
            json.loads(line)["kind"] for line in site.cell.ledger_text().splitlines()
        }
        assert site.cell.state.views.transitions()[1], "nothing of the report counts as taken"

    async def test_one_that_always_says_so_is_not_followed_from_life_to_life(self, site: Site) -> None:
        site.provider.behind = lambda report, text: word(site.provider, report, text)
        await site.cell.bring_up()
        await connected(site)
        await site.cell.clock.elapse(300)
        assert len({report.incarnation for report in site.provider.reports}) <= 6


async def test_a_cell_cut_off_for_long_drops_its_oldest_history_only(site: Site) -> None:
    from byoc.dataplane import views  # noqa: PLC0415

    await site.cell.bring_up()
    held = site.cell.state.desired.workspaces[ORDERS.id]
    phases = (Phase.HEALING, Phase.RUNNING)
    for number in range(views.MOST + 10):
        seen = views.Seen(phases[number % 2], Reason.ENGINE_EXITED)
        site.cell.state.views.note(held, seen, site.cell.clock.now())
    number, kept = site.cell.state.views.transitions()
    assert len(kept) == views.MOST
    assert Reason.ACCEPTED not in {step.reason for step in kept}
    site.cell.state.views.acknowledge(number - 1)
    assert len(site.cell.state.views.transitions()[1]) == 1
