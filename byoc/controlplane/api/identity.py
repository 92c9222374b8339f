"""Who is asking, and passwords that the caller wants made, under ``/byoc/v1``."""

# ruff: noqa: FAST003 - path parameters keep the spelling of the JSON names, by alias

from fastapi import APIRouter
from starlette.responses import Response

from byoc.controlplane.api.calls import Caller, GroupInPath, answer, documented
from byoc.errors import Failed
from byoc.ids import GroupID, parse_id
from byoc.model.records import GroupChanges
from byoc.wire.management import AdminPassword, Nothing, Who

router = APIRouter(prefix="/byoc/v1", tags=["identity"])


@router.get("/whoami", **documented("Who"))
async def whoami(call: Caller) -> Response:
    """The user and the organization behind the key."""
    organization = await call.fleet.organization(call.by)
    shaped: Who = {
        "userID": call.by.user_id,
        "email": call.by.email,
        "organizationID": call.by.organization_id,
        "organization": organization.name,
        "keyID": call.by.key_id,
    }
    return answer(shaped)


@router.post("/workspaceGroups/{workspaceGroupID}/password", **documented("AdminPassword", body="Nothing"))
async def generate_password(call: Caller, group: GroupInPath) -> Response:
    """Generate a new admin password; it is shown here, once."""
    group_id = GroupID(parse_id(group, "workspaceGroupID"))
    await call.body(Nothing, optional=True)
    password = await call.fleet.update_group(call.by, group_id, GroupChanges(admin_password=""))
    if password is None:
        raise Failed("no password was generated")
    record = await call.fleet.group(call.by, group_id)
    shaped: AdminPassword = {"adminPassword": password}
    return answer(shaped, generation=record.spec.generation)
