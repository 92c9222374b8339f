"""The version of the schema: read, refused when newer, brought up to date by Alembic.

Called when a store is opened and by ``byoc controlplane migrate``. The invariant: a database
of a newer program is left exactly as it is. Alembic is loaded only where something is to be
migrated: a process that serves should not carry it.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError

from byoc.errors import DataInUse, PreconditionFailed

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005")
"""Every version of the schema, oldest first. A test compares it with the migrations."""


def migrate(url: str) -> str:
    """Bring the database at ``url`` to the newest schema; return its version.

    Raises:
        DataInUse: it is of a newer schema; nothing was touched.
        PreconditionFailed: it cannot be opened, or is no database of ours.
    """
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = version(connection)
            check(found, url)
            connection.rollback()
            if found != REVISIONS[-1]:
                _upgrade(connection)
            return REVISIONS[-1]
    except (OperationalError, DatabaseError) as error:
        raise PreconditionFailed(f"{shown(url)} cannot be opened: {error.orig}") from error
    finally:
        engine.dispose()


def version(connection: Connection) -> str:
    """Return the version of the schema; "" for an empty database."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def check(found: str, url: str) -> None:
    """Refuse a schema that this program does not know.

    Raises:
        DataInUse: it is newer.
    """
    if found and found not in REVISIONS:
        message = f"{shown(url)} has schema {found}, this byoc knows up to {REVISIONS[-1]}"
        raise DataInUse(message, hint="update byoc, or restore a backup made by this version")


def shown(url: str) -> str:
    """Return where a database is, without its password."""
    parsed = make_url(url)
    return str(parsed.database) if parsed.drivername.startswith("sqlite") else parsed.render_as_string()


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - slow to load and rarely needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    # One transaction for all versions: a migration that fails leaves the old schema as it was.
    with connection.begin():
        command.upgrade(config, "head")
