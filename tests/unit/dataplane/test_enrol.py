import asyncio
import json
from pathlib import Path

from byoc.dataplane.enrol import ENROLMENT, Enrolling
from byoc.dataplane.files import FileStorage
from byoc.dataplane.keys import CellKeys
from byoc.dataplane.standing import FILE, Standing
from byoc.nimbus.transport import Transport
from byoc.testing.clock import ManualClock


async def nobody() -> Transport:
    message = "nothing to dial"
    raise AssertionError(message)


def reason(folder: Path) -> str:
    path = folder / FILE
    return json.loads(path.read_text())["reason"] if path.exists() else ""


async def test_an_enrolment_that_is_mounted_elsewhere_is_read_there_and_left_alone(tmp_path: Path) -> None:
    folder, mounted = tmp_path / "cell", tmp_path / "mounted" / ENROLMENT
    folder.mkdir()
    mounted.parent.mkdir()
    (folder / ENROLMENT).write_text('{"token": "not this one"}')
    clock = ManualClock()
    keys = CellKeys.load_or_create(FileStorage(folder))
    enrolling = Enrolling(folder, FileStorage(folder), keys, nobody, clock, Standing(folder, clock), mounted)
    task = asyncio.create_task(enrolling.enrol())
    await clock.elapse(600)
    assert reason(folder) == "waiting for enrolment"
    mounted.write_text("no JSON at all")
    await clock.elapse(60)
    assert reason(folder) == "not enrolled: enrolment.json is not {token, rootKey}"
    assert mounted.exists()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
