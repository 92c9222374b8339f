"""The ledger and its neighbours as real files: a real full disk, and agents that die at any moment."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from byoc.clock import SystemClock
from byoc.dataplane.ledger import Ledger
from byoc.dataplane.ledger_files import LEDGER
from byoc.dataplane.ledger_verify import read_records, verify
from byoc.errors import Unwritable

WRITER = """
    import sys
    from pathlib import Path
    from byoc.clock import SystemClock
    from byoc.dataplane.ledger import Ledger

    folder = Path(sys.argv[1])
    ledger = Ledger(folder, SystemClock(), lambda: "chain")
    for number in range(10**9):
        seq = ledger.record("note", text="x" * (number % 3000))
        print(seq, flush=True)
"""


def run_and_kill(folder: Path, after: int) -> int:
    """Run a writer, kill it with -9 after some records; return the last one it said to be on disk."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.kill()
        rest = process.stdout.read().splitlines()
    return int(rest[-1]) if rest and rest[-1] else after


def test_what_a_killed_agent_said_to_be_recorded_is_there(short_path: Path) -> None:
    said = 0
    for after in (1, 7, 40):
        said = max(said, run_and_kill(short_path, after))

    found = verify(short_path, {})
    ledger = Ledger(short_path, SystemClock(), lambda: "another")
    ledger.open()

    assert found.ok
    assert found.records >= said
    assert verify(short_path, {}).chain == "chain"
    numbers = [record["seq"] for record in read_records(short_path)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_ledger_is_cut_at_any_byte_and_healed(short_path: Path) -> None:
    ledger = Ledger(short_path, SystemClock(), lambda: "chain")
    ledger.record("note", text="one")
    ledger.record("note", text="two")
    ledger.close()
    whole = (short_path / LEDGER).read_bytes()
    kept_up_to = whole.rindex(b"\n", 0, -1) + 1

    for end in range(kept_up_to, len(whole)):
        (short_path / LEDGER).write_bytes(whole[:end])
        healed = Ledger(short_path, SystemClock(), lambda: "chain")
        healed.record("after")
        healed.close()
        kinds = [record["kind"] for record in read_records(short_path)]
        assert verify(short_path, {}).ok
        assert kinds == ["chain", "note", *(["torn"] if end > kept_up_to else []), "after"]


LIMITED = """
    import resource, signal, sys
    from pathlib import Path
    from byoc.clock import SystemClock
    from byoc.dataplane.ledger import Ledger
    from byoc.dataplane.ledger_files import LEDGER
    from byoc.dataplane.ledger_verify import verify
    from byoc.errors import Unwritable

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    folder = Path(sys.argv[1])
    ledger = Ledger(folder, SystemClock(), lambda: "chain")
    ledger.open()
    size = (folder / LEDGER).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))
    written = refused = 0
    for _ in range(20):
        try:
            ledger.record("note", text="x" * 100)
            written += 1
        except Unwritable:
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ledger.record("note", text="space again")
    found = verify(folder, {})
    print(written, refused, found.ok, found.torn, found.records)
"""


def test_a_record_that_the_kernel_cuts_short_leaves_nothing_behind(short_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(short_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    written, refused, ok, torn, records = done.stdout.split()
    assert (ok, torn) == ("True", "False")
    assert int(written) > 0
    assert int(refused) > 0
    assert int(records) == 1 + int(written) + 1


def test_a_device_without_space_is_an_error_of_ours(short_path: Path) -> None:
    (short_path / LEDGER).symlink_to("/dev/full")
    ledger = Ledger(short_path, SystemClock(), lambda: "chain")

    with pytest.raises(Unwritable, match="No space left"):
        ledger.record("note")
