"""Calls the functions in the cell's VPC, with the customer's own AWS credentials.

What the installer does is in ``byoc.cell.installer``. The invariant: nothing that is sent or answered is
logged, because an enrolment passes here.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from byoc.bootstrap.aws import Account, code_of, translated
from byoc.errors import Failed, PreconditionFailed

_MESSAGE: Final = "errorMessage"


class Function:
    """One function of a cell.

    Args:
        name: what AWS calls it.
    """

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self.name = name

    async def call(self, op: str, **values: Any) -> dict[str, Any]:
        """Ask for one op and return its answer; off the loop, because it may take two minutes.

        Raises:
            PreconditionFailed: there is no such function: the cell is not applied.
            Failed: the function refused; the message is its own.
            Forbidden: the caller may not invoke it.
        """
        return await asyncio.to_thread(self._call, op, values)

    def ask(self, op: str, **values: Any) -> dict[str, Any]:
        """Ask for one op and return its answer, as :meth:`call` does, for callers without a loop."""
        return self._call(op, values)

    def _call(self, op: str, values: Mapping[str, Any]) -> dict[str, Any]:
        with translated("lambda:InvokeFunction"):
            try:
                answer = self._account.client("lambda").invoke(
                    FunctionName=self.name, Payload=json.dumps({"op": op, **values}).encode()
                )
            except ClientError as error:
                if code_of(error) == "ResourceNotFoundException":
                    raise PreconditionFailed(
                        f"there is no function {self.name}", hint="byoc bootstrap makes the cell"
                    ) from error
                raise
            text = answer["Payload"].read()
        return _answered(op, text, failed=bool(answer.get("FunctionError")))


def _answered(op: str, text: bytes, *, failed: bool) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Failed(f"the function's answer to {op} is no JSON") from error
    if failed or not isinstance(value, dict):
        said = value.get(_MESSAGE, "") if isinstance(value, dict) else ""
        raise Failed(f"the function could not {op}: {said or 'it gives no reason'}")
    return value
