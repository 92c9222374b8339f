"""Whom this machine believes that it is a cell's engine: the cell's authorities, as they were seen first.

Used by ``workspace connect`` and ``cell ca``. A cell tells its authorities through the control plane, so
what came once is remembered here, one file a cell. The invariant: after that an authority is trusted only
if it is remembered, if a remembered one vouches for it, or if the user says so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from byoc.durable import make_folder, write_file
from byoc.errors import Conflict, PreconditionFailed, UsageError
from byoc.ids import parse_id
from byoc.model.report import Authority
from byoc_cli.context import Context

if TYPE_CHECKING:
    from byoc.client import Cell

_END: Final = "-----END CERTIFICATE-----\n"


class Standing(StrEnum):
    """Why an authority is trusted, or that it is not."""

    KNOWN = "known here"
    FIRST = "seen first"
    VOUCHED = "vouched for"
    ACCEPTED = "accepted"
    STRANGE = "not trusted"


@dataclass(frozen=True, slots=True)
class Judged:
    """One authority that a cell tells of."""

    authority: Authority
    standing: Standing

    @property
    def fingerprint(self) -> str:
        """What two people compare."""
        from byoc.wire.certificates import fingerprint  # noqa: PLC0415 - the library is slow to import

        return fingerprint(self.authority.certificate.encode())


def judge(remembered: Sequence[str], told: Iterable[Authority], *, accept: bool = False) -> list[Judged]:
    """Say of each authority whether it is trusted, and why. Pure."""
    return [Judged(each, _standing(remembered, each, accept=accept)) for each in told]


def _standing(remembered: Sequence[str], each: Authority, *, accept: bool) -> Standing:
    from byoc.wire.certificates import vouches  # noqa: PLC0415 - the library is slow to import

    if each.certificate in remembered:
        return Standing.KNOWN
    if not remembered:
        return Standing.FIRST
    word, own = each.voucher.encode(), each.certificate.encode()
    if any(vouches(known.encode(), word, own) for known in remembered):
        return Standing.VOUCHED
    return Standing.ACCEPTED if accept else Standing.STRANGE


def told(cell: "Cell") -> list[Authority]:
    """Return what a cell tells of its authorities.

    Raises:
        PreconditionFailed: nothing, or what is no certificate.
    """
    from byoc.wire.certificates import fingerprint  # noqa: PLC0415 - the library is slow to import

    facts: dict[str, Any] = cell.raw.get("facts") or {}
    found = [Authority(each["certificate"], each["voucher"]) for each in facts.get("authorities") or []]
    if not found:
        raise PreconditionFailed(
            f"cell `{cell.name}` has told no authority that vouches for its engines",
            hint="a local cell has none; another tells it once its agent was connected: `byoc cell show`",
        )
    try:
        for each in found:
            fingerprint(each.certificate.encode())
    except UsageError as error:
        raise PreconditionFailed(f"cell `{cell.name}` told an authority that is no certificate") from error
    return found


def look(given: Context, cell: "Cell") -> list[Judged]:
    """Judge what a cell tells, and remember nothing.

    Raises:
        PreconditionFailed: it tells nothing.
    """
    return judge(_remembered(_path(given, cell)), told(cell))


def learn(given: Context, cell: "Cell", *, accept: bool = False) -> list[Judged]:
    """Judge what a cell tells, and remember what is trusted of it; what is new is said.

    Raises:
        PreconditionFailed: it tells nothing.
        Conflict: it tells nothing that can be trusted.
    """
    path = _path(given, cell)
    remembered = _remembered(path)
    judged = judge(remembered, told(cell), accept=accept)
    trusted = [each.authority.certificate for each in judged if each.standing is not Standing.STRANGE]
    for each in judged:
        if each.standing is not Standing.KNOWN:
            given.out.note(f"authority of cell {cell.name}: {each.fingerprint} ({each.standing})")
    if not trusted:
        raise Conflict(
            f"cell `{cell.name}` tells of another authority than this machine knows, and none vouches for it",
            hint=f"compare `byoc cell ca {cell.name}` with what the cell's cluster says; then add --accept",
        )
    if trusted != remembered:
        make_folder(path.parent)
        write_file(path, "".join(trusted))
    return judged


def bundle(judged: Iterable[Judged]) -> str:
    """Return what a SQL client is given to trust, PEM."""
    return "".join(each.authority.certificate for each in judged if each.standing is not Standing.STRANGE)


def _path(given: Context, cell: "Cell") -> Path:
    return given.config_folder / "authorities" / f"{parse_id(cell.cell_id, 'cellID')}.pem"


def _remembered(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="ascii")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise PreconditionFailed(f"{path} cannot be read", hint="mend it, or remove it") from error
    return [f"{each}{_END}" for each in text.split(_END) if each.strip()]
