"""Updates of one row by its id, each statement built once: building costs more than running it."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, Update, bindparam, update

_OWN = "own_id"


def set_columns(connection: Connection, table: Table, own: str, values: Mapping[str, Any]) -> None:
    """Write ``values`` by column name into the row whose ``id`` is ``own``."""
    parameters = {f"new_{name}": value for name, value in values.items()}
    connection.execute(_statement(table, tuple(values)), {_OWN: own, **parameters})


@cache
def _statement(table: Table, names: tuple[str, ...]) -> Update:
    # Other names than the columns', which an update keeps for itself.
    new: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return update(table).where(table.c.id == bindparam(_OWN)).values(new)
