"""Files of an engine's pod: its settings, what prepares its volume, and the SQL of its accounts. Pure.

Used by the manifests. The invariants: a volume that was in use once is never initialised again; data that a
newer series has opened is left untouched, data of an older one is brought up to date before it serves;
without TLS nobody logs in; no password stands in a file, only hashes.
"""

from collections.abc import Mapping
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
ENGINE_TOO_OLD: Final = 65
"""The same, where a newer series than the image's has opened the data."""
TOOL_MISSING: Final = 66
"""The same, where an older one has, and the image lacks what brings its data up to date."""
PREPARED: Final = "/run/prepared"
"""Where the preparation says what it found: the kubelet shows it in the pod."""
OLDER: Final = "older"
"""What it says there of data that is to be brought up to date."""
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


_EMPTY: Final = frozenset({"init-file"})
"""What is told to be nothing."""
_UPGRADING: Final = {
    # Whoever runs the tool needs no account, and nobody else reaches the server.
    "skip-networking": "",
    "skip-grant-tables": "",
    "init-file": "",
    "max-connections": "8",
    "innodb-buffer-pool-load-at-startup": "OFF",
    "innodb-buffer-pool-dump-at-shutdown": "OFF",
}


@cache
def prepare() -> str:
    """Return the script that makes the system tables of a new volume, and looks who wrote an older one."""
    return _script("prepare.sh")


@cache
def upgrade() -> str:
    """Return the script that brings data of an older series up to date."""
    return _script("upgrade.sh")


def _script(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


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
    upgrading = {**_UPGRADING, "innodb-buffer-pool-size": str(sizing.pool_while_preparing(limits, divisor))}
    return _section("mariadbd", lines) + _section("mariadbd.upgrade", upgrading)


def _section(name: str, lines: Mapping[str, str]) -> str:
    told = (f"{each}={value}\n" if value or each in _EMPTY else f"{each}\n" for each, value in lines.items())
    return f"[{name}]\n" + "".join(told)


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
