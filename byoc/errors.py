"""Every error a user can meet, in one tree.

::

    ByocError                     code                exit  HTTP
    ├── UsageError                bad_request            2   400
    ├── NotAuthenticated          not_authenticated      3   401
    │   └── BadToken              bad_token              3   401
    ├── NotFound                  not_found              4   404
    ├── Conflict                  conflict               5   409
    │   ├── IllegalState          illegal_state          5   409
    │   ├── LimitReached          limit_reached          5   409
    │   └── DataInUse             data_in_use            5   409
    ├── Unreachable               unreachable            6   503
    │   └── CellAway              cell_away              8   503
    ├── Forbidden                 forbidden              7   403
    │   └── RefusedByCell         refused_by_cell        7   403
    ├── StillPending              still_pending          8   504
    ├── PreconditionFailed        precondition_failed    9   412
    ├── TooManyRequests           too_many_requests      1   429
    ├── Failed                    failed                 1   500
    │   ├── EngineFailed          engine_failed          1   500
    │   ├── LedgerBroken          ledger_broken          1   500
    │   ├── CannotUnseal          cannot_unseal          1   500
    │   └── Unwritable            unwritable             1   500
    └── Cancelled                 cancelled            130   499

Foreign exceptions are translated at the seam that owns the library and chained with ``from``.
A message says what is wrong; a hint says what to do next, and is one line.
"""

from typing import ClassVar


class ByocError(Exception):
    """Base of the tree; raised only through its subclasses.

    Args:
        message: one line, no trailing full stop, fit to be shown to a user.
        hint: what to do next, one line; empty where there is nothing to say.
        request_id: the request that failed at the Control Plane; empty where there was none.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.request_id = request_id


class UsageError(ByocError):
    """The request is not well formed: a flag, a field or a value is wrong."""

    code = "bad_request"
    exit_code = 2
    http_status = 400


class NotAuthenticated(ByocError):
    """No key, or one that is unknown, revoked or expired."""

    code = "not_authenticated"
    exit_code = 3
    http_status = 401


class BadToken(NotAuthenticated):
    """A signed token between the planes was refused.

    Args:
        reason: a short code of what was wrong, such as ``expired``; never a part of the token.
    """

    code = "bad_token"

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class NotFound(ByocError):
    """No such object, or none that this caller may see."""

    code = "not_found"
    exit_code = 4
    http_status = 404


class Conflict(ByocError):
    """The request is well formed but does not fit what exists."""

    code = "conflict"
    exit_code = 5
    http_status = 409


class IllegalState(Conflict):
    """The object's state does not allow this change now."""

    code = "illegal_state"


class LimitReached(Conflict):
    """A documented limit would be passed."""

    code = "limit_reached"


class DataInUse(Conflict):
    """The data folder belongs to a running instance or to a newer version."""

    code = "data_in_use"


class Unreachable(ByocError):
    """The other end could not be reached; nothing is known to have happened."""

    code = "unreachable"
    exit_code = 6
    http_status = 503


class CellAway(Unreachable):
    """The cell is not connected; intent already recorded is delivered when it returns."""

    code = "cell_away"
    exit_code = 8


class Forbidden(ByocError):
    """The caller is known but lacks the permission that the message names."""

    code = "forbidden"
    exit_code = 7
    http_status = 403


class RefusedByCell(Forbidden):
    """The customer's cell refused the request; the message names the rule."""

    code = "refused_by_cell"


class StillPending(ByocError):
    """The wait ended before the work did; nothing failed."""

    code = "still_pending"
    exit_code = 8
    http_status = 504


class PreconditionFailed(ByocError):
    """Something this machine or account must offer is missing: a port, an engine, a version."""

    code = "precondition_failed"
    exit_code = 9
    http_status = 412


class TooManyRequests(ByocError):
    """The caller is over its rate; try again later.

    Args:
        retry_after: seconds until it makes sense; 0 where nobody knows.
    """

    code = "too_many_requests"
    http_status = 429
    retry_after: int = 0

    def __init__(self, message: str, *, hint: str = "", request_id: str = "", retry_after: int = 0) -> None:
        super().__init__(message, hint=hint, request_id=request_id)
        self.retry_after = retry_after


class Failed(ByocError):
    """The work was tried and did not succeed."""

    code = "failed"


class EngineFailed(Failed):
    """The SQL engine of a workspace did not do what was asked; details stay in the cell's log."""

    code = "engine_failed"


class LedgerBroken(Failed):
    """The ledger does not verify; the message names the first bad line."""

    code = "ledger_broken"


class CannotUnseal(Failed):
    """A sealed password does not open with this cell's key; the message carries nothing of it."""

    code = "cannot_unseal"


class Unwritable(Failed):
    """A file could not be put on disk: disk full, no permission; the message names the file."""

    code = "unwritable"


class Cancelled(ByocError):
    """The user interrupted; the message says what goes on running."""

    code = "cancelled"
    exit_code = 130
    http_status = 499
