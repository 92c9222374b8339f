"""What engines are told: arguments of the server, and the SQL that makes its accounts. Pure.

The promises kept here: the server listens on the loopback address only; no password stands in an
argument or in SQL that the server might log, only hashes.
"""

from pathlib import Path
from typing import Final

from byoc.dataplane import counting
from byoc.dataplane.engine_sql import INTERNAL, PROBE, identified
from byoc.dataplane.local.engine import Engine
from byoc.dataplane.local.limits import CHUNK, variables
from byoc.dataplane.runtime import Limits

HOST: Final = "127.0.0.1"
_FIXED: Final = (
    f"--bind-address={HOST}",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--loose-skip-external-locking",
    "--loose-symbolic-links=0",
    "--local-infile=0",
    # Counts statements that failed, and nothing else: 12 MB of memory an engine.
    *(f"--{name}={value}" for name, value in counting.OPTIONS.items()),
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
    known = identified(internal_password)
    return (
        f"CREATE OR REPLACE USER {INTERNAL}@localhost {known};\n"
        f"GRANT ALL PRIVILEGES ON *.* TO {INTERNAL}@localhost WITH GRANT OPTION;\n"
        f"CREATE OR REPLACE USER {PROBE}@'{HOST}' {known};\n"
    )


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
