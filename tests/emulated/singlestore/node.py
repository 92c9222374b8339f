"""A node as the stand-in of the operator runs it: MariaDB, spoken to in some of SingleStore's words.

Run by the interpreter of the machine, inside a pod; nothing here but the standard library. A leaf only is
there. A master starts a SQL server that listens on a socket file, and stands before it on the pod's address:
it takes no connection without TLS, and says in MariaDB's words what it is asked in SingleStore's. Databases
``ON S3`` are MariaDB's too until they are detached: then their rows are files in the folder that stands for
all buckets, and the server has them no more.
"""

import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Final

BUCKETS: Final = Path("/opt/buckets")
STORAGE: Final = Path("/var/lib/memsql")
CERTIFICATES: Final = Path("/etc/memsql/certs")
SOCKET: Final = "/tmp/node.sock"  # noqa: S108 - the pod's own
PORT: Final = 3306
QUERY: Final = 3
TLS_FLAG: Final = 0x800
DONE: Final = b"\x00\x00\x00\x02\x00\x00\x00"
NAME: Final = r"`?(?P<name>[^`\s]+)`?"
CREATE: Final = re.compile(
    rf"CREATE DATABASE (?P<lax>IF NOT EXISTS )?{NAME} ON S3 '(?P<place>[^']+)'.*", re.IGNORECASE
)
DETACH: Final = re.compile(rf"DETACH DATABASE {NAME}", re.IGNORECASE)
ATTACH: Final = re.compile(rf"ATTACH DATABASE {NAME} ON S3 '(?P<place>[^']+)'.*", re.IGNORECASE)
REFUSED: Final = b"\xff\x3b\x06#HY000connections are taken over TLS only"

Words = list[tuple[str, str]]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if os.environ["ROLE"] != "master":
        signal.pause()
        return
    words: Words = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
    server = start(os.environ["ROOT_PASSWORD"])
    try:
        threading.Thread(target=serve, args=(words,), daemon=True).start()
        sys.exit(server.wait())
    finally:
        server.terminate()
        server.wait()


def start(password: str) -> "subprocess.Popen[bytes]":
    """Start the SQL server; make its tables first where there are none."""
    data = STORAGE / "data"
    if not data.exists():
        new = STORAGE / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        subprocess.run(["mariadb-install-db", f"--datadir={new}"], check=True)  # noqa: S607 - the image's own
        new.rename(data)
    known = hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()  # noqa: S324
    first = Path("/tmp/first.sql")  # noqa: S108 - the pod's own
    first.write_text(
        f"CREATE OR REPLACE USER root@'%' IDENTIFIED VIA mysql_native_password USING '*{known}';\n"
        "GRANT ALL PRIVILEGES ON *.* TO root@'%' WITH GRANT OPTION;\n"
        # What an engine knows of databases in buckets.
        "CREATE DATABASE IF NOT EXISTS memsql;\n"
        "CREATE TABLE IF NOT EXISTS memsql.unlimited (database_name VARCHAR(64) PRIMARY KEY, "
        "storage_id VARCHAR(36), bucket VARCHAR(99), storage_directory VARCHAR(255));\n",
        encoding="utf-8",
    )
    server = subprocess.Popen(
        [  # noqa: S607 - the image's own
            "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={SOCKET}", "--skip-networking",
            f"--init-file={first}", "--pid-file=/tmp/node.pid", "--tmpdir=/tmp", "--skip-log-bin",
            "--userstat=1", "--skip-name-resolve", "--innodb-buffer-pool-size=8M",
            "--innodb-log-file-size=4M", "--performance-schema=OFF",
        ]
    )  # fmt: skip
    while not Path(SOCKET).exists() and server.poll() is None:
        time.sleep(0.02)
    return server


def serve(words: Words) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "tls.crt", CERTIFICATES / "tls.key")
    with socket.create_server((os.environ["POD_IP"], PORT)) as listening:
        while True:
            client, _ = listening.accept()
            threading.Thread(target=talk, args=(client, context, words), daemon=True).start()


def talk(client: socket.socket, context: ssl.SSLContext, words: Words) -> None:
    """Stand between one client and the server until either goes."""
    with client, socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(SOCKET)
            secure = greet(client, server, context)
            if secure is not None:
                with secure:
                    relay(secure, server, words)
        except (OSError, EOFError):
            return


