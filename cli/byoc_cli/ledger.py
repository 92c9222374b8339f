"""``byoc ledger``: the cell's own record of every request. Never passes the control plane."""

import heapq
import io
import json
import tarfile
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from byoc.errors import Failed, LedgerBroken, NotFound, UsageError
from byoc_cli import machine
from byoc_cli.context import Context, of
from byoc_cli.output import Column, Format, View, cell_text
from byoc_cli.told import told
from byoc_cli.tree import INSIDE, noun, verb

if TYPE_CHECKING:
    from byoc.dataplane.ledger_verify import Verification
    from byoc.wire.keys import PublicKey

Directories = Annotated[
    list[Path] | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="The cell's folder; once for each of its agents. [default: the local instance's cell]",
    ),
]
Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="KEY",
        help="With --bucket: receipts of this key count; its name, or a pinned.json that you keep elsewhere.",
    ),
]
_POLL: Final = 0.25
_LOOK_BACK: Final = 256 * 1024
_NO_KEY: Final = (
    "no receipt counts, so a cut end or a chain rewritten whole is not ruled out: the keys in the bucket "
    "({keys}) are whatever its writers put there; name the cell's own with --trust, or its folder with --dir"
)
_AFTER_TIME: Final = 29
_PUBLIC: Final = ("pinned.json", "identity.json")

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
        Column("led in terms", lambda found: " ".join(map(str, found.terms)) or None),
    ),
    id=lambda found: str(found.chain),
    json=lambda found: _json(found),  # noqa: PLW0108 - it is defined below
)

CHAINS: Final = View(
    (
        Column("chain", lambda found: found.chain),
        Column("result", lambda found: "good" if found.ok else f"broken: {found.problem}"),
        Column("records", lambda found: str(found.records)),
        Column("proven up to", lambda found: str(found.receipted)),
        Column("terms", lambda found: " ".join(map(str, found.terms)) or "-"),
        Column("means", lambda found: found.summary()),
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


def _all_folders(given: Context, directories: list[Path] | None) -> list[Folders]:
    """Return the folders meant: a cell's, an instance's, or one that holds nothing but a ledger."""
    if not directories:
        from byoc.embedded.places import Places  # noqa: PLC0415 - only without --dir

        directories = [Places(machine.folder(given, None, "--dir")).cell]
    return [_folders(directory) for directory in directories]


def _folders(directory: Path) -> Folders:
    base = directory.expanduser().absolute()
    if next(base.glob("ledger*.jsonl"), None) is not None:
        return Folders(base.parent, base)
    cell = base / "cell" if (base / "cell" / "ledger").is_dir() else base
    return Folders(cell, cell / "ledger")


def tail(
    ctx: typer.Context,
    directory: Directories = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the newest.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added.")] = False,
) -> None:
    """Show the newest records; of several chains in the order of their times."""
    from byoc.dataplane.ledger_verify import read_records  # noqa: PLC0415 - slow to import

    given = of(ctx)
    where = [each.ledger for each in _all_folders(given, directory)]
    last = dict.fromkeys(where, 0)

    def noted(place: Path) -> Iterator[dict[str, Any]]:
        for record in read_records(place):
            last[place] = int(record["seq"])
            yield record

    merged = heapq.merge(*map(noted, where), key=lambda record: str(record.get("at")))
    newest = deque(merged, maxlen=lines)
    if given.format is Format.JSON and not follow:
        given.out.json(list(newest))
        return
    for record in newest:
        _show(given, record)
    while follow:
        given.out.flush()
        given.sleep(_POLL)
        new = {place: _added(place, last[place]) for place in where}
        for record in heapq.merge(*new.values(), key=lambda record: str(record.get("at"))):
            _show(given, record)
        last |= {place: int(records[-1]["seq"]) for place, records in new.items() if records}


def _added(place: Path, after: int) -> list[dict[str, Any]]:
    """Return the records above ``after``: from the end of the chain, where that shows them all."""
    from byoc.dataplane.ledger_files import read_line, tail  # noqa: PLC0415 - slow to import
    from byoc.dataplane.ledger_verify import read_records  # noqa: PLC0415

    lines, whole = tail(place, _LOOK_BACK)
    read = [found for line in lines if (found := read_line(line)) is not None]
    new = [{**record, "hash": name} for record, name in read if record.get("seq", 0) > after]
    if whole or not new or new[0]["seq"] == after + 1:
        return new
    return list(read_records(place, after=after))


def _show(given: Context, record: dict[str, Any]) -> int:
    number = int(record["seq"])
    if given.format is Format.JSON:
        given.out.json(record)
    elif given.format is Format.NAME:
        given.out.text(str(number))
    else:
        at = cell_text(record.get("at"))
        line = f"{number:<6} {at}  {record.get('kind', '-'):<15} {told(record)}"
        given.out.line(line, indent=_AFTER_TIME)
    return number


def verify(
    ctx: typer.Context,
    directory: Directories = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            "--bucket", metavar="NAME", help="Verify the copies there; AWS credentials that read it."
        ),
    ] = None,
    trust: Trusted = None,
) -> None:
    """Check that no record was edited or cut away, and say which of the two could be proven."""
    given = of(ctx)
    if bucket is not None:
        _verify_copies(given, bucket, directory, trust or [])
    elif trust:
        raise UsageError("--trust is for copies in a bucket", hint="a cell's folder holds its own keys")
    else:
        where = _all_folders(given, directory)
        _verify(given, where, *_trusted(given, where))


