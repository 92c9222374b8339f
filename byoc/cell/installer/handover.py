"""Handing an enrolment over to the agent: past the tunnel, and only to the keys that were seen.

Called by the handler. The invariants: the token goes into one Secret and nowhere else; it is never in
the stack, in a log or in an answer.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from byoc.cell.incluster import ENROLMENT, NAMESPACE, TOKEN
from byoc.cell.installer.api import Api
from byoc.errors import Conflict, PreconditionFailed, UsageError

ENROLMENT_FILE: Final = "enrolment.json"


def hand_over(api: Api, event: Mapping[str, Any]) -> dict[str, Any]:
    """Write the token of ``event`` {thumbprint, token, rootKey} where the agent reads it.

    Raises:
        UsageError: the event names no thumbprint, token or root key.
        PreconditionFailed: the agent has not shown its keys yet.
        Conflict: it has shown others than the token was made for.
    """
    thumbprint, token, root = event.get("thumbprint"), event.get("token"), event.get("rootKey")
    if not (isinstance(thumbprint, str) and thumbprint and isinstance(token, str) and token):
        raise UsageError("an enrolment names a thumbprint and a token")
    if not isinstance(root, Mapping):
        raise UsageError("an enrolment names the root key")
    shown = api.get(_object("ConfigMap", ENROLMENT)) or {}
    seen = (shown.get("data") or {}).get("thumbprint", "")
    if not seen:
        raise PreconditionFailed("the agent has not shown its keys yet", hint="wait until status names them")
    if seen != thumbprint:
        raise Conflict("the agent shows other keys than the token was made for", hint="mint a token anew")
    text = json.dumps({"token": token, "rootKey": dict(root)})
    api.apply(_object("Secret", TOKEN) | {"stringData": {ENROLMENT_FILE: text}})
    return {"thumbprint": seen}


def _object(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}
