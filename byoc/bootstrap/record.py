"""What was last done to a cell, kept in the customer's account beside the state: version, values, outputs.

Read by everything that comes later (upgrade, drift, destroy), so that a cell can be managed from another
machine than the one it was made on. Holds no secret. Replaced as a whole; S3 keeps the earlier ones.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from botocore.exceptions import ClientError

from byoc.bootstrap.aws import Account, code_of, translated
from byoc.bootstrap.state import Backend
from byoc.errors import Failed


class Stage(StrEnum):
    """How far a cell has come."""

    APPLYING = "applying"
    APPLIED = "applied"
    CONNECTED = "connected"
    DESTROYING = "destroying"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One cell's record.

    Attributes:
        version: of byoc, at the last run that changed something.
        values: the cell's configuration, as the stack was given it.
        outputs: of the last run that succeeded; a failed run leaves the stack without any.
        changed_at: when this was written, UTC, in ISO form.
    """

    cell: str
    version: str
    stage: Stage
    values: Mapping[str, Any]
    outputs: Mapping[str, Any] = field(default_factory=dict)
    changed_at: str = ""

    def at(self, now: datetime, stage: Stage, *, outputs: Mapping[str, Any] | None = None) -> Self:
        """Return the record after a step."""
        kept = self.outputs if outputs is None else outputs
        return replace(self, stage=stage, outputs=kept, changed_at=now.isoformat(timespec="seconds"))


class Records:
    """The records of an account's cells, in the state bucket."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def read(self, where: Backend) -> Record | None:
        """Return the record of one cell; ``None`` where none was begun.

        Raises:
            Failed: it cannot be read as a record.
        """
        with translated("s3:GetObject"):
            try:
                found = self._account.client("s3").get_object(
                    Bucket=where.bucket, Key=_key(where), ExpectedBucketOwner=self._account.identity.account
                )
            except ClientError as error:
                if code_of(error) in {"NoSuchKey", "NoSuchBucket", "404"}:
                    return None
                raise
            text = found["Body"].read()
        try:
            value = json.loads(text)
            return Record(**(value | {"stage": Stage(value["stage"])}))
        except (ValueError, KeyError, TypeError) as error:
            raise Failed(
                f"s3://{where.bucket}/{_key(where)} is no record of a cell",
                hint="the bucket keeps earlier versions of it",
            ) from error

    def write(self, where: Backend, record: Record) -> None:
        """Keep ``record`` as the newest."""
        with translated("s3:PutObject"):
            self._account.client("s3").put_object(
                Bucket=where.bucket,
                Key=_key(where),
                Body=json.dumps(asdict(record), indent=1, sort_keys=True).encode(),
                ContentType="application/json",
                ExpectedBucketOwner=self._account.identity.account,
            )


def _key(where: Backend) -> str:
    return f"{where.prefix}/record.json"