def _verify_copies(given: Context, bucket: str, directory: list[Path] | None, trust: list[str]) -> None:
    from byoc.dataplane.bucket import Bucket  # noqa: PLC0415 - slow to import
    from byoc.dataplane.shipping import lay_out  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="byoc-ledger-") as folder:
        found = [Folders(place.parent, place) for place in lay_out(Bucket(bucket).read(), Path(folder))]
        if not found:
            raise NotFound(f"the bucket {bucket} holds no ledger")
        # Keys in the bucket are as good as the bucket: they count where somebody names them.
        beside, _ = _trusted(given, found)
        keys, cell = _trusted(given, _all_folders(given, directory) if directory else [])
        keys |= _named(trust, beside)
        doubt = () if keys else (_NO_KEY.format(keys=", ".join(sorted(beside)) or "none"),)
        _verify(given, found, keys, cell, of_bucket=bucket, doubt=doubt)


def _named(trust: list[str], beside: dict[str, "PublicKey"]) -> dict[str, "PublicKey"]:
    """Return the keys that are trusted by name: of those in a bucket, or in a file from elsewhere."""
    keys: dict[str, PublicKey] = {}
    for name in trust:
        if name in beside:
            # A key's name is its thumbprint: no other key has it.
            keys[name] = beside[name]
        elif Path(name).is_file():
            keys |= _in_file(Path(name))
        else:
            known = ", ".join(sorted(beside)) or "none"
            raise UsageError(f"--trust: `{name[:64]}` is no file, and no key", hint=f"in the bucket: {known}")
    return keys


def _in_file(path: Path) -> dict[str, "PublicKey"]:
    from byoc.wire.keys import PublicKey  # noqa: PLC0415 - slow to import

    try:
        found = [PublicKey.from_jwk(each) for each in json.loads(path.read_bytes())["receiptKeys"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise UsageError(f"--trust: {path} names no keys", hint="a pinned.json of the cell") from error
    return {key.kid: key for key in found}


def _verify(
    given: Context,
    where: list[Folders],
    keys: dict[str, "PublicKey"],
    cell: str,
    *,
    of_bucket: str = "",
    doubt: tuple[str, ...] = (),
) -> None:
    from byoc.dataplane.ledger_verify import verify_chains  # noqa: PLC0415 - slow to import

    found = verify_chains([each.ledger for each in where], keys, cell=cell)
    if len(found.chains) == 1:
        given.out.item(FOUND, found.chains[0])
    else:
        given.out.rows(CHAINS, found.chains, empty="no chain")
    for sentence in (*found.unproven, *doubt):
        given.out.note(sentence)
    if not found.ok:
        bad = next((place for place, each in zip(where, found.chains, strict=True) if not each.ok), where[0])
        said = found.problem or next(each.summary() for each in found.chains if not each.ok)
        raise LedgerBroken(
            f"the ledger in {of_bucket or bad.ledger} does not verify: {said}",
            hint="keep the file as it is, and compare it with a copy of your own",
        )


def _trusted(given: Context, where: list[Folders]) -> tuple[dict[str, "PublicKey"], str]:
    """Return the keys that receipts are checked with, and the cell that they must be for."""
    from byoc.dataplane.files import FileStorage  # noqa: PLC0415 - slow to import
    from byoc.dataplane.keys import Identity, PinnedKeys  # noqa: PLC0415

    keys: dict[str, PublicKey] = {}
    cell = ""
    for place in where:
        kept = FileStorage(place.cell)
        pinned, identity = PinnedKeys.load(kept, given.clock), Identity.load(kept)
        keys |= pinned.receipt_keys if pinned else {}
        cell = cell or (identity.cell_id if identity else "")
    return keys, cell


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
        "file": found.file,
        "terms": list(found.terms),
    }


def export(
    ctx: typer.Context,
    directory: Directories = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="A tar.gz that can be verified elsewhere; else stdout."),
    ] = None,
) -> None:
    """Copy the ledger out: its lines to stdout, or with receipts and public keys to a file."""
    from byoc.dataplane.ledger_verify import read_lines  # noqa: PLC0415 - slow to import

    given = of(ctx)
    where = _all_folders(given, directory)
    for place in where:
        # Only to say in the same words that there is no ledger.
        next(read_lines(place.ledger), None)
    if to is None:
        for place in where:
            for line in read_lines(place.ledger):
                given.out.text(line.decode(errors="replace"))
        return
    target = to.expanduser().absolute()
    try:
        with target.open("xb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            target.chmod(0o600)
            names = [name for name, path in _exported(where) if _pack(archive, name, path)]
    except OSError as error:
        raise Failed(f"cannot write {target}: {error.strerror}", hint="name another file") from error
    given.out.done(f"wrote {target}", {"file": str(target), "holds": names}, str(target))


def _exported(where: list[Folders]) -> Iterator[tuple[str, Path]]:
    """Yield what is exported, by its name in the archive: of several chains, each in a folder of its own."""
    for number, place in enumerate(where, 1):
        above = f"{number}/" if len(where) > 1 else ""
        for path in [*sorted(place.ledger.glob("ledger*.jsonl")), place.ledger / "receipts.jsonl"]:
            yield f"{above}ledger/{path.name}", path
        for name in _PUBLIC:
            yield f"{above}{name}", place.cell / name


def _pack(archive: tarfile.TarFile, name: str, path: Path) -> bool:
    if not path.exists():
        return False
    content = path.read_bytes()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o600
    archive.addfile(member, io.BytesIO(content))
    return True
