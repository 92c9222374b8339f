"""What has to hold before a cell is taken out and its data kept: a removal must not lose what it says stays.

Called by ``anywhere`` for ``byoc cell destroy --context --keep-data``. The invariants: databases that only a
record in a workspace's namespace remembers refuse the removal, for the namespace goes; no engine ends and no
claim goes before the API server has said of every volume that it outlives its claim.
"""

import json
from contextlib import suppress
from typing import Any, Final

from byoc.cell.incluster import DATABASES_RECORD
from byoc.cell.installer.api import Api
from byoc.errors import IllegalState, NotFound

Json = dict[str, Any]

_POLICY: Final = "persistentVolumeReclaimPolicy"
_RETAIN: Final = {"spec": {_POLICY: "Retain"}}
_BACK: Final = "back"
_RELEASED: Final = frozenset({"Released", "Failed"})


def refuse_forgetting(spaces: list[Json]) -> None:
    """See that no workspace has databases that nothing would remember. Pure.

    Raises:
        IllegalState: some have; they are named.
    """
    named = [each["metadata"]["name"] for each in spaces if not _on_volumes(each)]
    if named:
        raise IllegalState(
            f"databases of {len(named)} workspaces are detached, and their record would go: "
            f"{', '.join(named[:5])}",
            hint="resume them until every database is attached, and leave them running or suspend them with "
            "the cell's setting `suspend` at `volumes`; then again",
        )


def _on_volumes(space: Json) -> bool:
    """Whether a workspace's volumes hold all that it has."""
    said = (space["metadata"].get("annotations") or {}).get(DATABASES_RECORD)
    if said is None:
        return True
    try:
        record = json.loads(said)
        # While databases are being detached, one may be that is not on record yet.
        sure = record["stage"] == _BACK or (record["stage"] == "detaching" and bool(record.get("kept")))
        return sure and all(each["detached"] is False for each in record["databases"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def retain(api: Api, volumes: list[Json]) -> None:
    """Have volumes outlive their claims.

    Raises:
        IllegalState: some were on their way out already; they are named.
    """
    for each in volumes:
        if each["spec"].get(_POLICY) != "Retain":
            with suppress(NotFound):
                api.change(_address(each), _RETAIN)
    lost = [each["metadata"]["name"] for each in volumes if _going(each) or not _stays(api, each)]
    if lost:
        raise IllegalState(
            f"{len(lost)} volumes were on their way out, and may not be kept: {', '.join(lost[:5])}",
            hint="no engine was ended; see what is left of them (kubectl get pv), then run this again, or "
            "`byoc cell install` to have the agents back",
        )


def _stays(api: Api, volume: Json) -> bool:
    try:
        now = api.read(_address(volume))
    except NotFound:
        return False
    return now["spec"].get(_POLICY) == "Retain" and not now["metadata"].get("deletionTimestamp")


def _address(volume: Json) -> str:
    return f"/api/v1/persistentvolumes/{volume['metadata']['name']}"


def _going(volume: Json) -> bool:
    """Whether its disk may be about to be deleted: its claim is gone, and it was not to outlive that."""
    phase = (volume.get("status") or {}).get("phase")
    return volume["spec"].get(_POLICY) == "Delete" and phase in _RELEASED
