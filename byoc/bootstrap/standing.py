"""A cell that was bootstrapped, on the days after: drift, repair, destroy. Its record says what is needed.

Called by the command line. The invariant: what these do can be done from any machine with the customer's
credentials, because arguments, facts and outputs are read from the customer's account and not from here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from byoc.bootstrap import leftovers, record, state
from byoc.bootstrap.aws import Account, translated
from byoc.bootstrap.breakglass.glass import BreakGlass
from byoc.bootstrap.breakglass.plan import log_group_name
from byoc.bootstrap.engine.events import Listener
from byoc.bootstrap.engine.repair import INVOCATION
from byoc.bootstrap.engine.session import Backend, Run, Session
from byoc.bootstrap.engine.stack import Plan, Repaired, Stack
from byoc.bootstrap.finder import AccountFinder
from byoc.bootstrap.flow import PROJECT, in_region
from byoc.bootstrap.function import Function
from byoc.bootstrap.leftovers import Leftover
from byoc.bootstrap.record import Record, Stage
from byoc.cell import arns, config
from byoc.cell.args import CellArgs
from byoc.cell.program import program
from byoc.clock import Clock
from byoc.errors import Failed, NotFound

Tell = Callable[[str], None]
_OBJECTS: Final = "kubernetes:"
"""How the kinds begin of what a direct delivery has in the cluster."""
_BATCH: Final = 1000
"""Versions of objects that S3 deletes in one call."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What is not as the program says.

    Attributes:
        account: steps by which the engine would take it over.
        cluster: objects in the cluster: ``{object, change, fields}``.
    """

    account: Plan
    cluster: tuple[dict[str, Any], ...]

    @property
    def none(self) -> bool:
        """Whether everything is as it should be."""
        return not self.account.steps and not self.cluster


class StandingCell:
    """One cell, found by its name.

    Args:
        endpoint: another S3 than AWS's own for the state.

    Raises:
        NotFound: the account's region has no such cell.
    """

    def __init__(self, account: Account, name: str, run: Run, clock: Clock, *, endpoint: str = "") -> None:
        self._account = account
        self._run = run
        self._clock = clock
        self._backend: Backend = state.backend(account, endpoint=endpoint)
        found = record.read(self._backend.objects, name)
        if found is None:
            others = ", ".join(record.cells(self._backend.objects)) or "none"
            raise NotFound(
                f"account {account.identity.account} has no cell `{name}` in {account.region}",
                hint=f"cells there: {others}",
            )
        self.record: Record = found
        self.args: CellArgs = config.from_mapping(found.values)

    async def drift(self, listener: Listener | None = None) -> Drift:
        """Return what is not as the program says; changes nothing.

        Raises:
            PreconditionFailed: another run holds the stack.
        """
        account = self._stack().drift(listener)
        installer = str(self.record.outputs.get("installerFunction", ""))
        found = await Function(self._account, installer).call("diff") if installer else {}
        return Drift(account, tuple(found.get("drift", ())))

    def repair(self, listener: Listener | None = None, *, unlock: bool = False) -> Repaired:
        """Adopt what an interrupted run made, and prove that the next run breaks nothing.

        Args:
            listener: told the progress.
            unlock: remove every lock first, whoever holds it.

        Raises:
            PreconditionFailed: another run holds the stack.
            Failed: the next run would replace or delete something.
        """
        stack = self._stack()
        if unlock:
            for lock in stack.unlock():
                self._run.tell(f"the lock of {lock.holder} is removed")
        return stack.repair(AccountFinder(self._account, self.record.cell), listener)

    def destroy(
        self, listener: Listener | None = None, *, keep_data: bool, cluster_gone: bool = False
    ) -> list[Leftover]:
        """Remove the cell and return what is still there; each step may be repeated.

        Args:
            listener: told the progress.
            keep_data: leave buckets, volumes and key; a bootstrap of the same name uses them again.
            cluster_gone: the cluster does not answer any more: uninstall nothing in it.

        Raises:
            PreconditionFailed: another run holds the stack, or one was interrupted.
            Failed: AWS refused something; the same call goes on there.
        """
        stack = self._stack()
        stack.require_free()
        self._write(Stage.DESTROYING)
        # A machine in a subnet keeps the subnet; the log of its sessions is data, and goes when data go.
        log = "" if keep_data else log_group_name(self.args)
        BreakGlass(self._account, self._clock, time.sleep).end_all(self.record.cell, logs=log)
        if cluster_gone:
            stack.forget(INVOCATION)
            stack.forget(_OBJECTS)
        if not keep_data:
            self._empty()
            stack.unprotect()
        self._run.tell("AWS takes up to 45 minutes to release the function's network interfaces")
        stack.destroy(listener)
        if not keep_data:
            self._delete_volumes()
        self._write(Stage.DESTROYED)
        return self.leftovers(keep_data=keep_data)

    def leftovers(self, *, keep_data: bool) -> list[Leftover]:
        """Return what of the cell is in the account, judged."""
        found = leftovers.look(self._account, self.record.cell)
        return leftovers.judge(found, keep_data=keep_data)

    # --- parts ---------------------------------------------------------------------------

    def _stack(self) -> Stack:
        session = Session(in_region(self._run, self.args), self._clock)
        return Stack.open(session, PROJECT, self.record.cell, program(self.args), self._backend)

    def _write(self, stage: Stage) -> None:
        self.record = self.record.at(self._clock.now(), stage)
        record.write(self._backend.objects, self.record)

    def _empty(self) -> None:
        for which in arns.BUCKETS:
            empty(self._account, arns.bucket_name(self.args, which), self._run.tell)

    def _delete_volumes(self) -> None:
        """Delete the volumes that the cluster's driver made: the engine does not know them."""
        ec2 = self._account.client("ec2")
        for found in leftovers.look(self._account, self.record.cell):
            if found.kind == "volume":
                with translated("ec2:DeleteVolume"):
                    ec2.delete_volume(VolumeId=found.id)


def empty(account: Account, name: str, tell: Tell) -> None:
    """Delete every version of every object of a bucket; one that is not there is empty.

    Raises:
        Failed: S3 keeps some objects, such as those under a legal hold.
    """
    s3, owner = account.client("s3"), account.identity.account
    with translated("s3:ListBucketVersions"):
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=name, ExpectedBucketOwner=owner)
        try:
            for page in pages:
                found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                _delete(s3, name, owner, found)
                if found:
                    tell(f"bucket {name}: {len(found)} versions deleted")
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchBucket":
                raise


def _delete(s3: Any, name: str, owner: str, found: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(found), _BATCH):
        objects = [
            {"Key": one["Key"], "VersionId": one["VersionId"]} for one in found[start : start + _BATCH]
        ]
        answer = s3.delete_objects(
            Bucket=name,
            ExpectedBucketOwner=owner,
            Delete={"Objects": objects, "Quiet": True},
            # The ledger's lock is in governance mode: whoever owns the account may end it.
            BypassGovernanceRetention=True,
        )
        kept = answer.get("Errors", [])
        if kept:
            raise Failed(
                f"bucket {name} keeps {len(kept)} objects: {kept[0].get('Code')}: {kept[0].get('Key')}",
                hint="lift what holds them, or destroy with --keep-data",
            )
