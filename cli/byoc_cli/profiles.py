"""Profiles and saved passwords: two small files of the user's, both 0600.

``config.json`` holds addresses and keys by profile name and which one is current;
``credentials.json`` holds SQL passwords by owner (a profile, an instance or an address)
and workspace group. Nothing else of a secret kind is ever stored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byoc.durable import make_folder, write_file
from byoc.errors import Failed, NotFound, UsageError
from byoc.homes import base


@dataclass(frozen=True, slots=True)
class Profile:
    """One Control Plane and a key for it."""

    name: str
    url: str
    token: str


@dataclass(frozen=True, slots=True)
class Config:
    """All profiles."""

    current: str = ""
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    def get(self, name: str) -> Profile:
        """Return the profile called ``name``.

        Raises:
            NotFound: there is none.
        """
        if name not in self.profiles:
            raise NotFound(f"no profile named `{name}`", hint="byoc profile list")
        return self.profiles[name]

    def having(self, profile: Profile) -> "Config":
        """Return the config with ``profile`` in it, as the current one."""
        return Config(profile.name, {**self.profiles, profile.name: profile})

    def using(self, name: str) -> "Config":
        """Return the config with another current profile."""
        return Config(self.get(name).name, self.profiles)

    def without(self, name: str) -> "Config":
        """Return the config without a profile."""
        gone = self.get(name).name
        kept = {key: value for key, value in self.profiles.items() if key != gone}
        return Config("" if self.current == gone else self.current, kept)


def folder(environment: Mapping[str, str]) -> Path:
    """Return where the files are: ``$XDG_CONFIG_HOME/byoc``."""
    return base(environment, "XDG_CONFIG_HOME", ".config") / "byoc"


def check_name(name: str) -> str:
    """Return ``name`` if a profile may have it.

    Raises:
        UsageError: it is empty, long or has other characters than letters, digits, ``._-``.
    """
    if not name or len(name) > 64 or not all(c.isalnum() or c in "._-" for c in name):  # noqa: PLR2004
        raise UsageError(f"`{name[:64]}` is no name for a profile", hint="letters, digits and . _ - only")
    return name


def load(where: Path) -> Config:
    """Read the profiles; none where there is no file.

    Raises:
        Failed: the file is damaged.
    """
    value = _read(where / "config.json")
    try:
        profiles = {
            name: Profile(name, str(each["url"]), str(each["token"]))
            for name, each in value.get("profiles", {}).items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise _damaged(where / "config.json") from error
    return Config(str(value.get("current", "")), profiles)


def save(where: Path, config: Config) -> None:
    """Write the profiles, 0600."""
    profiles = {each.name: {"url": each.url, "token": each.token} for each in config.profiles.values()}
    _write(where / "config.json", {"current": config.current, "profiles": profiles})


def saved_password(where: Path, owner: str, group_id: str) -> str | None:
    """Return the SQL password saved for a group; group ids are unique, so any owner's will do."""
    value = _read(where / "credentials.json")
    owners = [value.get(owner), *value.values()]
    found = [each[group_id] for each in owners if isinstance(each, dict) and group_id in each]
    return str(found[0]) if found else None


def save_password(where: Path, owner: str, group_id: str, password: str) -> None:
    """Save the SQL password of a group, 0600."""
    value = _read(where / "credentials.json")
    held = value.get(owner)
    value[owner] = {**(held if isinstance(held, dict) else {}), group_id: password}
    _write(where / "credentials.json", value)


def forget_password(where: Path, group_id: str) -> None:
    """Remove the saved password of a group that has ended."""
    value = _read(where / "credentials.json")
    kept = {
        owner: {key: password for key, password in groups.items() if key != group_id}
        for owner, groups in value.items()
        if isinstance(groups, dict)
    }
    if kept != value:
        _write(where / "credentials.json", kept)


def forget_owner(where: Path, owner: str) -> None:
    """Remove every password of an owner that is no more."""
    value = _read(where / "credentials.json")
    if value.pop(owner, None) is not None:
        _write(where / "credentials.json", value)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(value, dict):
        raise _damaged(path)
    return value


def _write(path: Path, value: Mapping[str, Any]) -> None:
    make_folder(path.parent)
    write_file(path, json.dumps(value, indent=2) + "\n")


def _damaged(path: Path) -> Failed:
    return Failed(f"{path} cannot be read", hint="mend it, or remove it and log in again")
