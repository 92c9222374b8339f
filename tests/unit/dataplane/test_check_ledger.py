"""The verifier in the docs, which has nothing of ours in it, on ledgers that we write."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from byoc.dataplane.files import FileStorage
from byoc.dataplane.keys import PinnedKeys
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_files import LEDGER, files, read_line, write_line
from byoc.testing import ManualClock
from byoc.wire.keys import SigningKey
from byoc.wire.keysets import certify_key_set_key, issue_key_set
from byoc.wire.tokens import name_report, sign_receipt

PROGRAM = Path(__file__).parents[3] / "docs" / "check_ledger.py"
ROOT, SETS, KEY = (SigningKey.generate() for _ in range(3))


@pytest.fixture
def cell(tmp_path: Path, clock: ManualClock) -> Path:
    """A cell with a ledger over several files and a receipt for its head."""
    certificate = certify_key_set_key(ROOT, SETS.public, now=clock.now())
    text = issue_key_set(SETS, certificate, [KEY.public], version=1, now=clock.now())
    PinnedKeys.create(FileStorage(tmp_path), ROOT.public, text, clock)
    ledger = Ledger(tmp_path / "ledger", clock, lambda: "chain-1", full=2000)
    for number in range(20):
        ledger.record("note", number=number, text='é "quoted" \u2028')
    give_receipt(ledger, clock, KEY)
    ledger.record("note")
    return tmp_path


def give_receipt(ledger: Ledger, clock: ManualClock, key: SigningKey) -> None:
    head = ledger.head()
    assert head is not None
    report = name_report("life", 1, "r.e.port")
    named = {"chain": head.chain, "seq": head.seq, "hash": head.hash, "report": report, "at": clock.now()}
    ledger.add_receipt(sign_receipt(key, cell="c", **named))


def check(cell: Path) -> tuple[int, str]:
    command = [sys.executable, "-I", str(PROGRAM), str(cell / "ledger"), str(cell / "pinned.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).strip()


def test_it_is_sixty_lines_of_the_standard_library() -> None:
    lines = PROGRAM.read_text().splitlines()
    assert len(lines) <= 60
    imported = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= set(sys.stdlib_module_names)


def test_a_good_ledger_is_good(cell: Path) -> None:
    assert len(files(cell / "ledger")) > 2
    assert check(cell) == (0, "22 records, none edited, and none missing that one of 1 good receipts names")


def test_a_last_line_that_is_being_written_is_no_harm(cell: Path) -> None:
    path = cell / "ledger" / LEDGER
    path.write_bytes(path.read_bytes() + b'{"at":"20')
    assert check(cell)[0] == 0


def test_an_edited_record_is_named(cell: Path) -> None:
    second = files(cell / "ledger")[1]
    lines = second.read_bytes().splitlines(keepends=True)
    second.write_bytes(b"".join([lines[0], lines[1].replace(b"quoted", b"quated"), *lines[2:]]))
    code, said = check(cell)
    assert code == 1
    assert said.startswith(f"{second.name}, line 2: not what was written there")


def test_a_record_that_was_taken_out_is_found(cell: Path) -> None:
    second = files(cell / "ledger")[1]
    second.write_bytes(b"".join(second.read_bytes().splitlines(keepends=True)[1:]))
    assert check(cell)[0] == 1


def test_a_cut_end_is_found_against_the_receipt(cell: Path) -> None:
    (cell / "ledger" / LEDGER).unlink()
    assert check(cell) == (1, "the control plane has seen a record 21 that is not here")


def test_a_chain_that_was_rewritten_whole_is_found_against_the_receipt(cell: Path) -> None:
    before = "0" * 64
    for path in files(cell / "ledger"):
        written = b""
        for line in path.read_bytes().splitlines():
            found = read_line(line)
            assert found is not None
            changed, before = write_line({**found[0], "prev": before, "at": "2031-01-01T00:00:00Z"})
            written += changed
        path.write_bytes(written)
    assert check(cell) == (1, "the control plane has seen a record 21 that is not here")


def test_a_receipt_of_a_key_that_it_cannot_check_is_refused_by_name(cell: Path, clock: ManualClock) -> None:
    pinned = cell / "pinned.json"
    held = json.loads(pinned.read_text())
    elliptic = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "in-kms"}
    pinned.write_text(json.dumps(held | {"receiptKeys": [*held["receiptKeys"], elliptic]}))
    good = check(cell)
    assert good[0] == 0, "such a key alone is no reason"
    path = cell / "ledger" / "receipts.jsonl"
    head = base64.urlsafe_b64encode(b'{"typ":"byoc-receipt+jws","kid":"in-kms"}').decode().rstrip("=")
    path.write_text(f"{path.read_text()}{head}.e30.AAAA\n")

    code, said = check(cell)
    assert (code, said.startswith("key in-kms signs with ES256, which is not checked here")) == (1, True)


def test_a_receipt_that_somebody_else_signed_counts_for_nothing(cell: Path, clock: ManualClock) -> None:
    path = cell / "ledger" / "receipts.jsonl"
    text = path.read_text().strip()
    path.write_text(text[:-6] + ("AAAAAA" if not text.endswith("AAAAAA") else "BBBBBB") + "\n")
    ledger = Ledger(cell / "ledger", clock, lambda: "chain-1")
    ledger.record("note")
    give_receipt(ledger, clock, SigningKey.generate())

    assert check(cell) == (0, "23 records, none edited, and none missing that one of 0 good receipts names")
