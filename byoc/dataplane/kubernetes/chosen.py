"""Which kind of engine a cell has. Pure; called by the runtime, and by whoever shows what it would make."""

from byoc.dataplane.kubernetes.engines import EngineKind
from byoc.dataplane.kubernetes.mariadb import MariaDB
from byoc.dataplane.kubernetes.settings import SINGLESTORE, ClusterSettings
from byoc.dataplane.kubernetes.singlestore.engine import SingleStore


def chosen(settings: ClusterSettings) -> EngineKind:
    """Return the cell's kind of engine."""
    return SingleStore(settings) if settings.engine == SINGLESTORE else MariaDB(settings)
