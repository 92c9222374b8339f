"""Hostile requests, and lawful ones, at the one door into the cell."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from byoc.dataplane.control import Control
from byoc.dataplane.desk import FolderDesk
from byoc.dataplane.files import FileStorage
from byoc.dataplane.guard import Admission, Decision, Guard, Refused
from byoc.dataplane.keys import PinnedKeys
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_verify import read_records, verify
from byoc.dataplane.policy import FILE, PolicyFile
from byoc.dataplane.rates import Rates
from byoc.dataplane.replay import InLedger, Replays
from byoc.errors import BadToken, Unwritable
from byoc.ids import GroupID, WorkspaceID
from byoc.model.spec import Spec, WorkspaceSpec
from byoc.model.verbs import Verb
from byoc.testing import ManualClock
from byoc.wire import jws, tokens
from byoc.wire.canonical import canonical
from byoc.wire.cell import Delivery, encode
from byoc.wire.jws import Kind
from byoc.wire.keys import SigningKey
from byoc.wire.keysets import certify_key_set_key, issue_key_set
from byoc.wire.tokens import Change

CELL = "cell-1"
ROOT, SETS, SIGNING, STRANGER = (SigningKey.generate() for _ in range(4))
ID = WorkspaceID("0b9e4c1e-6a3f-4c55-9a9e-0f1f6f6f2d11")
TARGET = f"/cell/v1/workspaces/{ID}"
HELD = WorkspaceSpec(ID, GroupID("g"), 3, "orders", "S-00")
STATUS = "/cell/v1/status"


@dataclass
class ControlPlane:
    """Signs as the real one does, or as it is told."""

    clock: ManualClock
    number: int = 0

    def key_set(self, version: int = 1, *keys: SigningKey) -> str:
        now = self.clock.now()
        certificate = certify_key_set_key(ROOT, SETS.public, now=now)
        public = [key.public for key in keys or (SIGNING,)]
        return issue_key_set(SETS, certificate, public, version=version, now=now)

    def request(self, key: SigningKey = SIGNING, **changes: Any) -> str:
        self.number += 1
        given: dict[str, Any] = {
            "issuer": "cp",
            "cell": CELL,
            "sub": "ann",
            "method": "GET",
            "target": STATUS,
            "body": b"",
            "now": self.clock.now(),
            "jti": f"request-{self.number}",
        }
        if "base" not in changes:
            given["verbs"] = (Verb.CELL_READ,)
        return tokens.issue_request(key, **(given | changes))

    def change(self, generation: int, verb: Verb, at: datetime | None = None, sub: str = "ann") -> Change:
        return Change(generation, verb, sub, at or self.clock.now())


class Cell:
    """A guard with its files, which can be started again."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.folder = folder
        self.clock = clock
        self.cp = ControlPlane(clock)
        self.pinned = PinnedKeys.create(FileStorage(folder), ROOT.public, self.cp.key_set(5), clock)
        self.start()

    def start(self) -> None:
        pinned = PinnedKeys.load(FileStorage(self.folder), self.clock)
        assert pinned is not None
        self.pinned = pinned
        self.ledger = Ledger(self.folder / "ledger", self.clock, lambda: "chain-1")
        self.control = Control(FolderDesk(self.folder), self.ledger, self.clock)
        self.guard = Guard(
            CELL,
            pinned=pinned,
            policy=PolicyFile(self.folder),
            ledger=self.ledger,
            replays=Replays(InLedger(self.folder / "ledger", self.clock), self.clock),
            rates=Rates(FileStorage(self.folder), self.clock),
            control=self.control,
            clock=self.clock,
        )

    def read(self, token: str, **changes: Any) -> Admission:
        given: dict[str, Any] = {"method": "GET", "target": STATUS, "body": b""}
        return asyncio.run(self.guard.admit(f"Bearer {token}", **(given | changes)))

    def refused(self, token: str, **changes: Any) -> str:
        with pytest.raises(Refused) as error:
            self.read(token, **changes)
        return f"{error.value.status} {error.value.rule}"

    def deliver(
        self,
        new: Spec,
        *changes: Change,
        base: int = 3,
        held: Spec | None = HELD,
        effective: Spec | None = None,
        terminated: bool = False,
    ) -> Decision:
        body = canonical(encode(Delivery(workspace=new) if isinstance(new, WorkspaceSpec) else Delivery(new)))
        kind = "workspaces" if isinstance(new, WorkspaceSpec) else "groups"
        call: dict[str, Any] = {"method": "PUT", "target": f"/cell/v1/{kind}/{new.id}", "body": body}
        token = self.cp.request(**call, base=base, changes=changes)
        admission = asyncio.run(self.guard.admit(f"Bearer {token}", **call))
        return self.guard.check_delivery(
            admission, held=held, effective=effective or held, new=new, terminated=terminated
        )

    def deliver_refused(self, *arguments: Any, **named: Any) -> Refused:
        with pytest.raises(Refused) as error:
            self.deliver(*arguments, **named)
        return error.value

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in read_records(self.folder / "ledger") if record["kind"] == kind]


