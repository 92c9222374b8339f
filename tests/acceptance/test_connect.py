"""`byoc workspace connect` on a terminal: the machine's own MariaDB client, and our own prompt without it.

The client is the real one; `scripts/test` gets it where the machine has none.
"""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from byoc.testing.instance import eventually
from tests.acceptance.people import BYOC, User

ON_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


class Terminal:
    """A command on a terminal of its own: what is typed, and what has been seen."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.seen = b""

    def types(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def sees(self, text: str, seconds: float = 30) -> None:
        """Wait for ``text``; what came up to it is not looked at again."""
        assert self.process.stdout is not None
        wanted, end = text.encode(), time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            while wanted not in self.seen:
                assert ready.select(max(0.0, end - time.monotonic())), f"no {text!r} in {self.seen!r}"
                piece = os.read(self.process.stdout.fileno(), 4096)
                assert piece, f"ended without {text!r}: {self.seen!r}"
                self.seen += piece
        self.seen = self.seen.partition(wanted)[2]

    def forgets(self, prompt: str) -> None:
        """Press Ctrl-C as a person does, again where nothing comes of it, until ``prompt`` is back.

        The key after it is for Python, which notices an interrupt in the midst of a key only at the next.
        """
        for _ in range(9):
            self.types("\x03\n")
            with contextlib.suppress(AssertionError):
                self.sees(prompt, 3)
                return
        self.sees(prompt)

    def ends(self) -> int:
        return self.process.wait(30)


@contextlib.contextmanager
def terminal(user: User, *arguments: str) -> Iterator[Terminal]:
    """Run `byoc` on a terminal."""
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, str(BYOC), *arguments],
        env=user.environment | {"TERM": "xterm"},
        cwd=user.home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            yield Terminal(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def owner(user: User) -> User:
    """Somebody with a running workspace called `orders`."""
    data = user.data()
    assert user.up(data).code == 0
    assert user.byoc("group", "create", "sales").code == 0
    made = user.byoc("workspace", "create", "orders", "--group", "sales")
    assert made.code == 0, made.err
    return user


def _running(user: User) -> str:
    return user.byoc("workspace", "connect", "orders", "--exec", "show full processlist").out


def test_the_machines_own_client_takes_the_terminal(owner: User) -> None:
    client = shutil.which("mariadb")
    assert client, "no MariaDB client on this machine; scripts/test gets one"
    owner.environment["PATH"] += f":{Path(client).parent}"
    with terminal(owner, "workspace", "connect", "orders") as screen:
        screen.sees("MariaDB [(none)]>")
        programs = psutil.Process(screen.process.pid).children(recursive=True)
        shown = [" ".join(each.cmdline()) for each in programs]
        assert any("--defaults-extra-file=" in each for each in shown), shown
        assert not any("password" in each for each in shown), shown
        screen.types("create database shop; use shop;\n")
        screen.sees("MariaDB [shop]>")
        # Ctrl-C belongs to the client: it ends the statement, not the session.
        screen.types("select sleep(60);\n")
        eventually("the statement runs", lambda: "sleep(60)" in _running(owner))
        screen.types("\x03")
        screen.sees("MariaDB [shop]>")
        screen.types("select 6 * 7 as answer;\n")
        screen.sees("| answer |")
        screen.sees("42")
        screen.types("exit\n")
        screen.sees("Bye")
        assert screen.ends() == 0
    with terminal(owner, "workspace", "connect", "orders", "--database", "shop") as screen:
        screen.sees("MariaDB [shop]>")
        screen.types("quit\n")
        assert screen.ends() == 0


def test_a_client_that_is_refused_is_said(owner: User) -> None:
    client = shutil.which("mariadb")
    assert client, "no MariaDB client on this machine; scripts/test gets one"
    owner.environment["PATH"] += f":{Path(client).parent}"
    owner.environment["BYOC_SQL_PASSWORD"] = "not-the-one"
    with terminal(owner, "workspace", "connect", "orders") as screen:
        screen.sees("Access denied for user 'admin'")
        screen.sees("error: mariadb ended with code 1")
        assert screen.ends() == 1


def test_without_a_client_there_is_a_prompt_of_our_own(owner: User, tmp_path: Path) -> None:
    owner.environment["PATH"] = str(tmp_path)
    with terminal(owner, "workspace", "connect", "orders") as screen:
        screen.sees("local engine: MariaDB, a stand-in for SingleStore")
        screen.sees("sql> ")
        screen.types("select 6 * 7\n")
        screen.sees("    -> ")
        screen.types("as answer;\n")
        screen.sees("answer\r\n42\r\n1 row\r\n")
        screen.types("nonsense;\n")
        screen.sees("error: You have an error in your SQL syntax")
        screen.sees("sql> ")
        screen.types("select half")
        screen.sees("select half")
        screen.forgets("sql> ")
        screen.types("exit\n")
        assert screen.ends() == 0
