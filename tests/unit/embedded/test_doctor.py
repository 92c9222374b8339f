import json
import os
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest

from byoc.clock import SystemClock
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.shipping import Shipped
from byoc.embedded import doctor, layout
from byoc.embedded.bundle import bundle, clean_line
from byoc.embedded.layout import Layout
from byoc.embedded.places import Places
from byoc.errors import Failed, UsageError
from byoc.model.check import Check, Result
from byoc.testing import ManualClock

TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJvd25lciJ9.c2lnbmF0dXJl"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path / "data")
    for folder in (places.data, places.run, places.log, places.controlplane):
        folder.mkdir(mode=0o700)
    places.layout.write_text(json.dumps(layout.to_json(Layout(port=0, gateway_port=0))))
    return places


def examine(places: Places, environment: dict[str, str], name: str) -> Check:
    (check,) = doctor.doctor(places.data, environment=environment, only=[name])
    return check


def test_a_machine_without_an_instance_is_examined_too(environment: dict[str, str], tmp_path: Path) -> None:
    results = {
        check.name: check.result
        for check in doctor.doctor(tmp_path / "none", environment=environment)
        if check.name != "engine"
    }
    skipped = {"folder", "secrets", "ports", "processes", "tunnel", "copies"}
    skipped |= {"tunnel-name", "tunnel-line", "tunnel-clock"}
    assert {name for name, result in results.items() if result is Result.SKIP} == skipped
    assert results["python"] is Result.PASS


def test_an_unknown_check_is_refused_with_the_known_ones(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        doctor.doctor(tmp_path, environment=environment, only=["weather"])
    assert "tunnel" in caught.value.hint


def test_a_secret_that_others_can_read_fails_with_the_command_that_cures_it(
    places: Places, environment: dict[str, str]
) -> None:
    places.owner_token.write_text("key")
    places.owner_token.chmod(0o644)
    check = examine(places, environment, "secrets")
    assert check.result is Result.FAIL
    assert check.action == f"chmod 600 {places.owner_token}"
    places.owner_token.chmod(0o600)
    assert examine(places, environment, "secrets").result is Result.PASS


def test_a_folder_open_to_others_fails(places: Places, environment: dict[str, str]) -> None:
    assert examine(places, environment, "folder").result is Result.PASS
    places.data.chmod(0o755)
    assert examine(places, environment, "folder").action == f"chmod 700 {places.data}"


def test_what_needs_the_folder_is_skipped_when_the_folder_is_unfit(
    places: Places, environment: dict[str, str]
) -> None:
    places.layout.write_text(json.dumps(layout.to_json(Layout(layout=99))))
    assert examine(places, environment, "folder").result is Result.FAIL
    assert examine(places, environment, "ports") == Check("ports", Result.SKIP, "not checked: folder failed")


def test_a_dead_process_is_named(places: Places, environment: dict[str, str]) -> None:
    places.pids.write_text(json.dumps({"agent": {"pid": os.getpid(), "started": 1.0}}))
    check = examine(places, environment, "processes")
    assert (check.result, check.detail) == (Result.FAIL, "not running: agent")


def test_copies_of_the_ledger_that_are_late_are_said(places: Places, environment: dict[str, str]) -> None:
    assert examine(places, environment, "copies").result is Result.SKIP
    places.cell.mkdir(mode=0o700)
    settings = {"gateway": "wss://localhost/nimbus/v1", "ledgerBucket": "acme-ledger"}
    (places.cell / "config.json").write_text(json.dumps(settings))
    clock = ManualClock(SystemClock().now() - timedelta(minutes=2))
    ledger = Ledger(places.cell / "ledger", clock, lambda: "chain-1")
    ledger.record("note")

    late = examine(places, environment, "copies")

    assert late.result is Result.FAIL
    assert "in acme-ledger are 12" in late.detail
    Shipped("chain-1", 2, 2).store(places.cell / "ledger")
    assert examine(places, environment, "copies").result is Result.PASS


def test_the_engine_is_called_what_it_is() -> None:
    assert doctor.LOCAL_ENGINE == "local engine: MariaDB, a stand-in for SingleStore"
    assert "firewall" in doctor.DIFFERENCES


def test_a_bundle_holds_no_secret(places: Places, tmp_path: Path) -> None:
    places.owner_token.write_text("owner-key-value")
    (places.log / "agent.log").write_text(
        json.dumps({"event": "login", "token": "plain-value", "detail": f"sent {TOKEN}"})
        + f"\nTraceback: Bearer abc.def {TOKEN}\n"
    )
    (places.volumes / "w1").mkdir(parents=True)
    (places.volumes / "w1" / "engine.log").write_text("INSERT row-value")
    target = tmp_path / "bundle.tar.gz"

    names = bundle(target, places.data, [Check("python", Result.PASS, "3.11")])

    with tarfile.open(target) as archive:
        texts = {
            member.name: (archive.extractfile(member) or pytest.fail("no file")).read().decode()
            for member in archive.getmembers()
        }
    assert set(names) == {"checks.json", "machine.json", "layout.json", "pids.json", "log/agent.log"}
    assert set(texts) == {f"byoc/{name}" for name in names}
    everything = "".join(texts.values())
    for secret in ("owner-key-value", "plain-value", TOKEN, "abc.def", "row-value"):
        assert secret not in everything
    assert "login" in everything
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_bundle_does_not_overwrite(places: Places, tmp_path: Path) -> None:
    target = tmp_path / "thesis.tar.gz"
    target.write_text("mine")
    with pytest.raises(Failed, match="cannot write"):
        bundle(target, places.data, [])
    assert target.read_text() == "mine"


def test_a_line_that_is_no_object_is_cleaned_by_shape() -> None:
    assert TOKEN not in clean_line(f"GET / {TOKEN}\n")
    assert clean_line("plain\n") == "plain\n"
