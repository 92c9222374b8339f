"""What the same work costs without us: a bare SQL server, and a bare route."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymysql

from byoc.dataplane import engine_sql
from byoc.dataplane.local import command, template
from byoc.dataplane.local.engine import find, process_environment
from byoc.dataplane.local.process import as_root
from byoc.dataplane.runtime import Limits
from byoc.testing.instance import free_port


class BareEngine:
    """One MariaDB with the very arguments of a workspace, driven by nothing but this class."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        found = find(dict(os.environ))
        if found is None:
            message = "no MariaDB here: byoc engine install"
            raise SystemExit(message)
        self.engine = found
        self.template = template.ensure(root / "template", found)
        self.folder = root / "w"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The server's socket."""
        return self.folder / "s"

    def create(self) -> None:
        """Copy the template, start, make the admin account and its database."""
        for name in ("tmp", "empty"):
            (self.folder / name).mkdir(parents=True)
        arguments = ["cp", "-a", "--sparse=always", "--reflink=auto"]
        subprocess.run([*arguments, str(self.template), str(self.folder / "data")], check=True)
        (self.folder / "init.sql").write_text(command.accounts_sql("bare"))
        self.start()
        with self._connect() as connection, connection.cursor() as cursor:
            for statement in engine_sql.admin_statements("Bare-Password-1234!", first=True):
                cursor.execute(statement)

    def start(self) -> None:
        """Start and wait for the first answer."""
        arguments = command.server(
            self.engine,
            self.folder,
            socket=self.socket,
            port=self.port,
            limits=Limits("S-00"),
            as_root=as_root(),
        )
        self.process = subprocess.Popen(
            arguments, env=process_environment(self.engine.libraries), stderr=subprocess.DEVNULL
        )
        while True:
            with contextlib.suppress(pymysql.err.OperationalError):
                with self._connect() as connection, connection.cursor() as cursor:
                    cursor.execute("select 1")
                return
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop cleanly."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def remove(self) -> None:
        """Stop and remove the folder."""
        self.stop()
        shutil.rmtree(self.folder)

    def _connect(self) -> Any:
        return pymysql.connect(
            unix_socket=str(self.socket), user=engine_sql.INTERNAL, password="bare", autocommit=True
        )


_ROUTE = """
import json, sqlite3, sys
import uvicorn
from fastapi import FastAPI, Response
connection = sqlite3.connect(sys.argv[1], check_same_thread=False)
app = FastAPI()
@app.get("/rows")
def rows() -> Response:
    found = connection.execute("select body from rows order by id").fetchall()
    return Response(json.dumps([json.loads(body) for body, in found]), media_type="application/json")
uvicorn.run(app, port=int(sys.argv[2]), log_level="critical")
"""


class BareRoute:
    """A FastAPI route that reads as many rows from SQLite and writes them as JSON."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextlib.contextmanager
    def serving(self, rows: list[dict[str, Any]]) -> Iterator[Callable[[], object]]:
        """Serve ``rows``; yields a function that asks for them once."""
        path, port = self.root / "rows.sqlite", free_port()
        with sqlite3.connect(path) as database:
            database.execute("create table rows (id integer primary key, body text)")
            database.executemany("insert into rows (body) values (?)", [(json.dumps(row),) for row in rows])
        with subprocess.Popen([sys.executable, "-c", _ROUTE, str(path), str(port)]) as process:

            def ask() -> object:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/rows") as answer:
                    return json.loads(answer.read())

            try:
                _wait(ask)
                yield ask
            finally:
                process.terminate()


def _wait(ask: Callable[[], object]) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            ask()
            return
        time.sleep(0.05)
    message = "the bare route never answered"
    raise SystemExit(message)
