"""The data folder that every new volume is copied from: made once per engine version.

Made by the engine itself from its own scripts, in a folder that gets its name when it is whole; a
kill at any point leaves nothing that could be taken for a template.
"""

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from byoc import durable
from byoc.dataplane.local import command, copying
from byoc.dataplane.local.engine import Engine, process_environment
from byoc.dataplane.local.process import as_root
from byoc.dataplane.local.verdict import why_it_ended
from byoc.errors import EngineFailed
from byoc.model.report import Reason

_FORMAT: Final = 1
"""Rises when what stands in a template changes."""
_SECONDS: Final = 120


def ensure(folder: Path, engine: Engine) -> Path:
    """Return the template for ``engine`` below ``folder``, made now if there is none.

    Raises:
        EngineFailed: the engine cannot make its system tables; its words are in ``bootstrap.log``.
        OSError, Unwritable: disk full, no permission.
    """
    template = folder / f"{engine.version}-{_FORMAT}"
    if template.is_dir():
        return template
    durable.make_folder(folder)
    unfinished = folder / f".{template.name}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    durable.make_folder(unfinished)
    _bootstrap(engine, unfinished, folder / "bootstrap.log")
    copying.sync(unfinished)
    unfinished.rename(template)
    durable.sync_folder(folder)
    _forget_others(folder, template)
    return template


def _bootstrap(engine: Engine, data: Path, words: Path) -> None:
    (data / "mysql").mkdir(mode=0o700)
    try:
        with words.open("wb") as said, tempfile.TemporaryDirectory(dir=words.parent) as temporary:
            done = subprocess.run(
                command.bootstrap(engine, data, Path(temporary), as_root=as_root()),
                input=command.bootstrap_sql(engine).encode(),
                env=process_environment(engine.libraries),
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise EngineFailed("the engine did not finish its system tables", hint=f"see {words}") from error
    if done.returncode != 0 and why_it_ended(words.read_text("utf-8", "replace")) is Reason.DISK_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(data))
    if done.returncode != 0:
        raise EngineFailed("the engine cannot make its system tables", hint=f"see {words}")


def _forget_others(folder: Path, template: Path) -> None:
    for other in folder.iterdir():
        if other.is_dir() and other != template:
            shutil.rmtree(other, ignore_errors=True)