@pytest.fixture
def cell(tmp_path: Path, clock: ManualClock) -> Cell:
    return Cell(tmp_path, clock)


def changed(generation: int, **fields: Any) -> WorkspaceSpec:
    return replace(HELD, generation=generation, **fields)


def resigned(token: str, header: dict[str, Any], claims: dict[str, Any] | None = None) -> str:
    """The same token with another header (and claims), signed by the real key."""
    payload = jws.unverified(Kind.REQUEST, token) | (claims or {})
    named = {"typ": Kind.REQUEST.value, "kid": SIGNING.kid} | header
    return jwt.PyJWS().encode(canonical(payload), SIGNING.material, algorithm="EdDSA", headers=named)


def unsigned(token: str) -> str:
    header, payload, _ = resigned(token, {}).split(".")
    none = jwt.PyJWS().encode(b"", None, algorithm="none", headers={"kid": SIGNING.kid}).split(".")[0]
    assert header != none
    return f"{none}.{payload}."


def by_shared_secret(token: str) -> str:
    return jwt.PyJWS().encode(
        canonical(jws.unverified(Kind.REQUEST, token)),
        SIGNING.public.jwk()["x"].encode(),
        algorithm="HS256",
        headers={"typ": Kind.REQUEST.value, "kid": SIGNING.kid},
    )


def as_login(cell: Cell) -> str:
    given: dict[str, Any] = {"challenge": b"x" * 32, "audience": CELL, "now": cell.clock.now()}
    return tokens.issue_controlplane_login(SIGNING, issuer="cp", jti="1", **given)


def stale(cell: Cell) -> str:
    token = cell.cp.request()
    cell.clock.advance(66)
    return token


def early(cell: Cell) -> str:
    return cell.cp.request(now=cell.clock.now() + timedelta(seconds=6))


def life(cell: Cell, seconds: int) -> str:
    issued = int(cell.clock.now().timestamp())
    return resigned(cell.cp.request(), {}, {"iat": issued, "exp": issued + seconds})


HOSTILE: list[tuple[str, Callable[[Cell], str], str]] = [
    ("expired", stale, "401 expired"),
    (
        "from the future",
        early,
        "401 not-yet-valid",
    ),
    ("living too long", lambda c: life(c, 61), "401 life-too-long"),
    ("living for ever", lambda c: life(c, 10**9), "401 life-too-long"),
    ("for another audience", lambda c: c.cp.request(cell="cell-2"), "401 wrong-audience"),
    ("for two audiences", lambda c: resigned(c.cp.request(), {}, {"aud": [CELL]}), "401 wrong-claims"),
    ("by an unknown key", lambda c: c.cp.request(STRANGER), "401 unknown-key"),
    ("by the key-set key", lambda c: c.cp.request(SETS), "401 unknown-key"),
    ("by the root", lambda c: c.cp.request(ROOT), "401 unknown-key"),
    (
        "by a key under the name of another",
        lambda c: resigned(c.cp.request(STRANGER), {"kid": STRANGER.kid}),
        "401 unknown-key",
    ),
    ("with another body", lambda c: c.cp.request(body=b"other"), "401 wrong-body"),
    ("for another method", lambda c: c.cp.request(method="PUT"), "401 wrong-target"),
    ("for another path", lambda c: c.cp.request(target=TARGET), "401 wrong-target"),
    ("for another query", lambda c: c.cp.request(target=STATUS + "?x=1"), "401 wrong-target"),
    ("of another typ", lambda c: resigned(c.cp.request(), {"typ": Kind.ANSWER.value}), "401 wrong-type"),
    ("of no typ", lambda c: resigned(c.cp.request(), {"typ": "JWT"}), "401 wrong-type"),
    ("a login", as_login, "401 wrong-type"),
    ("a receipt", lambda c: jws.sign(Kind.RECEIPT, {}, SIGNING), "401 wrong-type"),
    ("alg none", lambda c: unsigned(c.cp.request()), "401 wrong-algorithm"),
    ("HS256 with the public key", lambda c: by_shared_secret(c.cp.request()), "401 wrong-algorithm"),
    ("with a changed signature", lambda c: c.cp.request()[:-8] + "AAAAAAAA", "401 bad-signature"),
    ("nothing", lambda c: "", "401 malformed"),
    ("garbage", lambda c: "a.b.c", "401 malformed"),
    ("without a jti", lambda c: resigned(c.cp.request(), {}, {"jti": ""}), "401 wrong-claims"),
    ("with an endless jti", lambda c: c.cp.request(jti="x" * 129), "401 wrong-claims"),
]


