"""A bell at the cell's folder: whoever wrote one of the customer's papers makes the agent look at once.

A named pipe that its owner alone may open. A byte in it is all there is to say, so nothing can be asked
through it: what counts stands in the papers. Nobody polls.
"""

import asyncio
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from byoc import durable, log

_MOST: Final = 4096
_LOG: Final = log.get(__name__)


@contextmanager
def hung(path: Path, heard: Callable[[], None]) -> Iterator[None]:
    """Call ``heard`` whenever somebody rings at ``path``, while inside.

    A folder that takes no pipe leaves the cell without a bell, not without its papers.
    """
    loop = asyncio.get_running_loop()
    descriptor = _open(path)
    if descriptor is None:
        yield
        return

    def read() -> None:
        with suppress(BlockingIOError):
            os.read(descriptor, _MOST)
        heard()

    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _open(path: Path) -> int | None:
    try:
        if not path.exists() or not stat.S_ISFIFO(path.lstat().st_mode):
            with suppress(FileNotFoundError):
                path.unlink()
            os.mkfifo(path, durable.PRIVATE)
        # Also for writing: a pipe without a writer would be read as ended for ever.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        _LOG.warning("no bell; papers are looked at now and then", path=str(path), error=error.strerror)
        return None
