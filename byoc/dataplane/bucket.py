"""The bucket that copies of the ledger go to, as S3 has it. The cell's home of boto3, loaded when needed.

Used by the shipper's own process, which may add and nothing else, and by ``ledger verify --bucket`` with
the customer's credentials. The agent's own process never comes here.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from byoc.errors import NotFound, Unreachable

PREFIX: Final = "ledger/"
_THERE: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


class Bucket:
    """A bucket with Object Lock; ``region``: where it is, if the machine does not know."""

    def __init__(self, name: str, region: str | None = None) -> None:
        import boto3  # noqa: PLC0415 - slow to import
        from botocore.config import Config  # noqa: PLC0415

        self._name = name
        # A call that hangs makes the copy late and says nothing.
        settings = Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 2})
        self._s3 = boto3.client("s3", region_name=region, config=settings)

    def put(self, key: str, body: bytes) -> None:
        """Add an object; one of that name that is there already stays as it is.

        Raises:
            Unreachable: S3 does not answer, or refuses.
        """
        given = {"Bucket": self._name, "Key": PREFIX + key, "Body": body, "IfNoneMatch": "*"}
        try:
            # Object Lock asks for a checksum of what is sent.
            _translated(lambda: self._s3.put_object(**given, ChecksumAlgorithm="SHA256"))
        except FileExistsError:
            return

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield every object by its name, in order.

        Raises:
            NotFound: there is no such bucket.
            Unreachable: S3 does not answer, or refuses.
        """
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=PREFIX)
        for found in _translated(lambda: [each for page in pages for each in page.get("Contents", ())]):
            key = found["Key"]
            answer = _translated(lambda key=key: self._s3.get_object(Bucket=self._name, Key=key))
            yield key.removeprefix(PREFIX), answer["Body"].read()


def _translated(call: Callable[..., Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow to import

    try:
        return call()
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        if code in _THERE:
            raise FileExistsError from error
        if code in {"NoSuchBucket", "404"}:
            raise NotFound("there is no such bucket") from error
        raise Unreachable(f"S3 refused: {code}") from error
    except BotoCoreError as error:
        raise Unreachable("S3 does not answer", hint="check credentials, region and the way there") from error