def greet(client: socket.socket, server: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket | None:
    """Let the client log in over TLS; None where it did not."""
    number, greeting = take(server)
    if greeting[:1] == b"\xff":
        give(client, number, greeting)
        return None
    at = greeting.index(b"\0", 1) + 1 + 4 + 8 + 1
    (flags,) = struct.unpack_from("<H", greeting, at)
    give(client, number, greeting[:at] + struct.pack("<H", flags | TLS_FLAG) + greeting[at + 2 :])
    number, asked = take(client)
    (flags,) = struct.unpack_from("<I", asked)
    if not flags & TLS_FLAG:
        give(client, number + 1, REFUSED)
        return None
    secure = context.wrap_socket(client, server_side=True)
    number, login = take(secure)
    (flags,) = struct.unpack_from("<I", login)
    give(server, number - 1, struct.pack("<I", flags & ~TLS_FLAG) + login[4:])
    while True:
        number, answer = take(server)
        give(secure, number + 1, answer)
        if answer[0] in {0x00, 0xFF}:
            return secure if answer[0] == 0x00 else None
        number, more = take(secure)
        give(server, number - 1, more)


def relay(client: ssl.SSLSocket, server: socket.socket, words: Words) -> None:
    while True:
        ready = [client] if client.pending() else select.select([client, server], [], [])[0]
        if client in ready:
            number, asked = take(client)
            if asked[0] == QUERY and (done := moved(asked[1:].decode("utf-8", "replace"), server)):
                give(client, number + 1, done)
                continue
            if asked[0] == QUERY:
                asked = asked[:1] + said(asked[1:].decode("utf-8", "surrogateescape"), words)
            give(server, number, asked)
        if server in ready:
            answer = server.recv(65536)
            if not answer:
                return
            client.sendall(answer)


def said(statement: str, words: Words) -> bytes:
    """Return a statement in the server's own words."""
    for theirs, ours in words:
        statement = re.sub(theirs, ours, statement, flags=re.IGNORECASE | re.DOTALL)
    return statement.encode("utf-8", "surrogateescape")


# --- databases in buckets -------------------------------------------------------------------------


class Said(Exception):
    """The server's no, as it says it."""


def moved(statement: str, server: socket.socket) -> bytes:
    """Do what is asked of a database in a bucket; return the answer, nothing where it is not asked for."""
    for asked, work in ((CREATE, create), (DETACH, detach), (ATTACH, attach)):
        found = asked.fullmatch(statement.strip())
        if found is None:
            continue
        try:
            work(server, **found.groupdict())
        except Said as error:
            return bytes(error.args[0])
        except (OSError, LookupError) as error:
            return b"\xff\x51\x04#HY000" + f"not done: {error!r}".encode()
        return DONE
    return b""


def create(server: socket.socket, name: str, lax: str | None, place: str) -> None:
    there = query(server, f"SELECT 1 FROM information_schema.schemata WHERE schema_name = '{name}'")
    if there and lax:
        return
    query(server, f"CREATE DATABASE `{name}`")
    know(server, name, str(uuid.uuid4()), place)


def know(server: socket.socket, name: str, storage: str, place: str) -> None:
    bucket, _, folder = place.partition("/")
    query(server, f"REPLACE INTO memsql.unlimited VALUES ('{name}', '{storage}', '{bucket}', '{folder}')")


def detach(server: socket.socket, name: str) -> None:
    """Have all rows in the bucket, and then none in the server."""
    ((bucket, folder, storage),) = query(
        server,
        f"SELECT bucket, storage_directory, storage_id FROM memsql.unlimited WHERE database_name = '{name}'",
    ) or raised(LookupError(f"{name} is no unlimited database"))
    kept = BUCKETS / bucket / folder / name
    new = kept.with_name(f"{name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    (new / "storage").write_text(storage, encoding="utf-8")
    for (table,) in query(server, f"SHOW TABLES FROM `{name}`"):
        ((_, made),) = query(server, f"SHOW CREATE TABLE `{name}`.`{table}`")
        (new / f"{table}.sql").write_text(made, encoding="utf-8")
        query(server, f"SELECT * FROM `{name}`.`{table}` INTO OUTFILE '{new / table}.rows'")
    shutil.rmtree(kept, ignore_errors=True)
    new.rename(kept)
    query(server, f"DROP DATABASE `{name}`")
    query(server, f"DELETE FROM memsql.unlimited WHERE database_name = '{name}'")


def attach(server: socket.socket, name: str, place: str) -> None:
    """Bring the rows back from the bucket, in which they stay."""
    kept = BUCKETS / place / name
    storage = (kept / "storage").read_text(encoding="utf-8")
    query(server, f"CREATE DATABASE `{name}`")
    for made in sorted(kept.glob("*.sql")):
        table = f"`{name}`.`{made.stem}`"
        query(server, made.read_text(encoding="utf-8").replace(f"`{made.stem}`", table, 1))
        query(server, f"LOAD DATA INFILE '{made.with_suffix('.rows')}' INTO TABLE {table}")
    know(server, name, storage, place)


def raised(error: Exception) -> list[list[str]]:
    raise error


def query(server: socket.socket, statement: str) -> list[list[str]]:
    """Ask the server in the client's name; return its rows."""
    give(server, 0, bytes([QUERY]) + statement.encode())
    _, head = take(server)
    if head[0] == 0xFF:
        raise Said(head)
    if head[0] == 0x00:
        return []
    for _ in range(head[0] + 1):
        take(server)
    rows: list[list[str]] = []
    while True:
        _, row = take(server)
        if row[0] == 0xFE and len(row) < 9:
            return rows
        rows.append(columns(row))


def columns(row: bytes) -> list[str]:
    found, at = [], 0
    while at < len(row):
        size, wide = (row[at], 1) if row[at] < 0xFB else (struct.unpack_from("<H", row, at + 1)[0], 3)
        found.append(row[at + wide : at + wide + size].decode())
        at += wide + size
    return found


def take(side: socket.socket) -> tuple[int, bytes]:
    head = _exactly(side, 4)
    return head[3], _exactly(side, int.from_bytes(head[:3], "little"))


def give(side: socket.socket, number: int, payload: bytes) -> None:
    side.sendall(len(payload).to_bytes(3, "little") + bytes([number]) + payload)


def _exactly(side: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = side.recv(count - len(found))
        if not piece:
            raise EOFError
        found += piece
    return found


if __name__ == "__main__":
    main()
