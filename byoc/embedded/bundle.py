"""`byoc doctor --bundle FILE`: what helps to explain a fault, with every secret left out.

An allow-list: versions, the layout, process numbers, the checks, and the ends of our own logs after
redaction. Never keys, databases, ledgers, or what an engine wrote, which may hold rows.
"""

import io
import json
import platform
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from byoc import __version__
from byoc.embedded.files import read_json
from byoc.embedded.places import Places
from byoc.errors import Failed
from byoc.log import redact, redact_text
from byoc.model.check import Check

_LOG_TAIL: Final = 512 * 1024
_LOGS: Final = ("supervisor", "controlplane", "gateway", "agent")


def bundle(target: Path, data: Path, checks: Sequence[Check]) -> tuple[str, ...]:
    """Write the bundle to ``target`` as a tar.gz, 0600; return the names of what is in it.

    Raises:
        Failed: it cannot be written there, or the file exists.
    """
    contents = dict(_contents(Places(data.expanduser().absolute()), checks))
    try:
        with target.open("xb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            target.chmod(0o600)
            for name, text in contents.items():
                _add(archive, f"byoc/{name}", text.encode())
    except OSError as error:
        raise Failed(f"cannot write {target}: {error.strerror}", hint="name another file") from error
    return tuple(contents)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o600
    archive.addfile(member, io.BytesIO(content))


def _contents(places: Places, checks: Sequence[Check]) -> Iterator[tuple[str, str]]:
    yield "checks.json", _json([asdict(check) for check in checks])
    yield "machine.json", _json(_machine())
    for path in (places.layout, places.pids):
        yield path.name, _json(read_json(path) or {})
    for name in _LOGS:
        log = places.log / f"{name}.log"
        if log.exists():
            yield f"log/{log.name}", "".join(map(clean_line, _tail(log)))


def _machine() -> Mapping[str, str]:
    return {
        "byoc": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
    }


def _tail(log: Path) -> list[str]:
    with log.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - _LOG_TAIL))
        lines = stream.read().decode("utf-8", "replace").splitlines(keepends=True)
    # The first line may be the end of a longer one, whose keys are no longer there to judge by.
    return lines[1:] if size > _LOG_TAIL else lines


def clean_line(line: str) -> str:
    """Return one line of a log without secrets: by key where it is an object, by shape everywhere."""
    try:
        value: Any = json.loads(line)
    except ValueError:
        return redact_text(line)
    return json.dumps(redact(value)) + "\n"


def _json(value: object) -> str:
    return json.dumps(redact(value), indent=2) + "\n"
