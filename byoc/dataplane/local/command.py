"""What engines are told: arguments of the server, and the SQL that makes its accounts. Pure.

The promises kept here: the server listens on the loopback address only; ``admin`` has neither FILE
nor SUPER, and nothing else that reaches files, other processes or replication; no password stands
in an argument or in SQL that the server might log, only hashes.
"""

from pathlib import Path
from typing import Final

from byoc import sql
from byoc.dataplane.local.engine import Engine
from byoc.dataplane.local.limits import CHUNK, variables
from byoc.dataplane.runtime import Limits

HOST: Final = "127.0.0.1"
INTERNAL: Final = "byoc_internal"
"""Our account behind the socket; made anew at each start, so that nobody locks us out for long."""
PROBE: Final = "byoc_probe"
"""Our account behind the port: it may do nothing, and proves that the port answers."""
OURS: Final = (INTERNAL, PROBE, "system user", "event_scheduler", "unauthenticated user", "mariadb.sys")

_ADMIN_MAY: Final = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, "
    "LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER, "
    "DELETE HISTORY, SHOW DATABASES, PROCESS, RELOAD, CREATE USER"
)
# Left out: FILE, SUPER; SHUTDOWN and CONNECTION ADMIN (the cell's business); SET USER (makes
# routines that run as our account); FEDERATED ADMIN (reaches other servers); READ_ONLY ADMIN,
# BINLOG *, REPLICATION * and SLAVE MONITOR (there is no replication).

_COUNTING: Final = (
    "--loose-performance-schema=ON",
    "--loose-performance-schema-accounts-size=16",
    *(
        f"--loose-performance-schema-{name}=0"
        for name in (
            "users-size", "hosts-size", "digests-size", "max-digest-length", "max-sql-text-length",
            "session-connect-attrs-size", "max-table-instances", "max-table-handles", "max-index-stat",
            "max-table-lock-stat", "max-program-instances", "max-prepared-statements-instances",
            "max-metadata-locks", "max-stage-classes", "max-memory-classes",
            *(f"max-{kind}-{what}" for kind in ("mutex", "rwlock", "cond", "file", "socket")
              for what in ("instances", "classes")),
            "max-file-handles",
            *(f"events-{kind}-history{length}-size" for kind in
              ("waits", "stages", "statements", "transactions") for length in ("", "-long")),
        )
    ),
)  # fmt: skip
_FIXED: Final = (
    f"--bind-address={HOST}",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--loose-skip-external-locking",
    "--loose-symbolic-links=0",
    "--local-infile=0",
    # Counts statements that failed, and nothing else: 12 MB of memory an engine.
    *_COUNTING,
    "--userstat=1",
    "--character-set-server=utf8mb4",
    "--log-warnings=1",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-log-file-size=4M",
    "--innodb-log-buffer-size=2M",
    "--loose-innodb-read-io-threads=1",
    "--loose-innodb-write-io-threads=1",
    "--loose-innodb-purge-threads=1",
    "--innodb-use-native-aio=0",
    "--innodb-temp-data-file-path=ibtmp1:1M:autoextend",
    f"--loose-innodb-buffer-pool-chunk-size={CHUNK}",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=1M",
    "--table-open-cache=200",
    "--loose-thread-cache-size=4",
)
_SCRIPTS: Final = ("system_tables", "performance_tables", "system_tables_data")
_GIS: Final = "maria_add_gis_sp_bootstrap.sql"


def server(
    engine: Engine, folder: Path, *, socket: Path, port: int, limits: Limits, as_root: bool
) -> list[str]:
    """Return the command line of a workspace's server, whose volume is ``folder``."""
    wanted = [f"--{name.replace('_', '-')}={value}" for name, value in variables(limits).items()]
    return [
        *_program(engine, folder / "data", as_root=as_root),
        f"--socket={socket}",
        f"--port={port}",
        f"--pid-file={folder / 'tmp' / 'pid'}",
        f"--log-error={folder / 'engine.log'}",
        f"--tmpdir={folder / 'tmp'}",
        f"--secure-file-priv={folder / 'empty'}",
        # Libraries are loaded from where it cannot write, and where there are none.
        f"--plugin-dir={engine.messages}",
        f"--init-file={folder / 'init.sql'}",
        *_FIXED,
        *wanted,
    ]


def bootstrap(engine: Engine, data: Path, temporary: Path, *, as_root: bool) -> list[str]:
    """Return the command line that makes system tables from SQL on its standard input.

    ``temporary`` is a folder of its own: a server that starts removes every temporary table of the folder
    it is given, also those that another one is using.
    """
    return [
        *_program(engine, data, as_root=as_root),
        "--bootstrap",
        f"--tmpdir={temporary}",
        "--skip-networking",
        "--innodb-log-file-size=4M",
        "--innodb-buffer-pool-size=16M",
        "--innodb-use-native-aio=0",
    ]


def bootstrap_sql(engine: Engine) -> str:
    """Return the SQL of a new template: system tables, and no account but the server's own.

    Raises:
        OSError: a script of the engine is missing.
    """
    scripts = [_script(engine.share, name).read_text("utf-8") for name in _SCRIPTS]
    scripts.append((engine.share / _GIS).read_text("utf-8"))
    # In bootstrap mode each statement ends at a line's end.
    begin = "CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
    end = "DELETE FROM global_priv WHERE user <> 'mariadb.sys';\nDELETE FROM proxies_priv;\n"
    return begin + "\n".join(scripts) + "\n" + end


def accounts_sql(internal_password: str) -> str:
    """Return the init file of a server: our two accounts, whatever became of them."""
    known = f"IDENTIFIED VIA mysql_native_password USING '{sql.native_hash(internal_password)}'"
    return (
        f"CREATE OR REPLACE USER {INTERNAL}@localhost {known};\n"
        f"GRANT ALL PRIVILEGES ON *.* TO {INTERNAL}@localhost WITH GRANT OPTION;\n"
        f"CREATE OR REPLACE USER {PROBE}@'{HOST}' {known};\n"
    )


def admin_statements(password: str, *, first: bool) -> list[str]:
    """Return the statements that give ``admin`` its password; the first time, its database too."""
    stored = sql.native_hash(password)
    known = f"admin@'%' IDENTIFIED VIA mysql_native_password USING '{stored}'"
    statements = [
        f"CREATE USER IF NOT EXISTS {known}",
        f"ALTER USER {known} ACCOUNT UNLOCK",
        f"GRANT {_ADMIN_MAY} ON *.* TO admin@'%' WITH GRANT OPTION",
    ]
    return [*statements, "CREATE DATABASE IF NOT EXISTS cluster"] if first else statements


def _program(engine: Engine, data: Path, *, as_root: bool) -> list[str]:
    return [
        str(engine.program),
        "--no-defaults",
        *(["--user=root"] if as_root else []),
        f"--datadir={data}",
        f"--lc-messages-dir={engine.messages}",
        f"--character-sets-dir={engine.charsets}",
    ]


def _script(share: Path, name: str) -> Path:
    newer = share / f"mariadb_{name}.sql"
    return newer if newer.is_file() else share / f"mysql_{name}.sql"
