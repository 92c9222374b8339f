"""Where SQL passwords come from: a file, a variable, what was saved, a prompt. Never argv."""

import getpass
from pathlib import Path

from byoc.errors import UsageError
from byoc_cli import profiles
from byoc_cli.context import Context

_LONGEST = 1024


def from_file(given: Context, path: str) -> str:
    """Return the first line of a file, or of stdin if ``path`` is ``-``.

    Raises:
        UsageError: it cannot be read, or is empty.
    """
    try:
        text = given.stdin.readline() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--password-file: `{path[:200]}` cannot be read") from error
    password = text.splitlines()[0] if text.strip() else ""
    if not password or len(password) > _LONGEST:
        raise UsageError("--password-file: the first line is to hold the password")
    return password


def find(given: Context, owner: str, group_id: str, file: str | None) -> str:
    """Return the password of a group from the first place that has one.

    Raises:
        UsageError: there is none, and nobody can be asked.
    """
    if file:
        return from_file(given, file)
    password = given.environment.get("BYOC_SQL_PASSWORD") or profiles.saved_password(
        given.config_folder, owner, group_id
    )
    if password:
        return password
    if not given.interactive:
        raise UsageError(
            "no password for this group is known here",
            hint="give one with --password-file or BYOC_SQL_PASSWORD, or set one: `byoc group set-password`",
        )
    return getpass.getpass("Password of `admin`: ", stream=given.stderr)
