"""The cell's cluster where its API can be reached from here: does here what the function does in the VPC.

For cells whose objects the stack delivers itself (``delivery: direct``), which have no function. Called by
bootstrap while a cell joins. The invariant: it looks, and hands an enrolment over; objects are the stack's.
"""

import asyncio
import base64
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

from byoc.bootstrap.aws import Account, Identity, translated
from byoc.cell import arns
from byoc.cell.args import CellArgs
from byoc.cell.installer.api import Api
from byoc.cell.installer.budget import Budget
from byoc.cell.installer.handover import hand_over
from byoc.cell.installer.look import status
from byoc.cell.installer.package import Package
from byoc.cell.installer.token import Credentials, cluster_token
from byoc.cell.manifests import bundle
from byoc.errors import Unreachable, UsageError
from byoc.model.check import Check, Result

_SECONDS: Final = 60.0
_COMMAND: Final = "aws"
"""What the stack's own configuration of the cluster gets its tokens from."""


class ReachedCluster:
    """The cluster of one cell.

    Args:
        account: with credentials of a role among the cell's administrators.
    """

    def __init__(self, account: Account, args: CellArgs) -> None:
        self._account = account
        self._args = args

    async def call(self, op: str, **values: Any) -> dict[str, Any]:
        """Do one op and return its answer, off the loop.

        Raises:
            UsageError: it is none of ``status`` and ``enrol``.
            Unreachable: the cluster's API cannot be reached from here.
            Forbidden, NotAuthenticated: the cluster does not let the caller.
        """
        return await asyncio.to_thread(self._call, op, values)

    def _call(self, op: str, values: Mapping[str, Any]) -> dict[str, Any]:
        if op not in _OPS:
            raise UsageError(f"a cell that is delivered directly does no {op!r}")
        try:
            with closing(self._api()) as api:
                return {"op": op, **_OPS[op](api, self._args, values)}
        except Unreachable as error:
            raise Unreachable(
                error.message, hint="run it where the cluster's private endpoint can be reached"
            ) from error

    def _api(self) -> Api:
        name, region = arns.cluster_name(self._args), self._args.facts.region
        with translated("eks:DescribeCluster"):
            found = self._account.client("eks").describe_cluster(name=name)["cluster"]
        authority = base64.b64decode(found["certificateAuthority"]["data"]).decode()
        credentials = Credentials(*self._account.credentials)
        return Api(
            found["endpoint"],
            authority,
            lambda: cluster_token(name, region, credentials, datetime.now(UTC)),
            Budget.of(_SECONDS, time.monotonic, time.sleep),
        )


def _status(api: Api, args: CellArgs, _: Mapping[str, Any]) -> dict[str, Any]:
    # The mark of a whole installation is the function's; here the stack says what is installed.
    return status(api, Package.of(args.name, bundle(args).text), marked=False)


_OPS: Final[Mapping[str, Callable[[Api, CellArgs, Mapping[str, Any]], dict[str, Any]]]] = {
    "status": _status,
    "enrol": lambda api, _args, values: hand_over(api, values),
}


def check_direct(
    identity: Identity, args: CellArgs, which: Callable[[str], str | None] = shutil.which
) -> Check:
    """Return whether this caller, on this machine, could deliver into the cluster."""
    if role_of(identity.arn) not in {arn.rpartition("/")[2] for arn in args.administrators}:
        return Check(
            "delivery",
            Result.FAIL,
            f"{identity.arn} is none of the cluster's administrators",
            "name the role you use among `administrators`, or deliver in the VPC",
        )
    if which(_COMMAND) is None:
        return Check(
            "delivery",
            Result.FAIL,
            f"`{_COMMAND}` is not installed: the engine asks it for tokens of the cluster",
            "install the AWS command line, or deliver in the VPC",
        )
    return Check("delivery", Result.PASS, "directly, as one of the cluster's administrators")


def role_of(arn: str) -> str:
    """Return the name of the role that a caller's ARN is of; empty where it is none's."""
    kind, _, rest = arn.rpartition(":")[2].partition("/")
    if kind == "assumed-role":
        return rest.partition("/")[0]
    return rest.rpartition("/")[2] if kind == "role" else ""
