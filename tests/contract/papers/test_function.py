"""What is the control function's alone: whose cell it serves, and what it is made of."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from byoc.bootstrap.aws import Account
from byoc.bootstrap.breakglass.ledger import tell
from byoc.bootstrap.breakglass.plan import Session
from byoc.bootstrap.control import FunctionPapers
from byoc.cell.control.handler import run
from byoc.cell.manifests import bundle
from byoc.cell.package import control_package, package
from byoc.cell.rights import CONTROL_AT_HOME
from byoc.dataplane.control import Control
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_verify import read_records
from byoc.errors import PreconditionFailed
from byoc.model.control import Standing
from byoc.model.papers import Paper
from byoc.testing import ManualClock
from byoc.wire.control import dump, read_access
from byoc_cli.context import Context
from byoc_cli.main import main
from tests.contract.papers.conftest import function
from tests.unit.cell.examples import cell

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_function_of_another_cell_is_no_way_into_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A confused deputy: asked in the name of another cell, it does nothing."""
    with function(tmp_path, monkeypatch) as way:
        assert way.cluster is not None
        before = len(way.cluster.asked)
        assert run({"op": "read", "paper": "access.json", "cell": "other"}, "main", None) == {  # type: ignore[arg-type]
            "error": {"code": "conflict", "message": "this function serves cell main", "hint": ""}
        }
        account = way.papers._account  # type: ignore[attr-defined]
        with pytest.raises(PreconditionFailed, match="no function"):
            FunctionPapers(account, "other").read(Paper.ACCESS)
        assert isinstance(account, Account)
        assert len(way.cluster.asked) == before


@pytest.mark.parametrize(
    "event",
    [
        {"op": "read", "paper": "byoc-keys", "cell": "main"},
        {"op": "read", "paper": "../secrets/byoc-keys", "cell": "main"},
        {"op": "install", "paper": "access.json", "cell": "main"},
        {"op": "write", "paper": "access.json", "cell": "main", "text": "x"},
        {"op": "write", "paper": "standing.json", "cell": "main", "text": "x", "version": ""},
        {"op": "read", "cell": "main"},
        {},
    ],
)
def test_it_does_nothing_but_read_and_write_papers(event: dict[str, str]) -> None:
    assert "error" in run(event, "main", None)  # type: ignore[arg-type]


def test_it_cannot_install_and_the_installer_cannot_approve() -> None:
    control, installer = control_package(), package(bundle(cell()))
    assert not any("bundle.json" in name or name.endswith("install.py") for name in control)
    assert not any("/control/" in name for name in installer)
    assert {right.resources for right in CONTROL_AT_HOME} == {("configmaps",)}
    assert all(right.names for right in CONTROL_AT_HOME)


def test_whoever_may_invoke_it_turns_the_switch_and_is_named_by_aws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with function(tmp_path, monkeypatch) as way:
        account = way.papers._account  # type: ignore[attr-defined]

        def agent(_seconds: float) -> None:
            access = read_access(way.word(Paper.ACCESS))
            way.show(Paper.STANDING, dump(Standing(NOW, heard=access.at, revoked=access.revoked)))

        out = io.StringIO()
        given = Context({}, io.StringIO(), out, out, sleep=agent, account=lambda *_: account)
        asked = ["access", "revoke", "--reason", "an audit", "--cell", "main", "--region", "us-east-1"]
        assert main([*asked], given) == 0, out.getvalue()

        access = read_access(way.word(Paper.ACCESS))
        assert (access.revoked, access.by) == (True, account.identity.arn)
        assert "the control plane can do nothing" in out.getvalue()
        assert main(["access", "status", "--cell", "main", "--dir", str(tmp_path)], given) == 2


def test_a_break_glass_session_and_its_end_reach_the_cells_own_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    with function(tmp_path, monkeypatch) as way:
        account = way.papers._account  # type: ignore[attr-defined]
        session = Session(
            id="s-1",
            cell="main",
            reason="a fire",
            by="arn:ann",
            opened_at=NOW,
            until=NOW + timedelta(hours=1),
            machine="i-1",
        )
        assert tell(account, session) == ""
        ended = replace(session, closed_at=NOW + timedelta(minutes=5), closed_by="arn:bob")
        for _ in range(2):
            assert tell(account, ended) == ""

        way.desk.look()
        cell_end = Control(way.desk, Ledger(tmp_path / "ledger", clock, lambda: "chain"), clock)
        for _ in range(2):
            cell_end.look()
        cell_end.show(lambda said: said)
        again = Control(way.desk, Ledger(tmp_path / "ledger", clock, lambda: "chain"), clock)
        again.look()
        told = [each for each in read_records(tmp_path / "ledger") if each["kind"] == "glass"]
        assert [(each["session"], each["what"], each["by"]) for each in told] == [
            ("s-1", "opened", "arn:ann"),
            ("s-1", "closed", "arn:bob"),
        ]
        assert "no function" in tell(account, replace(session, cell="other"))
