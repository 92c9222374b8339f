"""The cell's end of the papers: it reads what the customer laid down, and shows what it has to say.

``FolderDesk`` is that of a cell whose papers are files, and ``FolderPapers`` the customer's end of the
same folder. The invariants: the cell writes none of the customer's papers; a paper is whole or not there.
"""

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final, Protocol

from byoc import durable
from byoc.errors import Conflict, Failed, NotFound, UsageError
from byoc.model.papers import BY_CUSTOMER, CONTROL_FOLDER, LONGEST, SHOWN_FOLDER, Paper, Sheet
from byoc.wire.canonical import sha256

BELL: Final = "bell"
"""A named pipe in the cell's folder: a byte in it makes the agent look at the papers at once."""
AGENT_LOCK: Final = "agent.lock"
"""Held by the agent that works on a cell's folder."""
_LOCK: Final = ".lock"


class Desk(Protocol):
    """The cell's end."""

    def word(self, paper: Paper) -> str:
        """Return what the customer laid down; empty where there is nothing."""
        ...

    def show(self, paper: Paper, text: str) -> None:
        """Show the customer a paper of the cell's own; it is stored when this returns.

        Raises:
            Unwritable: it could not be stored.
        """
        ...

    def shown(self, paper: Paper) -> str:
        """Return what was shown last, also by the agent before this one; empty where there is nothing."""
        ...


class FolderDesk:
    """A desk of files.

    Args:
        folder: the cell's.
        words: where the customer's papers are, if not in the cell's folder.
    """

    def __init__(self, folder: Path, words: Path | None = None) -> None:
        self._words = words or folder / CONTROL_FOLDER
        self._shown = folder / SHOWN_FOLDER

    def word(self, paper: Paper) -> str:
        """Return what the customer laid down; empty where there is nothing."""
        return _text(self._words / paper)

    def show(self, paper: Paper, text: str) -> None:
        """Show the customer a paper."""
        durable.make_folder(self._shown)
        durable.write_file(self._shown / paper, text)

    def shown(self, paper: Paper) -> str:
        """Return what was shown last."""
        return _text(self._shown / paper)


class FolderPapers:
    """The customer's end of a cell whose papers are files.

    Args:
        folder: the cell's.
        policy: where its policy is, if not there.
    """

    def __init__(self, folder: Path, policy: Path | None = None) -> None:
        self._folder = folder
        self._policy = policy or folder / Paper.POLICY

    @property
    def place(self) -> str:
        """Where they are, for a person."""
        return str(self._folder)

    def read(self, paper: Paper) -> Sheet:
        """Return a paper."""
        self._check()
        text = _text(self._path(paper))
        return Sheet(text, sha256(text.encode()))

    def write(self, paper: Paper, text: str, version: str) -> None:
        """Replace one of the customer's papers."""
        self._check()
        if paper not in BY_CUSTOMER or len(text.encode()) > LONGEST:
            raise UsageError(f"{paper} is none of the customer's papers, or too long")
        durable.make_folder(self._folder / CONTROL_FOLDER)
        with self._locked():
            if self.read(paper).version != version:
                raise Conflict(f"{paper} was written by somebody else meanwhile")
            durable.write_file(self._path(paper), text)

    def ring(self) -> None:
        """Ring the bell; nobody hears it where no agent runs, and the next one looks by itself."""
        with suppress(OSError):
            descriptor = os.open(self._folder / BELL, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                os.write(descriptor, b"!")
            finally:
                os.close(descriptor)

    def _check(self) -> None:
        if not self._folder.is_dir():
            raise NotFound(f"there is no cell in {self._folder}", hint="name its folder with --dir")

    def _path(self, paper: Paper) -> Path:
        if paper is Paper.POLICY:
            return self._policy
        if paper is Paper.ACCEPTED:
            return self._folder / paper
        return self._folder / (CONTROL_FOLDER if paper in BY_CUSTOMER else SHOWN_FOLDER) / paper

    def _locked(self) -> AbstractContextManager[None]:
        return durable.locked(self._folder / CONTROL_FOLDER / _LOCK)


def is_worked_on(folder: Path) -> bool:
    """Whether an agent works on the cell in ``folder``: it holds the folder's lock."""
    return durable.is_locked(folder / AGENT_LOCK)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        # Something is there and nobody understands it: whoever reads it decides what that means.
        return "\x00"
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from error
