"""What the engine sees of the user's surroundings, and who is ended with it."""

import os
import subprocess
import sys
from pathlib import Path

from byoc.bootstrap.engine.command import end_session, environment

PROGRAM = Path("/opt/byoc/bin/pulumi")


def test_no_pulumi_setting_of_the_user_passes_and_ours_do() -> None:
    user = {
        "PATH": "/usr/bin",
        "AWS_PROFILE": "work",
        "PULUMI_BACKEND_URL": "https://app.example",
        "PULUMI_ACCESS_TOKEN": "pul-1",
        "PULUMI_OPTION_REFRESH": "true",
    }
    seen = environment(user, {"PULUMI_HOME": "/ours"}, PROGRAM)
    assert {name for name in seen if name.startswith("PULUMI_")} == {"PULUMI_HOME", "PULUMI_AUTOMATION_API"}
    assert seen["AWS_PROFILE"] == "work"


def test_programs_beside_the_engine_come_first() -> None:
    assert environment({"PATH": "/usr/bin"}, {}, PROGRAM)["PATH"] == f"/opt/byoc/bin{os.pathsep}/usr/bin"
    assert environment({}, {}, PROGRAM)["PATH"].startswith("/opt/byoc/bin")


def test_members_of_a_dead_session_are_ended_and_nobody_else(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    for pid, session in ((child.pid, 77), (os.getpid(), 78), (77, 77)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a (odd) name) S 1 {pid} {session} 0 -1")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "stat").write_text("torn")
    assert end_session(77, tmp_path) == [child.pid]
    assert child.wait(10) == -15
    assert child.stdin is not None
    child.stdin.close()


def test_a_machine_that_shows_no_processes_is_left_alone(tmp_path: Path) -> None:
    assert end_session(77, tmp_path / "none") == []
