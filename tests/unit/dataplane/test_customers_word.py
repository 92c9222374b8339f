"""Threats to the customer's word: a race with the policy, and everything that the tunnel could try."""

import json
from dataclasses import replace
from typing import Any

import pytest

from byoc.dataplane.approvals import new_values
from byoc.dataplane.control import Control
from byoc.dataplane.desk import FolderDesk, FolderPapers
from byoc.dataplane.ledger_verify import read_records
from byoc.errors import Unreachable
from byoc.model.control import Access, Answer, Answers, Renewal, Stage
from byoc.model.papers import BY_CUSTOMER, Paper
from byoc.model.spec import Desired
from byoc.model.verbs import Verb
from byoc.testing.cell import GROUP, ORDERS, following
from byoc.wire.canonical import canonical
from byoc.wire.cell import Delivery, encode
from byoc.wire.control import answer as give
from byoc.wire.control import ask_renewal, dump, read_access, requests, set_access
from tests.unit.dataplane.site import Site

WAITS = 'approval = ["workspace.resize"]\n'


def papers(site: Site) -> FolderPapers:
    return FolderPapers(site.cell.folder)


def laid_down(site: Site) -> dict[str, str]:
    return {paper: papers(site).read(paper).text for paper in BY_CUSTOMER}


async def test_a_policy_that_changes_between_admission_and_act_counts(site: Site) -> None:
    """The body comes in two pieces; the policy is replaced after the request was let in."""
    await site.bring_up()
    guard = site.app._door.guard
    new = following(ORDERS, size="S-0")
    signed = site.provider.delivery(new, ORDERS)
    admission = await guard.admit(f"Bearer {signed.token}", signed.method, signed.target, signed.body)
    (site.cell.folder / Paper.POLICY).write_text('deny = ["workspace.resize"]')

    with pytest.raises(Exception, match="policy-deny"):
        guard.check_delivery(admission, held=ORDERS, effective=ORDERS, new=new)


async def test_access_that_is_revoked_between_admission_and_act_counts(site: Site) -> None:
    await site.bring_up()
    guard = site.app._door.guard
    new = following(ORDERS, size="S-0")
    signed = site.provider.delivery(new, ORDERS)
    admission = await guard.admit(f"Bearer {signed.token}", signed.method, signed.target, signed.body)
    text = dump(Access(True, "ann", site.cell.clock.now()))
    papers(site).write(Paper.ACCESS, text, papers(site).read(Paper.ACCESS).version)

    with pytest.raises(Exception, match="access-revoked"):
        guard.check_delivery(admission, held=ORDERS, effective=ORDERS, new=new)


def attempts(site: Site, digest: str) -> list[tuple[str, str, bytes]]:
    """What a hostile Control Plane, which signs whatever it likes, could send to be believed."""
    answer = Answer("x", ORDERS.id, 2, digest, True, "ann", site.cell.clock.now())
    texts = [
        dump(Answers((answer,))).encode(),
        dump(Access(False, "ann", site.cell.clock.now())).encode(),
        b'allow = ["*"]',
    ]
    targets = [
        f"/cell/v1/{name}"
        for paper in Paper
        for name in (paper, f"control/{paper}", f"../control/{paper}", f"workspaces/../control/{paper}")
    ]
    targets += ["/cell/v1/policy", "/cell/v1/access", f"/cell/v1/workspaces/{ORDERS.id}/approve"]
    return [(method, target, text) for method in ("PUT", "POST") for target in targets for text in texts]


async def test_nothing_in_the_tunnel_writes_a_paper_of_the_customers(site: Site) -> None:
    (site.cell.folder / Paper.POLICY).write_text(WAITS)
    await site.bring_up()
    resized = following(ORDERS, size="S-0")
    assert (await site.deliver(resized)).status == 202
    (request,) = requests(papers(site))
    before = laid_down(site)

    for method, target, text in attempts(site, request.digest):
        token = site.token(method, target, text, verbs=list(Verb))
        answer = await site.call(token, method, target, text)
        assert answer.status in {400, 404}, (method, target)
    extra: dict[str, Any] = encode(Delivery(workspace=resized)) | {"approved": True}
    body = canonical(extra)
    smuggled = site.provider.delivery(resized, ORDERS)
    token = site.token("PUT", smuggled.target, body, base=1, changes=[])
    assert (await site.call(token, "PUT", smuggled.target, body)).status == 403

    assert laid_down(site) == before
    assert requests(papers(site))[0].stage is Stage.WAITING
    assert site.cell.state.desired.workspaces[ORDERS.id].spec.size == "S-00"


