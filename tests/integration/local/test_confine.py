"""What whoever took an engine over could still do, tried by ourselves from inside the confinement."""

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from byoc.dataplane.local import confine
from byoc.dataplane.local.confine import Reach

CONNECT_SINCE, SIGNALS_SINCE = 4, 6


def _works(act: Callable[[], object], reach: Reach | None = None) -> bool:
    try:
        confine.run(act, reach or Reach())
    except PermissionError:
        return False
    return True


def test_only_what_is_writable_is_written(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    (tmp_path / "own").mkdir()
    reach = Reach(readable=[tmp_path], writable=[tmp_path / "own"], sockets=[tmp_path])
    assert _works(lambda: (tmp_path / "own" / "new").write_text("x"), reach)
    assert _works((tmp_path / "kept").read_text, reach)
    assert _works(lambda: (tmp_path / "kept").write_text("x"), reach) is not confine.available()
    assert _works((tmp_path / "kept").unlink, reach) is not confine.available()


def test_a_socket_is_made_where_nothing_else_may_be(tmp_path: Path) -> None:
    reach = Reach(sockets=[tmp_path])
    with socket.socket(socket.AF_UNIX) as ours:
        assert _works(lambda: ours.bind(str(tmp_path / "sock")), reach)
    assert _works((tmp_path / "file").touch, reach) is not confine.available()


def test_nobody_is_called_over_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as caller:
        called = _works(lambda: caller.connect(listener.getsockname()))
    assert called is (confine.version() < CONNECT_SINCE)


def test_no_other_process_gets_a_signal() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as other:
        signalled = _works(lambda: os.kill(other.pid, 0))
    assert signalled is (confine.version() < SIGNALS_SINCE)
