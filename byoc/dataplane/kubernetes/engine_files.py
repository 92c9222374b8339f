"""Files of an engine's pod: its settings, what prepares its volume, and the SQL of its accounts. Pure.

Used by the manifests. The invariants: a volume that was in use once is never initialised again; without
TLS nobody logs in; no password stands in a file, only hashes.
"""

from functools import cache
from importlib.resources import files
from typing import Final

from byoc.dataplane import counting
from byoc.dataplane.engine_sql import INTERNAL, identified
from byoc.dataplane.kubernetes import sizing
from byoc.dataplane.kubernetes.names import PORT
from byoc.dataplane.runtime import Limits

DATA: Final = "/var/lib/mysql"
"""Where the volume is mounted."""
TEMPORARY: Final = f"{DATA}/temporary"
SETTINGS: Final = "/etc/byoc/engine"
SECRETS: Final = "/etc/byoc/secret"
RUN: Final = "/run/mysqld"
VOLUME_EMPTY: Final = 64
"""Exit status of the preparation where a volume that holds data holds none."""
KEPT: Final = "kept"
NEW: Final = "new"

_FIXED: Final = {
    "skip-name-resolve": "",
    "skip-log-bin": "",
    "loose-symbolic-links": "0",
    "local-infile": "0",
    **counting.OPTIONS,
    "userstat": "1",
    "character-set-server": "utf8mb4",
    "log-warnings": "1",
    "innodb-flush-log-at-trx-commit": "1",
    "require-secure-transport": "ON",
    "tls-version": "TLSv1.2,TLSv1.3",
}


@cache
def prepare() -> str:
    """Return the script that makes the system tables of a new volume."""
    return files(__package__).joinpath("prepare.sh").read_text(encoding="utf-8")


def settings(limits: Limits, divisor: int) -> str:
    """Return the engine's ``my.cnf``: all but the address it listens on, which only the pod knows."""
    lines = {
        "datadir": f"{DATA}/data",
        "tmpdir": f"{TEMPORARY}",
        "secure-file-priv": f"{DATA}/empty",
        # Libraries are loaded from where there are none.
        "plugin-dir": f"{DATA}/empty",
        "socket": f"{RUN}/mysqld.sock",
        "pid-file": f"{RUN}/mysqld.pid",
        "port": str(PORT),
        "init-file": f"{SECRETS}/init.sql",
        "ssl-ca": f"{SECRETS}/ca.crt",
        "ssl-cert": f"{SECRETS}/tls.crt",
        "ssl-key": f"{SECRETS}/tls.key",
        **_FIXED,
        "loose-innodb-buffer-pool-chunk-size": str(sizing.chunk(divisor)),
        "innodb-log-file-size": str(_log_size(limits, divisor)),
        **{name.replace("_", "-"): str(value) for name, value in sizing.variables(limits, divisor).items()},
    }
    return "[mariadbd]\n" + "".join(
        f"{name}={value}\n" if value else f"{name}\n" for name, value in lines.items()
    )


def accounts(internal_password: str) -> str:
    """Return the engine's init file: our own account, whatever became of it."""
    known = identified(internal_password)
    return (
        f"CREATE OR REPLACE USER {INTERNAL}@'%' {known} REQUIRE SSL;\n"
        f"GRANT ALL PRIVILEGES ON *.* TO {INTERNAL}@'%' WITH GRANT OPTION;\n"
    )


def _log_size(limits: Limits, divisor: int) -> int:
    """The redo log: an eighth of the memory, at least 4 MiB, at most 4 GiB; changed at a restart."""
    mib = 2**20
    return min(max(sizing.nominal_memory(limits, divisor) // 8 // mib, 4), 4096) * mib