async def test_a_flood_of_changes_that_wait_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("byoc.dataplane.approvals.MOST", 3)
    (site.cell.folder / Paper.POLICY).write_text('approval = ["workspace.create"]')
    assert (await site.deliver(GROUP, password="first")).status == 200
    statuses = []
    for number in range(5):
        own = f"{number}2222222-2222-4222-8222-222222222222"
        statuses.append((await site.deliver(replace(ORDERS, id=own))).status)

    assert statuses == [202, 202, 202, 429, 429]
    assert len(requests(papers(site))) == 3


async def test_the_same_delivery_waits_once_and_its_answer_is_signed(site: Site) -> None:
    (site.cell.folder / Paper.POLICY).write_text(WAITS)
    await site.bring_up()
    resized = following(ORDERS, size="S-0")
    answers = [await site.deliver(resized) for _ in range(3)]

    assert [json.loads(one.body)["rule"] for one in answers] == ["waiting-for-approval"] * 3
    assert all("byoc-answer" in one.headers for one in answers)
    (request,) = requests(papers(site))
    assert [str(each) for each in request.asks] == ["size: S-00 -> S-0"]
    asked = next(one for one in read_records(site.cell.folder / "ledger") if one["kind"] == "approval-asked")
    assert asked["asks"] == [{"setting": "size", "before": "S-00", "after": "S-0"}]


@pytest.mark.parametrize(
    ("held", "new", "shown"),
    [
        (
            GROUP,
            following(GROUP, firewall_ranges=("0.0.0.0/0",), allow_all_traffic=True),
            ['firewallRanges: [] -> ["0.0.0.0/0"]', "allowAllTraffic: false -> true"],
        ),
        (GROUP, following(GROUP, password_version=2), ["passwordVersion: 1 -> 2"]),
        (
            ORDERS,
            following(ORDERS, desired=Desired.TERMINATED, size="S-4"),
            ["desired: running -> terminated"],
        ),
        (None, replace(ORDERS, enable_kai=True), ["size: none -> S-00", "enableKai: none -> true"]),
    ],
)
def test_the_new_values_are_shown_beside_what_the_cell_has(held: Any, new: Any, shown: list[str]) -> None:
    found = [str(each) for each in new_values(held, new)]
    assert found == shown if held is not None else set(shown) <= set(found)


def test_a_value_without_end_is_shown_with_one() -> None:
    ranges = tuple(f"10.0.{number}.0/24" for number in range(200))
    (found,) = new_values(GROUP, following(GROUP, firewall_ranges=ranges))
    assert len(found.after) < 600
    assert found.after.endswith("characters more")


async def test_an_answer_that_cannot_be_recorded_does_not_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.cell.folder / Paper.POLICY).write_text(WAITS)
    await site.bring_up()
    resized = following(ORDERS, size="S-0")
    await site.deliver(resized)
    (request,) = requests(papers(site))
    word = Answer(request.id, request.own, request.generation, request.digest, True, "ann", request.since)
    papers(site).write(Paper.ANSWERS, dump(Answers((word,))), papers(site).read(Paper.ANSWERS).version)
    ledger = site.cell.folder / "ledger"
    ledger.rename(site.cell.folder / "elsewhere")
    ledger.write_text("no folder")
    control = site.app._door.guard._control
    control.look()
    assert requests(papers(site))[0].stage is Stage.WAITING

    ledger.unlink()
    (site.cell.folder / "elsewhere").rename(ledger)
    control.look()
    assert requests(papers(site))[0].stage is Stage.APPROVED


@pytest.mark.parametrize("paper", [Paper.ANSWERS, Paper.GLASS, Paper.AUTHORITY])
def test_a_paper_that_cannot_be_read_does_not_end_the_agent_and_says_nothing(
    site: Site, paper: Paper
) -> None:
    folder = site.cell.folder
    (folder / "control" / paper).mkdir(parents=True)
    control = Control(FolderDesk(folder), site.cell.ledger, site.cell.clock)

    assert control.look() is False
    assert control.approvals.decided == ()


