"""``byoc ledger``: the cell's own record of every request. Never passes the control plane."""

import io
import tarfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.errors import Failed, LedgerBroken
from byoc_cli import machine
from byoc_cli.context import Context, of
from byoc_cli.output import Column, Format, View, cell_text, compact
from byoc_cli.tree import INSIDE, noun, verb

if TYPE_CHECKING:
    from byoc.dataplane.ledger_verify import Verification

Directory = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="The cell's folder. [default: the local instance's cell]"),
]
_POLL: Final = 0.25
_AFTER_TIME: Final = 29
_PUBLIC: Final = ("ledger/ledger.jsonl", "ledger/receipts.jsonl", "pinned.json", "identity.json")
_OWN: Final = frozenset({"seq", "prev", "at", "kind", "hash"})

FOUND: Final = View(
    (
        Column("result", lambda found: "good" if found.ok else f"broken: {found.problem}"),
        Column("means", lambda found: found.summary()),
        Column("chain", lambda found: found.chain),
        Column("records", lambda found: str(found.records)),
        Column("receipts", lambda found: str(found.receipts)),
        Column("proven up to record", lambda found: str(found.receipted)),
        Column("receipts of unknown keys", lambda found: found.unknown_receipts or None),
        Column("last line", lambda found: "incomplete" if found.torn else None),
    ),
    id=lambda found: str(found.chain),
    json=lambda found: _json(found),  # noqa: PLW0108 - it is defined below
)


@dataclass(frozen=True, slots=True)
class Folders:
    """The cell's folder, and the ledger's in it."""

    cell: Path
    ledger: Path


def add(app: typer.Typer) -> None:
    """Add the noun to the program."""
    ledgers = noun("Read and verify the cell's own record of every request.")
    app.add_typer(ledgers, name="ledger", rich_help_panel=INSIDE)
    for name, command in (("tail", tail), ("verify", verify), ("export", export)):
        verb(ledgers, name)(command)


def _folders(given: Context, directory: Path | None) -> Folders:
    """Return the folders meant: a cell's, an instance's, or one that holds nothing but a ledger."""
    if directory is None:
        from byoc.embedded.places import Places  # noqa: PLC0415 - only without --dir

        directory = Places(machine.folder(given, None, "--dir")).cell
    base = directory.expanduser().absolute()
    if (base / "ledger.jsonl").exists():
        return Folders(base.parent, base)
    cell = base / "cell" if (base / "cell" / "ledger").is_dir() else base
    return Folders(cell, cell / "ledger")


def tail(
    ctx: typer.Context,
    directory: Directory = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the newest.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added.")] = False,
) -> None:
    """Show the newest records."""
    from byoc.dataplane.ledger_verify import read_records  # noqa: PLC0415 - slow to import

    given = of(ctx)
    where = _folders(given, directory).ledger
    newest = deque(read_records(where), maxlen=lines)
    if given.format is Format.JSON and not follow:
        given.out.json(list(newest))
        return
    last = 0
    for record in newest:
        last = _show(given, record)
    if follow:
        last = last or max((each["seq"] for each in read_records(where)), default=0)
        for record in read_records(where, after=last, wait=lambda: _pause(given)):
            _show(given, record)


def _pause(given: Context) -> bool:
    given.out.flush()
    given.sleep(_POLL)
    return True


def _show(given: Context, record: dict[str, Any]) -> int:
    number = int(record["seq"])
    if given.format is Format.JSON:
        given.out.json(record)
    elif given.format is Format.NAME:
        given.out.text(str(number))
    else:
        at = cell_text(record.get("at"))
        line = f"{number:<6} {at}  {record.get('kind', '-'):<14} {_told(record)}"
        given.out.line(line, indent=_AFTER_TIME)
    return number


def _told(record: dict[str, Any]) -> str:
    """Return what a record says to people; ``-o json`` has all of it."""
    if record.get("kind") == "received" and "target" in record:
        changes = record.get("changes") or []
        verbs = record.get("verbs") or [each.get("verb") for each in changes]
        target = str(record["target"]).removeprefix("/cell/v1/")
        return f"{' '.join(map(str, verbs)) or record.get('method')} on {target} by {record.get('sub')}"
    if record.get("kind") == "outcome" and "outcome" in record:
        rule = f" by rule {record['rule']}" if record.get("rule") else ""
        return f"{record['outcome']}{rule}, request {record.get('request')} (status {record.get('status')})"
    return " ".join(
        f"{name}={value if isinstance(value, str | int) else compact(value)}"
        for name, value in record.items()
        if name not in _OWN
    )


def verify(ctx: typer.Context, directory: Directory = None) -> None:
    """Check that no record was edited or cut away, and say which of the two could be proven."""
    from byoc.dataplane.files import FileStorage  # noqa: PLC0415
    from byoc.dataplane.keys import Identity, PinnedKeys  # noqa: PLC0415 - slow to import
    from byoc.dataplane.ledger_verify import verify as check  # noqa: PLC0415

    given = of(ctx)
    where = _folders(given, directory)
    kept = FileStorage(where.cell)
    pinned = PinnedKeys.load(kept, given.clock)
    identity = Identity.load(kept)
    found = check(
        where.ledger,
        pinned.receipt_keys if pinned else {},
        cell=identity.cell_id if identity else "",
    )
    given.out.item(FOUND, found)
    if not found.ok:
        raise LedgerBroken(
            f"the ledger in {where.ledger} does not verify: {found.summary()}",
            hint="keep the file as it is, and compare it with a copy of your own",
        )


def _json(found: "Verification") -> dict[str, Any]:
    return {
        "ok": found.ok,
        "problem": str(found.problem),
        "firstBadLine": found.first_bad_line,
        "summary": found.summary(),
        "chain": found.chain,
        "records": found.records,
        "receipts": found.receipts,
        "unknownReceipts": found.unknown_receipts,
        "receipted": found.receipted,
        "proven": [str(each) for each in found.proven],
        "torn": found.torn,
    }


def export(
    ctx: typer.Context,
    directory: Directory = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="A tar.gz that can be verified elsewhere; else stdout."),
    ] = None,
) -> None:
    """Copy the ledger out: its lines to stdout, or with receipts and public keys to a file."""
    given = of(ctx)
    where = _folders(given, directory)
    if to is None:
        for line in _lines(where.ledger / "ledger.jsonl"):
            given.out.text(line)
        return
    target = to.expanduser().absolute()
    try:
        with target.open("xb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            target.chmod(0o600)
            names = [name for name in _PUBLIC if _pack(archive, where, name)]
    except OSError as error:
        raise Failed(f"cannot write {target}: {error.strerror}", hint="name another file") from error
    given.out.done(f"wrote {target}", {"file": str(target), "holds": names}, str(target))


def _lines(path: Path) -> Iterator[str]:
    from byoc.dataplane.ledger_verify import read_records  # noqa: PLC0415 - slow to import

    # Only to say in the same words that there is no ledger.
    next(read_records(path.parent), None)
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            yield line.rstrip("\n")


def _pack(archive: tarfile.TarFile, where: Folders, name: str) -> bool:
    path = where.ledger / Path(name).name if name.startswith("ledger/") else where.cell / name
    if not path.exists():
        return False
    content = path.read_bytes()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o600
    archive.addfile(member, io.BytesIO(content))
    return True
