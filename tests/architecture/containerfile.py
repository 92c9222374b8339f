"""A Containerfile as data: its instructions in order, by stage. For the tests beside this file."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Stage:
    """One stage: what it starts from, its name, and each instruction with its text."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        """Return the text of every instruction of a kind."""
        return [text for word, text in self.instructions if word == keyword]

    def the(self, keyword: str) -> str:
        """Return the text of the one instruction of a kind."""
        found = self.all(keyword)
        assert len(found) == 1, f"{keyword}: {found}"
        return found[0]

    def argv(self, keyword: str) -> list[str]:
        """Return an instruction's exec form; a shell form is refused."""
        value: Any = json.loads(self.the(keyword))
        assert isinstance(value, list)
        return value

    def pairs(self, keyword: str) -> dict[str, str]:
        """Return what ``ENV`` or ``LABEL`` sets."""
        return dict(each.split("=", 1) for text in self.all(keyword) for each in shlex.split(text))


def stages(path: Path) -> list[Stage]:
    """Return the stages of a file."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not re.match(r"\s*#", line)]
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, text = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = text.partition(" AS ")
            found.append(Stage(base, name))
        elif word:
            assert found, f"{word} before the first FROM"
            found[-1].instructions.append((word, text.strip()))
    return found
