"""Which databases of a workspace are in the bucket while it has no volumes: a record. Pure.

Written by ``away`` as an annotation of the workspace's namespace, before and after each statement to the
engine. The invariant: only a record of stage ``DETACHED`` or ``RETURNING`` says that volumes hold nothing,
and it comes from a list of the engine in which no database was attached any more; a database that was
detached is in every later record until it was seen attached again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

from byoc.model.report import Reason


class Stage(StrEnum):
    """How far a suspension, or the resume after it, has come."""

    DETACHING = "detaching"
    """Databases are being detached, one after the other; volumes hold the others."""
    DETACHED = "detached"
    """All are in the bucket: volumes may go."""
    RETURNING = "returning"
    """New volumes are being made; nothing is on them yet."""
    BACK = "back"
    """An engine has begun to attach: its volumes hold something again."""


_AWAY: Final = frozenset({Stage.DETACHED, Stage.RETURNING})


@dataclass(frozen=True, slots=True)
class Database:
    """One database.

    Attributes:
        storage: the engine's own id of what is stored; by it a database is told from another of its name.
        detached: it was taken off the engine, and was not seen attached since.
        why: what stands in the way: of detaching it, or of attaching it.
    """

    name: str
    storage: str = ""
    detached: bool = False
    why: Reason | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """What the engine says that it has, its own databases apart.

    Attributes:
        unlimited: names and storage ids of those in the workspace's part of the bucket.
        local: those that only the volumes have.
        elsewhere: those in another bucket, or another part of it, which the cell could not attach again.
    """

    unlimited: Mapping[str, str] = field(default_factory=dict)
    local: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """The record.

    Attributes:
        place: ``bucket/path`` under which the databases lie.
        region: of the bucket.
        kept: why the workspace is suspended with its volumes after all; None where it is not.
    """

    stage: Stage
    place: str
    region: str
    databases: tuple[Database, ...] = ()
    kept: Reason | None = None

    @property
    def away(self) -> bool:
        """Whether all databases are in the bucket, and none on a volume."""
        return self.stage in _AWAY and self.kept is None

    @property
    def detached(self) -> tuple[Database, ...]:
        """Those that are to be attached again."""
        return tuple(each for each in self.databases if each.detached)

    @property
    def pending(self) -> tuple[Database, ...]:
        """Those that are to be detached."""
        return tuple(each for each in self.databases if not each.detached)

    @property
    def settled(self) -> bool:
        """Whether an engine has all that it should have, or was told so and could not."""
        return self.stage is Stage.BACK and self.kept is None

    def begun(self, listed: Listed) -> "Inventory":
        """Return what is to be written before anything is detached, by a new list of the engine.

        What was about to be detached when an agent died, and is not attached any more, was detached.
        """
        gone = self.detached if self.stage is not Stage.DETACHING else self.databases
        before = {each.name: replace(each, detached=True, why=None) for each in gone if each.storage}
        for name, storage in listed.unlimited.items():
            if name in before and before[name].storage == storage:
                del before[name]
        known = tuple(Database(name, storage) for name, storage in sorted(listed.unlimited.items()))
        found = replace(self, stage=Stage.DETACHING, databases=(*before.values(), *known), kept=None)
        if listed.elsewhere:
            return found.keeping(Reason.DATABASE_ELSEWHERE, listed.elsewhere)
        if listed.local:
            return found.keeping(Reason.DATABASE_ON_VOLUMES, listed.local)
        return found if found.pending else replace(found, stage=Stage.DETACHED)

    def keeping(self, why: Reason, because: Iterable[str]) -> "Inventory":
        """Return that volumes are kept, because of these databases."""
        named = set(because)
        known = tuple(replace(each, why=why) if each.name in named else each for each in self.databases)
        rest = sorted(named - {each.name for each in known})
        return replace(self, databases=(*known, *(Database(name, why=why) for name in rest)), kept=why)

    def without(self, which: Database) -> "Inventory":
        """Return that ``which`` was detached."""
        return self._with(which, detached=True, why=None)

    def back(self, listed: Listed | None) -> "Inventory":
        """Return what is to be written before anything is attached: volumes hold something from now on.

        An engine that does not tell what it has, for None, is believed to have what the record says.
        """
        if listed is None:
            return replace(self, stage=Stage.BACK, kept=None)
        asked = self.stage is Stage.DETACHING
        databases = tuple(
            replace(each, detached=listed.unlimited.get(each.name) != each.storage)
            if asked or each.detached
            else each
            for each in self.databases
            if each.storage
        )
        return replace(self, stage=Stage.BACK, databases=databases, kept=None)

    def attached(self, which: Database) -> "Inventory":
        """Return that ``which`` is attached."""
        return self._with(which, detached=False, why=None)

    def unattached(self, which: Database) -> "Inventory":
        """Return that the engine would not attach ``which``."""
        return self._with(which, detached=True, why=Reason.DATABASES_NOT_ATTACHED)

    def _with(self, which: Database, *, detached: bool, why: Reason | None) -> "Inventory":
        same = (which.name, which.storage)
        changed = (
            replace(each, detached=detached, why=why) if (each.name, each.storage) == same else each
            for each in self.databases
        )
        return replace(self, databases=tuple(changed))

    def to_text(self) -> str:
        """Return it as the annotation says it."""
        databases = [
            {
                "name": each.name,
                **({"storage": each.storage} if each.storage else {}),
                "detached": each.detached,
                **({"why": each.why} if each.why else {}),
            }
            for each in self.databases
        ]
        said = {"stage": self.stage, "place": self.place, "region": self.region, "databases": databases}
        return json.dumps({**said, **({"kept": self.kept} if self.kept else {})}, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """Read an annotation; None for one that says nothing of this kind."""
        try:
            value: Any = json.loads(text)
            return cls(
                Stage(value["stage"]),
                str(value["place"]),
                str(value["region"]),
                tuple(_database(each) for each in value["databases"]),
                Reason(value["kept"]) if "kept" in value else None,
            )
        except (ValueError, KeyError, TypeError):
            return None


def _database(value: Mapping[str, Any]) -> Database:
    why = Reason(value["why"]) if "why" in value else None
    return Database(
        str(value["name"]), str(value.get("storage", "")), detached=value["detached"] is True, why=why
    )