def test_a_wish_for_another_authority_is_on_record_before_it_is_carried_out_and_is_so_once(
    site: Site,
) -> None:
    folder, asked, fails = site.cell.folder, list[bool](), [True]

    def succeed(at_once: bool) -> None:
        if fails:
            fails.pop()
            raise Unreachable("the cluster is away")
        asked.append(at_once)

    def begun() -> Control:
        return Control(FolderDesk(folder), site.cell.ledger, site.cell.clock, succeed=succeed)

    control, now = begun(), site.cell.clock.now()
    control.look()
    assert asked == []
    ask_renewal(papers(site), Renewal(at_once=True, by="ann", at=now, reason="a key was seen"))
    for expected in ([], [True], [True]):
        control.look()
        assert asked == expected
    control.show(lambda said: said)
    begun().look()
    assert asked == [True]
    said = [one for one in read_records(folder / "ledger") if one["kind"] == "authority"]
    assert [(one["atOnce"], one["by"], one["reason"]) for one in said] == [(True, "ann", "a key was seen")]


@pytest.mark.parametrize("text", ["[]", "\x00", None])
@pytest.mark.parametrize("paper", [Paper.REQUESTS, Paper.STANDING])
def test_a_shown_paper_that_was_damaged_keeps_no_agent_from_beginning(
    site: Site, paper: Paper, text: str | None
) -> None:
    path = site.cell.folder / "shown" / paper
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if text is None:
        path.mkdir()
    else:
        path.write_text(text)

    assert Control(FolderDesk(site.cell.folder), site.cell.ledger, site.cell.clock).look() is False


@pytest.mark.parametrize(
    "text", ['{"revoked": null}', '{"revoked": ""}', '{"revoked": 0}', '{"by": "\\ud800"}']
)
def test_a_word_on_access_that_is_no_word_keeps_the_control_plane_out(text: str) -> None:
    assert read_access(text).revoked


@pytest.mark.parametrize("word", ['"no"', '"false"', "1", "[0]"])
async def test_an_answer_that_is_neither_yes_nor_no_approves_nothing(site: Site, word: str) -> None:
    (site.cell.folder / Paper.POLICY).write_text(WAITS)
    await site.bring_up()
    resized = following(ORDERS, size="S-0")
    assert (await site.deliver(resized)).status == 202
    (request,) = requests(papers(site))
    now = site.cell.clock.now()
    given = dump(
        Answers((Answer(request.id, request.own, request.generation, request.digest, True, "x", now),))
    )
    control = site.cell.folder / "control"
    control.mkdir(exist_ok=True)
    (control / Paper.ANSWERS).write_text(given.replace("true", word))

    assert (await site.deliver(resized)).status == 202
    assert site.cell.state.desired.workspaces[ORDERS.id].spec == ORDERS


async def test_an_approval_is_for_what_was_shown_that_the_change_would_do(site: Site) -> None:
    """A hostile control plane suspends in between, so that the approved resize would resume too."""
    policy = site.cell.folder / Paper.POLICY
    policy.write_text('approval = ["workspace.resize", "workspace.resume"]')
    await site.bring_up()
    wanted = replace(ORDERS, generation=3, size="S-0")
    resize, both = [Verb.WORKSPACE_RESIZE], [Verb.WORKSPACE_RESIZE, Verb.WORKSPACE_RESUME]
    assert (await site.deliver(wanted, verbs=[[Verb.REVERT], resize])).status == 202
    (request,) = requests(papers(site))
    now = site.cell.clock.now()
    agreed = give(papers(site), request.id, approved=True, by="ann", now=now)
    assert agreed.verbs == ("workspace.resize",)
    assert (await site.deliver(following(ORDERS, desired=Desired.SUSPENDED))).status == 200

    assert (await site.deliver(wanted, base=2, verbs=[both])).status == 202

    (again,) = requests(papers(site))
    assert (again.stage, again.verbs) == (Stage.WAITING, tuple(verb.value for verb in both))
    assert again.id != request.id
    give(papers(site), again.id, approved=True, by="ann", now=now)
    assert (await site.deliver(wanted, base=2, verbs=[both])).status == 200


def test_a_paper_on_access_that_is_gone_restores_nothing(site: Site) -> None:
    folder, now = site.cell.folder, site.cell.clock.now()
    control = Control(FolderDesk(folder), site.cell.ledger, site.cell.clock)
    assert control.look() is False
    set_access(papers(site), Access(True, "ann", now, "audit"))
    assert control.look() is True
    control.show(lambda said: said)

    (folder / "control" / Paper.ACCESS).unlink()
    assert control.look() is True
    again = Control(FolderDesk(folder), site.cell.ledger, site.cell.clock)
    assert again.look() is True
    set_access(papers(site), Access(False, "ann", now))
    assert (control.look(), again.look()) == (False, False)
