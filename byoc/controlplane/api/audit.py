"""Who did what through the Management API, under ``/byoc/v1``."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from byoc.clock import stamp
from byoc.controlplane.api.calls import Caller, answer, documented
from byoc.model.records import Deed
from byoc.wire.management import Deed as DeedShape

router = APIRouter(prefix="/byoc/v1/audit", tags=["audit"])

MOST: Final = 1000


@router.get("", **documented("[Deed]"))
async def list_deeds(
    call: Caller,
    after: Annotated[int, Query(ge=0, le=2**53, description="only deeds with a higher number")] = 0,
    newest: Annotated[int, Query(ge=1, le=MOST, description="so many, the last ones")] = 100,
) -> Response:
    """Every call that changed something in the organization, or tried to, in order."""
    return answer([shape(deed) for deed in await call.fleet.audit(call.by, after=after, newest=newest)])


def shape(deed: Deed) -> DeedShape:
    """Return a deed as it reads."""
    shaped: DeedShape = {
        "number": deed.number,
        "at": stamp(deed.at),
        "by": deed.by,
        "keyID": deed.key_id,
        "action": deed.action,
        "status": deed.status,
        "requestID": deed.request_id,
    }
    if deed.object_id:
        shaped["objectID"] = deed.object_id
    if deed.code:
        shaped["code"] = deed.code
    return shaped