@pytest.mark.parametrize(("make", "said"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_a_hostile_token_is_refused_counted_and_does_nothing(
    cell: Cell, make: Callable[[Cell], str], said: str
) -> None:
    assert cell.refused(make(cell)) == said

    assert not cell.records("received")
    assert [record["rule"] for record in cell.records("unauthenticated")] == [said.removeprefix("401 ")]


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Bearer", "Bearer  "])
def test_a_request_without_a_token_is_refused(cell: Cell, header: str | None) -> None:
    with pytest.raises(Refused, match="malformed"):
        asyncio.run(cell.guard.admit(header, "GET", STATUS, b""))


def test_a_token_made_for_another_cell_by_its_own_key_is_refused(cell: Cell) -> None:
    other = SigningKey.generate()

    assert cell.refused(cell.cp.request(other)) == "401 unknown-key"
    stolen_name = jwt.PyJWS().encode(
        canonical(jws.unverified(Kind.REQUEST, cell.cp.request())),
        other.material,
        algorithm="EdDSA",
        headers={"typ": Kind.REQUEST.value, "kid": SIGNING.kid},
    )
    assert cell.refused(stolen_name) == "401 bad-signature"


def test_a_lawful_request_is_let_in_and_recorded_before_anything_else(cell: Cell) -> None:
    admission = cell.read(cell.cp.request())
    cell.guard.authorize(admission, Verb.CELL_READ)
    cell.guard.finish(admission, 200, "answered")

    (received,), (outcome,) = cell.records("received"), cell.records("outcome")
    assert (received["jti"], received["sub"], received["verbs"]) == ("request-1", "ann", ["cell.read"])
    assert (outcome["request"], outcome["status"], outcome["outcome"]) == (received["seq"], 200, "answered")
    assert verify(cell.folder / "ledger", {}).ok


def test_a_replayed_request_is_refused(cell: Cell) -> None:
    token = cell.cp.request()
    cell.read(token)

    cell.clock.advance(30)
    assert cell.refused(token) == "401 replayed"
    assert len(cell.records("received")) == 1


def test_a_replayed_request_is_refused_across_a_restart_of_the_agent(cell: Cell) -> None:
    token = cell.cp.request()
    cell.read(token)

    cell.start()

    assert cell.refused(token) == "401 replayed"


def test_a_replayed_request_is_refused_to_the_end_of_its_life(cell: Cell) -> None:
    token = cell.cp.request()
    cell.read(token)
    rules = set()
    for _ in range(130):
        cell.clock.advance(1)
        rules.add(cell.refused(token))

    assert rules == {"401 replayed", "401 expired"}


def test_a_request_spoiled_on_its_way_is_still_good_when_it_arrives_whole(cell: Cell) -> None:
    token = cell.cp.request()
    assert cell.refused(token, body=b"spoiled") == "401 wrong-body"

    assert cell.read(token).jti == "request-1"


def test_a_lower_key_set_is_refused_and_its_keys_are_not_believed(cell: Cell) -> None:
    with pytest.raises(BadToken, match="lower"):
        cell.pinned.refresh(cell.cp.key_set(4, STRANGER))
    cell.start()

    assert cell.refused(cell.cp.request(STRANGER)) == "401 unknown-key"
    assert cell.read(cell.cp.request())


def test_a_key_that_left_the_set_is_not_believed_any_more(cell: Cell) -> None:
    cell.pinned.refresh(cell.cp.key_set(6, STRANGER))

    assert cell.refused(cell.cp.request()) == "401 unknown-key"
    assert cell.read(cell.cp.request(STRANGER))


def test_with_an_expired_key_set_every_verb_is_refused_until_it_is_renewed(cell: Cell) -> None:
    cell.clock.advance(timedelta(days=7, seconds=5).total_seconds())
    assert cell.refused(cell.cp.request()) == "401 keys-expired"

    cell.pinned.refresh(cell.cp.key_set(6))

    assert cell.read(cell.cp.request())


def test_a_verb_that_was_not_signed_is_refused(cell: Cell) -> None:
    admission = cell.read(cell.cp.request(verbs=(Verb.CELL_READ,)))

    with pytest.raises(Refused) as error:
        cell.guard.authorize(admission, Verb.LOGS_READ)
    assert (error.value.status, error.value.rule, error.value.jti) == (403, "verb-not-signed", "request-1")


def test_a_verb_that_the_policy_does_not_name_is_refused(cell: Cell) -> None:
    admission = cell.read(cell.cp.request(verbs=(Verb.LOGS_READ,)))
    with pytest.raises(Refused) as error:
        cell.guard.authorize(admission, Verb.LOGS_READ)
    assert (error.value.rule, error.value.status) == ("policy-allow", 403)

    (cell.folder / FILE).write_text('allow = ["logs.read"]')
    cell.guard.authorize(admission, Verb.LOGS_READ)


def test_a_resync_fills_an_empty_cell_and_no_other(cell: Cell) -> None:
    admission = cell.read(cell.cp.request(verbs=(Verb.CELL_RESYNC,)))

    cell.guard.authorize(admission, Verb.CELL_RESYNC, state_empty=True)
    with pytest.raises(Refused, match="does not allow"):
        cell.guard.authorize(admission, Verb.CELL_RESYNC, state_empty=False)


@pytest.mark.parametrize("verb", [Verb.LOGS_READ, Verb.METRICS_READ, Verb.CELL_RESYNC])
def test_what_is_no_change_and_wants_approval_is_refused(cell: Cell, verb: Verb) -> None:
    (cell.folder / FILE).write_text('allow = ["*"]\napproval = ["*"]')
    admission = cell.read(cell.cp.request(verbs=(verb,)))

    with pytest.raises(Refused, match="only a change can wait") as error:
        cell.guard.authorize(admission, verb)
    assert (error.value.rule, error.value.status) == ("policy-approval", 403)
    own = cell.read(cell.cp.request(verbs=(Verb.CELL_READ, Verb.CELL_RESYNC)))
    cell.guard.authorize(own, Verb.CELL_READ)
    cell.guard.authorize(own, Verb.CELL_RESYNC, state_empty=True)


def test_the_same_generation_with_another_content_is_an_alarm(cell: Cell) -> None:
    resize = cell.cp.change(3, Verb.WORKSPACE_RESIZE)

    refused = cell.deliver_refused(changed(3, size="S-4"), resize, base=2)

    assert refused.jti

    assert (refused.rule, refused.status, refused.generation) == ("digest-differs", 409, 3)
    (alarm,) = cell.records("alarm")
    assert (alarm["id"], alarm["generation"]) == (ID, 3)


def test_a_body_about_another_object_is_refused(cell: Cell) -> None:
    new = replace(changed(4, size="S-0"), id=WorkspaceID("another"))
    token = cell.cp.request(
        method="PUT", target=TARGET, body=b"{}", base=3, changes=[cell.cp.change(4, Verb.WORKSPACE_RESIZE)]
    )
    admission = asyncio.run(cell.guard.admit(f"Bearer {token}", "PUT", TARGET, b"{}"))

    with pytest.raises(Refused, match="wrong-object"):
        cell.guard.check_delivery(admission, held=HELD, effective=HELD, new=new)


def test_the_policy_decides_on_each_verb_that_is_done(cell: Cell) -> None:
    (cell.folder / FILE).write_text('deny = ["workspace.resize"]')
    verbs = (Verb.WORKSPACE_UPDATE, Verb.WORKSPACE_RESIZE)
    changes = [cell.cp.change(4 + place, verb) for place, verb in enumerate(verbs)]

    assert cell.deliver_refused(changed(5, size="S-0", name="x"), *changes).rule == "policy-deny"
    assert cell.deliver(changed(5, name="x"), *changes) is Decision.APPLY, "nothing is resized"


def test_a_malformed_policy_keeps_the_old_one_and_is_recorded(cell: Cell) -> None:
    (cell.folder / FILE).write_text('deny = ["workspace.resize"]')
    cell.read(cell.cp.request())
    (cell.folder / FILE).write_text("deny = [nonsense")

    resize = cell.cp.change(4, Verb.WORKSPACE_RESIZE)
    assert cell.deliver_refused(changed(4, size="S-0"), resize).rule == "policy-deny"

    first, second = cell.records("policy")
    assert first["digest"] == second["digest"]
    assert "problem" not in first
    assert "line 1" in second["problem"]


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    def append(descriptor: int, data: bytes, *, sync: bool = True) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("byoc.durable.append_to", append)


def test_a_full_disk_refuses_verbs_until_there_is_space_again(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = cell.cp.request()
    full(monkeypatch)
    assert cell.refused(token) == "503 ledger-unwritable"
    monkeypatch.undo()

    assert cell.read(token).jti == "request-1", "what did not act may be sent again"
    assert verify(cell.folder / "ledger", {}).ok


def test_a_broken_ledger_refuses_verbs(cell: Cell) -> None:
    cell.read(cell.cp.request())
    cell.ledger.close()
    with (cell.folder / "ledger" / "ledger.jsonl").open("ab") as stream:
        stream.write(b"not a record\n")
    cell.start()

    assert cell.refused(cell.cp.request()) == "503 ledger-unwritable"


def test_a_refusal_for_a_full_disk_can_be_signed(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch)
    with pytest.raises(Refused) as error:
        cell.read(cell.cp.request())
    assert error.value.jti == "request-1"


def test_an_outcome_that_finds_the_disk_full_is_recorded_later(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission = cell.read(cell.cp.request())
    full(monkeypatch)
    cell.guard.finish(admission, 200, "applied")
    cell.guard.flush()
    monkeypatch.undo()

    cell.read(cell.cp.request())

    (outcome,) = cell.records("outcome")
    assert outcome["request"] == admission.seq
    assert [record["kind"] for record in read_records(cell.folder / "ledger")][-2:] == ["outcome", "received"]


def test_a_request_that_cannot_be_remembered_is_refused_and_has_an_outcome(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwritable(_replays: Replays, _jti: str, _issued_at: object) -> None:
        raise Unwritable("cannot write replays")

    monkeypatch.setattr(Replays, "remember", unwritable)
    assert cell.refused(cell.cp.request()) == "503 ledger-unwritable"
    received, outcome = list(read_records(cell.folder / "ledger"))[-2:]
    assert (received["kind"], outcome["kind"]) == ("received", "outcome")
    assert outcome["request"] == received["seq"]


def test_more_requests_than_can_be_remembered_are_refused(cell: Cell) -> None:
    cell.guard._replays = Replays(InLedger(cell.folder / "ledger", cell.clock), cell.clock, limit=1)
    cell.read(cell.cp.request())

    assert cell.refused(cell.cp.request()) == "429 too-many-requests"
    assert cell.records("outcome")[-1]["rule"] == "too-many-requests"


def test_a_flood_costs_one_record_per_kind_and_minute(cell: Cell) -> None:
    for _ in range(50):
        cell.refused("garbage")
        cell.refused(cell.cp.request(STRANGER))
    assert [(one["rule"], one["count"]) for one in cell.records("unauthenticated")] == [
        ("malformed", 1),
        ("unknown-key", 1),
    ]

    cell.clock.advance(60)
    cell.guard.flush()
    cell.guard.flush()

    assert [(one["rule"], one["count"]) for one in cell.records("unauthenticated")[2:]] == [
        ("malformed", 49),
        ("unknown-key", 49),
    ]


def test_a_flood_on_a_full_disk_is_counted(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    full(monkeypatch)
    for _ in range(5):
        cell.refused("garbage")
    monkeypatch.undo()
    cell.guard.flush()

    assert [one["count"] for one in cell.records("unauthenticated")] == [5]


def test_nothing_of_a_token_or_body_reaches_the_ledger(cell: Cell) -> None:
    body = json.dumps({"sealed_password": "eyJ-a-sealed-blob"}).encode()
    call: dict[str, Any] = {"method": "PUT", "target": TARGET, "body": body}
    token = cell.cp.request(**call, base=0, changes=[cell.cp.change(1, Verb.WORKSPACE_CREATE)])
    asyncio.run(cell.guard.admit(f"Bearer {token}", **call))

    written = (cell.folder / "ledger" / "ledger.jsonl").read_text()
    assert "eyJ" not in written
    assert token.split(".")[1] not in written
