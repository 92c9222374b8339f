import sys
from pathlib import Path

from byoc.embedded import programs
from byoc.embedded.layout import Layout
from byoc.embedded.places import Places

LAYOUT = Layout(port=8787, gateway_port=8788)
CALLER = {"PATH": "/usr/bin", "BYOC_TOKEN": "s3cret", "BYOC_SQL_PASSWORD": "s3cret", "BYOC_PORT": "1"}


def test_the_processes_are_the_ones_of_production() -> None:
    made = programs.programs(Places(Path("/d")), LAYOUT, CALLER)
    assert {program.command[:3] for program in made.values()} == {(sys.executable, "-m", "byoc")}
    assert {name: program.command[3:] for name, program in made.items()} == {
        "controlplane": ("controlplane", "serve", "--data", "/d", "--port", "8787"),
        "gateway": ("gateway", "serve", "--data", "/d", "--port", "8788"),
        "agent": ("agent", "run", "--data", "/d"),
    }


def test_no_secret_of_the_caller_reaches_a_process() -> None:
    for program in programs.programs(Places(Path("/d")), LAYOUT, CALLER).values():
        assert "s3cret" not in " ".join([*program.command, *program.environment.values()])
        assert program.environment["PATH"] == "/usr/bin"
        assert program.environment["BYOC_GATEWAYS"] == "wss://127.0.0.1:8788/nimbus/v1"
        assert "BYOC_PORT" not in program.environment


def test_a_large_log_is_kept_beside_a_new_one(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.log.mkdir()
    log = places.log / "agent.log"
    for text in ("first", "second", "third", "fourth"):
        log.write_text(text + " " * (6 * 1024 * 1024))
        programs.open_logs(places)
    assert not log.exists()
    assert (places.log / "agent.log.1").read_text().startswith("fourth")
    assert (places.log / "agent.log.2").read_text().startswith("third")
    assert len(list(places.log.iterdir())) == 2


def test_a_small_log_goes_on(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.log.mkdir()
    (places.log / "agent.log").write_text("line\n")
    programs.open_logs(places)
    assert (places.log / "agent.log").read_text() == "line\n"
